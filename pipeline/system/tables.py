"""Tables in the terminal: one style for all, 80 columns where they fit."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table


def terminal_table(*headings: str) -> Table:
    """Return an empty table in the style of every command: a line below its headings."""
    return Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def print_table(table: Table, console: Console | None = None) -> None:
    """Print it, at most as wide as the terminal; a file or a pipe has 80 columns, or COLUMNS of
    them. What does not fit on a line goes on below: nothing is cut off that may wrap."""
    for column in table.columns:
        if not column.no_wrap:
            column.overflow = "fold"  # a word that is wider than its column, such as a path
    (console or Console(highlight=False)).print(table)
