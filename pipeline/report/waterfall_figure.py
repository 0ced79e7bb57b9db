"""From `source` to a port, one difference after another, as a figure of the error after each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.recipe import Name
from pipeline.config.recipes import as_yaml
from pipeline.report.figures import CHART_PIXELS, LIGHT, svg
from pipeline.studies.claims.ledger import Claim
from pipeline.studies.claims.results import Evidence
from pipeline.studies.ports.waterfall import BASE, METRIC, PORTED, steps, whole
from pipeline.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEED_ALPHA = 0.45  # of the small dots
ROW = 24  # pixels

After = tuple[str, Sequence[float]]  # a step in words, and the errors of the seeds after it


def write(claim: Claim, evidence: Evidence) -> list[Path]:
    """Write experiments/results/SCALE/port-PORT.svg for the claim on a port as a whole.

    Returns:
        The file; none for another claim, or where no step between `source` and the port has runs.
    """
    port = next((port for port in PORTED if whole(port) == claim.name), None)
    rows = after_each_step(port, evidence) if port else []
    if len(rows) < 3:
        return []
    file = evidence.folder / f"{claim.name}.svg"
    pixels = (int(1.5 * CHART_PIXELS[0]), 70 + ROW * len(rows))
    with atomic_write(file) as stream:
        stream.write(svg(lambda axes, colours: _draw(axes, colours, rows), LIGHT, pixels))
    return [file]


def after_each_step(port: Name, evidence: Evidence) -> list[After]:
    """Return `source`, the steps that have runs, in order, and the port, if that has."""
    taken = steps(port)
    named = [("source", BASE)]
    for number, step in enumerate(taken):
        first, last = step.differences[0], number == len(taken) - 1
        words = f"{first.key.partition('.')[2]}: {as_yaml(first.values[1])}"
        named.append((f"{words} = {port}" if last else words,
                      evidence.results.book.claim(step.name).configurations()[0]))
    return [(words, errors) for words, name in named
            if (errors := [run.number(METRIC) for run in evidence.runs(name).values()])]


def _draw(axes: Axes, colours: Mapping[str, str], rows: Sequence[After]) -> None:
    """Draw every seed as a small dot and their mean as a large one, joined from step to step."""
    from matplotlib.ticker import PercentFormatter

    means = [statistics.fmean(errors) for _, errors in rows]
    places = range(len(rows))
    axes.plot(means, places, "-o", color=colours["validation"], linewidth=1.2, markersize=6)
    for place, (_, errors) in zip(places, rows, strict=True):
        axes.plot(errors, [place] * len(errors), "o", color=colours["training"], markersize=3,
                  alpha=SEED_ALPHA, linestyle="none")
    axes.set_yticks(places, [f"{words} ({len(errors)})" for words, errors in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.grid(axis="x")
    axes.set_title("Top-1 error of the centre crop after each step (seeds)", loc="left",
                   fontsize=10)
