"""The learning curves, with the drops of the learning rate, and their points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alexnet.schedule import rate
from pipeline.config.parameters import Parameters
from pipeline.report.choosing import LONGEST_LIST, spread
from pipeline.report.figures import Exhibit, Line, chart, table
from pipeline.report.inputs import Curve, Inputs
from pipeline.report.results import best


def rate_changes(rate_of: Callable[[int], float], steps: int) -> list[tuple[int, float]]:
    """Return the steps from which a new rate holds, and that rate; the first is step 0. The rate
    must never rise."""
    def changes(first: int, last: int) -> list[tuple[int, float]]:
        if rate_of(first) == rate_of(last):
            return []
        if last - first == 1:
            return [(last, rate_of(last))]
        middle = (first + last) // 2
        return changes(first, middle) + changes(middle, last)

    return [(0, rate_of(0)), *changes(0, steps - 1)]


def learning_rates(parameters: Parameters, curve: Curve) -> list[tuple[float, float]]:
    """Return the epochs from which a learning rate of the weights holds, and that rate; of any
    layer but conv1 and, in fine-tuning, fc8."""
    recipe, settings = parameters.effective_recipe(), parameters.train
    steps, epochs = int(curve["step"][-1]), float(curve["epoch"][-1])
    # of the whole run, which the schedule is stretched over
    planned = steps if settings.stop_below is None else max(steps, round(
        steps * settings.epochs / epochs))
    changes = rate_changes(lambda step: rate(recipe, "fc7.weight", step / planned).lr, steps)
    return [(step * epochs / steps, value) for step, value in changes]


def exhibits(inputs: Inputs) -> list[Exhibit]:
    """Return the charts of loss and error."""
    curve, rates = inputs.curve, learning_rates(inputs.parameters, inputs.curve)
    yardstick = best(inputs)
    drops = "; ".join(f"{value:g} from epoch {start:.1f}" for start, value in rates)
    charts = []
    for what, title, form in (("loss", "Loss (nats per image, lower is better)", ".3g"),
                              ("error", "Top-1 error, centre crop (lower is better)", ".1%")):
        pair = {kind: curve[f"{kind}_{what}"] for kind in ("training", "validation")}
        lines = [Line(kind, kind, curve["epoch"], values, dashed=kind == "training")
                 for kind, values in pair.items()]
        if what == "error" and yardstick and yardstick.curve:
            epochs, errors = (np.array(column) for column in zip(*yardstick.curve, strict=True))
            lines.append(Line(f"validation, mean of {yardstick.runs} runs of {yardstick.name}",
                              "text", epochs, errors))
        ends = " and ".join(f"from {values[0]:{form}} to {values[-1]:{form}} in {kind}"
                            for kind, values in pair.items())
        figure = chart(title, lines, rates,
                       f"{what.capitalize()} over epochs, {ends}. Learning rate: {drops}.",
                       percent=what == "error")
        columns = ["step", "epoch", *(f"{kind}_{what}" for kind in pair)]
        rows = zip(curve["step"].astype(int).tolist(),
                   *(curve[name].tolist() for name in columns[1:]), strict=True)
        charts.append(Exhibit(f"learning-{what}", figure, ".csv", table(columns, rows)))
    return charts


def curve_rows(inputs: Inputs) -> list[dict[str, float]]:
    """Return at most LONGEST_LIST points of the curve, evenly chosen, the first and last among
    them."""
    chosen = spread(len(inputs.curve["step"]), LONGEST_LIST)
    return [{name: float(values[k]) for name, values in inputs.curve.items()} for k in chosen]
