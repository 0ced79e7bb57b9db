"""From `source` to a port, one difference after another, as a figure of the error after each:
`python -m pipeline.report.waterfall_figure` draws those of docs/ports.md anew from
experiments/results."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.recipe import Name
from pipeline.config.recipes import as_yaml
from pipeline.report.figures import CHART_PIXELS, LIGHT, svg
from pipeline.studies.claims.ledger import Book, load
from pipeline.studies.claims.results import RESULTS, Evidence, Results
from pipeline.studies.ports.waterfall import (
    BASE,
    METRIC,
    PORTED,
    SCALES,
    Step,
    figure_of,
    steps,
    whole,
    with_all,
)
from pipeline.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEED_ALPHA = 0.45  # of the small dots
LETTERS, ROW, LINE = 40, 12, 14  # of a label's line; pixels of a row besides, and of each line


@dataclass(frozen=True)
class After:
    """The errors after a step.

    Attributes:
        number: of the step, from 1; 0: `source`.
        words: the values that it changes.
        errors: by seed.
    """

    number: int
    words: str
    errors: Mapping[int, float]


def write(evidence: Evidence) -> list[Path]:
    """Write experiments/results/SCALE/port-PORT.svg for every port of which a step has been run;
    return the files."""
    written = []
    for port in PORTED:
        if rows := after_each_step(port, evidence):
            file = figure_of(port, evidence.folder)
            lines = sum(_label(row).count("\n") + 1 for row in rows)
            pixels = (int(1.5 * CHART_PIXELS[0]), 70 + ROW * len(rows) + LINE * lines)
            content = svg(lambda axes, colours, rows=rows: _draw(axes, colours, rows), LIGHT,
                          pixels)
            with atomic_write(file) as stream:
                stream.write(content)
            written.append(file)
    return written


def after_each_step(port: Name, evidence: Evidence) -> list[After]:
    """Return `source`, the steps and the port, each on the seeds that `source` and the port have;
    without the steps that lack one of these.

    Returns:
        None of them, where no step between the two is left.
    """
    taken = steps(port)
    runs = evidence.runs(BASE)
    shared = [seed for seed in runs if seed in evidence.runs(whole(port))]
    rows = [After(0, "source", {seed: runs[seed].number(METRIC) for seed in shared})]
    for number, step in enumerate(taken, 1):
        runs = evidence.runs(evidence.results.book.claim(step.name).configurations()[0])
        if all(seed in runs for seed in shared):
            here = rows[-1].number == number - 1
            words = _words(step) if here else "..."
            rows.append(After(number, f"{words} = {port}" if number == len(taken) else words,
                              {seed: runs[seed].number(METRIC) for seed in shared}))
    return rows if shared and len(rows) > 2 else []


def _words(step: Step) -> str:
    return ", ".join(f"{each.key.partition('.')[2]}: {as_yaml(each.values[1])}"
                     for each in step.differences)


def _label(row: After) -> str:
    return textwrap.fill(row.words, LETTERS)


def _draw(axes: Axes, colours: Mapping[str, str], rows: Sequence[After]) -> None:
    """Draw every seed as a small dot and their mean as a large one, joined where nothing is left
    out between two."""
    from matplotlib.ticker import PercentFormatter

    means = [statistics.fmean(row.errors.values()) for row in rows]
    for place, row in enumerate(rows):
        axes.plot(list(row.errors.values()), [place] * len(row.errors), "o", markersize=3,
                  color=colours["training"], alpha=SEED_ALPHA)
        if place and rows[place - 1].number == row.number - 1:
            axes.plot(means[place - 1:place + 1], [place - 1, place], color=colours["validation"],
                      linewidth=1.2)
    axes.plot(means, range(len(rows)), "o", color=colours["validation"], markersize=6)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.grid(axis="x")
    axes.set_title("Top-1 error of the centre crop after each step, on seeds "
                   + ", ".join(map(str, rows[0].errors)), loc="left", fontsize=10)


def every(book: Book, folder: Path = RESULTS) -> list[Path]:
    """Draw the figures of every scale, each of the most pictures that it has been run on; return
    the files."""
    drawn: dict[Path, None] = {}
    for scale in SCALES:
        results = Results(book, scale, folder)
        for key in reversed(results.evidence_keys()):
            drawn |= dict.fromkeys(write(results.at(key)))
    return list(drawn)


if __name__ == "__main__":
    for file in every(with_all(load())):
        print(file)
