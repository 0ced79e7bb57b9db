"""Tables in the terminal: one style for all, 80 columns where they fit."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table


def terminal_table(*headings: str) -> Table:
    """Return an empty table in the style of every command: a line below its headings."""
    return Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def print_table(table: Table, console: Console | None = None) -> None:
    """Print it; where the output is no terminal, as wide as it needs to be."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        unbounded = console.options.update(max_width=1000)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)
