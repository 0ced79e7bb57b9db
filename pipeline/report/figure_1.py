"""Figure 1 of the paper from our runs: training error over epochs, ReLU solid, tanh dashed, the
level dotted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.report.figures import CHART_PIXELS, Exhibit, table, twice
from pipeline.studies.claims.evidence import fastest
from pipeline.studies.claims.ledger import Claim, Epochs, Results
from pipeline.studies.run_sets import Run
from pipeline.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def drawn(claim: Claim, results: Results) -> list[Path]:
    """Leaves experiments/results/SCALE/CLAIM.svg for a claim on epochs whose runs are there; the
    files it left."""
    found = exhibit(claim, results)
    if found is None:
        return []
    file = results.folder / f"{claim.name}.svg"
    with atomic_write(file) as stream:
        stream.write(found.figure.content)
    return [file]


def exhibit(claim: Claim, results: Results) -> Exhibit | None:
    """The figure of a claim on epochs, with the curves behind it; None of another claim, or where
    no run is there."""
    measure = claim.measure
    if not isinstance(measure, Epochs):
        return None
    sides = [fastest(side, measure, results) for side in (measure.fast, measure.slow)]
    runs = {name: results.runs(name) for name in sides if name}
    if not runs:
        return None
    rows = [[name, seed, epoch, value] for name, ones in runs.items()
            for seed, one in sorted(ones.items()) for epoch, value in one.points(measure.curve)]
    lists = {name: list(ones.values()) for name, ones in runs.items()}
    figure = twice(lambda axes, colours: _draw(axes, colours, lists, measure), CHART_PIXELS,
                   f"{measure.curve.replace('_', ' ').capitalize()} over epochs: {', '.join(runs)}")
    return Exhibit(f"{claim.name}-{results.scale}", figure, ".csv",
                   table(["configuration", "seed", "epoch", measure.curve], rows))


def _draw(axes: Axes, colours: dict[str, str], runs: dict[str, list[Run]], measure: Epochs) -> None:
    """Every seed as a thin line, their mean as a thick one; as in the paper, solid the fast side,
    dashed the slow."""
    for name, ones in runs.items():
        style = "-" if name in measure.fast else "--"
        curves = [one.points(measure.curve) for one in ones]
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), style, color=colours["text"], linewidth=0.4,
                      alpha=0.5)
        epochs = [epoch for epoch, _ in min(curves, key=len)]
        mean = [sum(curve[place][1] for curve in curves) / len(curves)
                for place in range(len(epochs))]
        seeds = f"{len(ones)} seed{'s' * (len(ones) != 1)}"
        axes.plot(epochs, mean, style, color=colours["text"], linewidth=1.8,
                  label=f"{name} ({seeds})")
    axes.axhline(measure.below, color=colours["grid"], linewidth=1.0, linestyle=":")
    axes.set_xlim(0, None)
    axes.set_ylim(0, None)
    axes.set_xlabel("epochs")
    axes.set_ylabel(measure.curve.replace("_", " "))
    axes.legend(frameon=False, loc="upper right")
