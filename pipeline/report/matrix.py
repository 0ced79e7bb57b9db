"""The reproducibility matrix for people: a table in the terminal, a page, a part of the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from pipeline.config.stages import MEASURED
from pipeline.report.templates import template
from pipeline.studies.matrix.axes import AXES
from pipeline.studies.matrix.running import Cell
from pipeline.system.terminal import printable

STYLES = {"identical": "green", "differs": "yellow", "required differs": "bold red",
          "not-compared": "dim"}
WIDE = 130  # columns that the table takes with a description of each axis


@dataclass(frozen=True)
class MatrixTable:
    """The matrix as it is shown.

    Attributes:
        total: the sum of it in words.
        stages: the columns.
        lines: of each axis its name (with a * if it must be identical), what it changes, and the
            cells of the stages, None where the axis does not reach one.
        notes: the cells that differ, and those that could not be compared.
    """

    total: str
    stages: tuple[str, ...]
    lines: list[tuple[str, str, list[Cell | None]]]
    notes: list[Cell]


def matrix_table(cells: Sequence[Cell]) -> MatrixTable:
    """Return the cells in order: a line for each axis, a column for each stage."""
    by_place = {(cell.axis, cell.stage): cell for cell in cells}
    required = {cell.axis for cell in cells if cell.required}
    there = {cell.axis for cell in cells}
    lines = [(axis.name + "*" * (axis.name in required), axis.change,
              [by_place.get((axis.name, stage)) for stage in MEASURED])
             for axis in AXES if axis.name in there]
    return MatrixTable(total(cells), MEASURED, lines,
                       [cell for cell in cells if cell.verdict != "identical"])


def show(cells: Sequence[Cell], stack: Mapping[str, str], console: Console | None = None) -> None:
    """Print the table, every difference, what could not be compared and why, and the stack."""
    from pipeline.system.tables import print_table, terminal_table

    console = console or Console(highlight=False)
    described = console.width >= WIDE
    matrix = matrix_table(cells)
    table = terminal_table()
    table.add_column("axis", no_wrap=True)
    for heading in (*["against the reference run"] * described, *matrix.stages):
        table.add_column(heading)
    for axis, change, line in matrix.lines:
        table.add_row(axis, *[change] * described,
                      *(f"[{STYLES[_style(cell)]}]{cell.verdict}" if cell else "" for cell in line))
    print_table(table, console)
    for cell in matrix.notes:
        console.print(printable(f"{cell.axis}, {cell.stage}: {cell.verdict}: {cell.detail}"),
                      style=STYLES[_style(cell)], markup=False, highlight=False)
    facts = ", ".join(f"{name} {value}" for name, value in stack.items())
    console.print(printable(f"stack: {facts}"), markup=False, highlight=False)
    console.print(matrix.total, style="bold", highlight=False)


def html(cells: Sequence[Cell], stack: Mapping[str, str], workload: Sequence[str]) -> str:
    """Return the page, which loads nothing."""
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return str(template("matrix.html.j2").render(matrix=matrix_table(cells), stack=stack,
                                                 workload=workload, made=made))


def _style(cell: Cell) -> str:
    return "required differs" if cell.fails else cell.verdict.replace(" ", "-")


def total(cells: Sequence[Cell]) -> str:
    """Return how many of the results that must be identical are, and how many others differ."""
    must, others = ([cell for cell in cells if cell.required == required]
                    for required in (True, False))
    missing = sum(cell.verdict == "not compared" for cell in cells)
    return (f"{sum(cell.verdict == 'identical' for cell in must)} of {len(must)} required results "
            f"are identical to the bit; {sum(cell.verdict == 'differs' for cell in others)} of "
            f"{len(others)} others differ" + f"; {missing} not compared" * bool(missing))
