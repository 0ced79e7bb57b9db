"""What a terminal shows: lines for the user, cells of tables, and the progress of long work.

Progress has rate, time left and a note (the loss): a bar on a terminal, lines elsewhere. Names of
files, classes and runs are strangers' words: nothing of them moves the cursor.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0  # at first; a run of days has one every ten minutes in the end
SHARE_BETWEEN_LINES, LONGEST_BETWEEN_LINES = 0.05, 600.0
WIDE = 100  # columns of a terminal on which there is room for counts, and not only for a percentage
NARROW = 72  # below this there is room for the words alone


def printable(text: object, keep: str = "") -> str:
    """Return the text with what would move a terminal's cursor, begin a line, colour it or turn the
    direction of writing escaped, but for the characters to `keep`."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(character if character.isprintable() or character in keep
                   else ascii(character)[1:-1] for character in shown)


def message_lines(text: object) -> str:
    """Return a message as by `printable`, with its lines kept and all but the first one indented: a
    name with a line break in it cannot stand as a message of ours."""
    return printable(text, keep="\n\t").replace("\n", "\n  ")


def cell(text: object, style: str = "", keep: str = "") -> Text:
    """Return a cell of a rich table, as by `printable`; nothing in it is markup."""
    from rich.text import Text

    return Text(printable(text, keep), style=style)


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """Return the text broken between words for a terminal, unchanged for anything else.

    `stream` is where it will be printed, by default standard error.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        return text
    width = os.get_terminal_size(stream.fileno()).columns or 80  # 0 where it does not know
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
                     for line in text.split("\n"))


def say(message: str) -> None:
    """Print a line for the user on standard error; standard output is for results."""
    print(wrapped(message_lines(message)), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a duration in words, to two or three digits, as in `2.0 h`."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.1f} days"


@contextmanager
def progress(title: str, total: float, unit: str, done: float = 0,
             quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show on standard error how far work has come; a terminal without a cursor (TERM=dumb) gets
    lines, as a file or a pipe does.

    Args:
        total: units of work, of which `done` were done before this call.

    Yields:
        `advance(n, note="")`, to be called when n more units are done.
    """
    if quiet:
        yield lambda n=1, note="": None
    elif sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown"):
        yield from _bar(title, total, unit, done)
    else:
        yield from _lines(title, total, unit, done)


def _bar(title: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    start = time.monotonic()
    console = Console(stderr=True)
    count = MofNCompleteColumn() if console.width >= WIDE else TaskProgressColumn()
    rate = TextColumn("{task.fields[rate]}" + (f" {unit}/s" if console.width >= NARROW else "/s"))
    left = TimeRemainingColumn(elapsed_when_finished=True,
                               table_column=Column(no_wrap=True, min_width=7))
    columns: list[ProgressColumn] = [TextColumn("{task.description}", style="bold", markup=False),
                                     count, rate, left,
                                     TextColumn("{task.fields[note]}", markup=False)]
    if roomy := console.width >= NARROW:
        # takes what the words leave
        columns.insert(1, BarColumn(bar_width=None, table_column=Column(ratio=1)))
        columns.append(TextColumn(" "))  # room for the terminal's ^C
    with Progress(*columns, console=console, expand=roomy) as bar:
        task = bar.add_task(printable(title), total=total, rate="0.0", note="")
        bar.update(task, completed=done)
        advanced = 0.0

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal advanced
            advanced += n
            exact, whole = round(done + advanced, 6), total
            # fractions, added up, fall a trifle short of the total: not a full bar
            if exact >= round(total, 6):
                exact = whole = max(round(total), 1)
            bar.update(task, completed=exact, total=whole, note=printable(note),
                       rate=_rate(advanced / max(time.monotonic() - start, 1e-9)))

        yield advance


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if rate >= 1 or not rate else f"{rate:.2g}"


def _lines(title: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    advanced = 0.0

    def advance(n: float = 1, note: str = "") -> None:
        nonlocal advanced, last
        advanced += n
        now = time.monotonic()
        if now - last >= max(SECONDS_BETWEEN_LINES,
                             min(SHARE_BETWEEN_LINES * (now - start), LONGEST_BETWEEN_LINES)):
            last = now
            rate = advanced / (now - start)
            left = f", {duration((total - done - advanced) / rate)} left" if advanced else ""
            say(f"{title}: {done + advanced:g} of {total:g} {unit}, {_rate(rate)} a "
                f"second{left}{'; ' * bool(note)}{note}")

    yield advance
    say(f"{title}: {done + advanced:g} {unit} in {time.monotonic() - start:.1f} s")
