"""Figure 1 of the paper from our runs: an error over epochs, one side of a claim solid, the other
dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.report.figures import CHART_PIXELS, Exhibit, over_epochs, table, twice
from pipeline.studies.claims.evidence import fastest
from pipeline.studies.claims.ledger import Claim, Epochs
from pipeline.studies.claims.results import Evidence
from pipeline.studies.run_sets import Run
from pipeline.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEED_ALPHA = 0.45  # of the thin lines


def write(claim: Claim, evidence: Evidence) -> list[Path]:
    """Write experiments/results/SCALE/CLAIM.svg for a claim on epochs whose runs are kept.

    Returns:
        The files written; none for another claim, or where no run is kept.
    """
    drawn = exhibit(claim, evidence)
    if drawn is None:
        return []
    file = evidence.folder / f"{claim.name}.svg"
    with atomic_write(file) as stream:
        stream.write(drawn.figure.content)
    return [file]


def exhibit(claim: Claim, evidence: Evidence) -> Exhibit | None:
    """Return the figure of a claim on epochs, with its curves as a file.

    Returns:
        None for another claim, or where no run is kept.
    """
    measure = claim.measure
    if not isinstance(measure, Epochs):
        return None
    sides = [fastest(side, measure, evidence) for side in (measure.fast, measure.slow)]
    runs = {name: evidence.runs(name) for name in sides if name}
    if not runs:
        return None
    rows = [[name, seed, epoch, value] for name, by_seed in runs.items()
            for seed, run in sorted(by_seed.items()) for epoch, value in run.points(measure.curve)]
    by_side = {name: list(by_seed.values()) for name, by_seed in runs.items()}
    figure = twice(lambda axes, colours: _draw(axes, colours, by_side, measure), CHART_PIXELS,
                   f"{_words(measure)} over epochs: {', '.join(runs)}")
    return Exhibit(f"{claim.name}-{evidence.scale}", figure, ".csv",
                   table(["configuration", "seed", "epoch", measure.curve], rows))


def _words(measure: Epochs) -> str:
    return measure.curve.replace("_", " ").capitalize()


def _draw(axes: Axes, colours: Mapping[str, str], runs: Mapping[str, Sequence[Run]],
          measure: Epochs) -> None:
    """Draw every seed as a thin line, their mean as a thick one; as in the paper, the fast side is
    solid and the slow one dashed."""
    longest = 0.0
    for name, seeds in runs.items():
        fast = name in measure.fast
        colour, style = colours["validation" if fast else "training"], "-" if fast else "--"
        curves = [run.points(measure.curve) for run in seeds]
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), style, color=colour, linewidth=0.7,
                      alpha=SEED_ALPHA)
            longest = max(longest, curve[-1][0])
        epochs = [epoch for epoch, _ in min(curves, key=len)]
        mean = [sum(curve[place][1] for curve in curves) / len(curves)
                for place in range(len(epochs))]
        axes.plot(epochs, mean, style, color=colour, linewidth=1.8,
                  label=f"{name} ({len(seeds)} seed{'s' * (len(seeds) != 1)})")
    axes.axhline(measure.below, color=colours["text"], linewidth=0.8, linestyle=":")
    over_epochs(axes, _words(measure), longest, percent=True)
    axes.legend(frameon=False, loc="upper right")
