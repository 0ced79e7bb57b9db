"""The matrix for people: a table in the terminal, and a page that is complete in itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.config.stages import MEASURED
from pipeline.studies.matrix.axes import AXES, WORKLOAD
from pipeline.studies.matrix.running import Cell
from pipeline.system.terminal import printable

STYLES = {"identical": "green", "differs": "yellow", "required differs": "bold red",
          "not-compared": "dim"}
WIDE = 130  # columns that the whole table takes
STYLE_SHEET = """
body { font: 16px/1.45 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } caption { text-align: left; font-weight: 600 }
td, th { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
.identical { color: #176b2c } .differs { background: #fff0c2 } .required.differs { background: #f7c6c5 }
.not-compared { color: #767676 } footer { color: #767676 }
"""


def show(rows: Sequence[Cell], stack: Mapping[str, str], console: Console | None = None) -> None:
    """Print the table, every difference, what was skipped and why, the stack, and the sum of it."""
    console = console or Console()
    if not console.is_terminal:  # a pipe has no edge to wrap at
        console.width = max(console.width, WIDE)
    wide = console.width >= WIDE
    table = Table("axis", *["against the reference run"] * wide, *MEASURED, box=box.SIMPLE_HEAD)
    for axis, told, cells in lines(rows):
        table.add_row(axis, *[told] * wide,
                      *(f"[{STYLES[kind(row)]}]{short(row)}" if row else "" for row in cells))
    console.print(table)
    for row in notes(rows):
        console.print(printable(f"{row.axis}, {row.stage}: {row.verdict}: {row.detail}"),
                      style=STYLES[kind(row)], markup=False, soft_wrap=True, highlight=False)
    console.print(printable("stack: " + ", ".join(f"{name} {value}"
                                                  for name, value in stack.items())),
                  markup=False, highlight=False)
    console.print(total(rows), style="bold", highlight=False)


def html(rows: Sequence[Cell], stack: Mapping[str, str]) -> str:
    """The page; it loads nothing."""
    head = "".join(f"<th scope=col>{escape(name)}</th>"
                   for name in ("axis", "against the reference run", *MEASURED))
    body = "".join(f"<tr><th scope=row>{escape(axis)}</th><td>{escape(told)}</td>" + "".join(
        f'<td class="{kind(row)}" title="{escape(row.detail)}">{short(row)}</td>' if row
        else "<td></td>" for row in cells) + "</tr>\n" for axis, told, cells in lines(rows))
    told = "".join(
        f'<tr class="{kind(row)}"><td>{escape(row.axis)}</td><td>{escape(row.stage)}</td>'
        f"<td>{row.verdict}</td><td>{escape(row.detail)}</td></tr>\n" for row in notes(rows))
    facts = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>\n"
                    for name, value in stack.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>AlexNet: reproducibility matrix</title><style>{STYLE_SHEET}</style></head><body>
<h1>Reproducibility matrix</h1>
<p><strong>{escape(total(rows))}</strong></p>
<p>Every stage was run again along each axis, with the reference run's inputs, and all that it left was compared with
what the reference run left, bit by bit. Axes marked * must be identical.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table>
<table><caption>Differences, and what could not be compared</caption><tbody>
{told}</tbody></table>
<table><caption>The stack</caption><tbody>
{facts}</tbody></table>
<p>The workload: params.yaml with {escape(", ".join(WORKLOAD))}, unless overridden.</p>
<footer>Made by <code>alexnet matrix</code>, {time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}.</footer>
</body></html>
"""


def lines(rows: Sequence[Cell]) -> list[tuple[str, str, list[Cell | None]]]:
    """Axis (with a * if required), what it changes, and the rows of the stages."""
    found = {(row.axis, row.stage): row for row in rows}
    return [(axis.name + "*" * any(row.required for row in rows if row.axis == axis.name),
             axis.change, [found.get((axis.name, stage)) for stage in MEASURED])
            for axis in AXES if any(row.axis == axis.name for row in rows)]


def notes(rows: Sequence[Cell]) -> list[Cell]:
    """Return the cells that differ, and those that could not be compared."""
    return [row for row in rows if row.verdict != "identical"]


def kind(row: Cell) -> str:
    """A key of STYLES; on a page, the classes of the cell."""
    return "required differs" if row.fails else row.verdict.replace(" ", "-")


def short(row: Cell) -> str:
    """The verdict, in a cell."""
    return row.verdict


def total(rows: Sequence[Cell]) -> str:
    """How many of the results that must be identical are, and of the others."""
    must, others = ([row for row in rows if row.required == required] for required in (True, False))
    missing = [row for row in rows if row.verdict == "not compared"]
    return (f"{sum(row.verdict == 'identical' for row in must)} of {len(must)} required results are "
            f"identical to the bit; {sum(row.verdict == 'differs' for row in others)} of "
            f"{len(others)} others differ" + f"; {len(missing)} not compared" * bool(missing))
