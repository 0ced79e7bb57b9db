"""Progress of long work, with rate, time left and a note (the loss): a bar on a terminal, lines
elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.system.errors import printable, wrapped

SECONDS_BETWEEN_LINES = 10.0  # at first; a run of days has one every ten minutes in the end
WIDE = 100  # columns of a terminal on which there is room for counts, and not only for a percentage
NARROW = 72  # below this there is room for the words alone
SHARE_BETWEEN_LINES, LONGEST_BETWEEN_LINES = 0.05, 600.0


def say(message: str) -> None:
    """One line for the user, on standard error, so that standard output stays clean for results."""
    print(wrapped(printable(message)), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """In words, to two or three digits."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.1f} days"


@contextmanager
def progress(title: str, total: float, unit: str, done: float = 0,
             quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Yields `advance(n, note="")`: n more units are done. `done` of the `total` were done before
    this call.

    It goes to standard error. A terminal that cannot move its cursor (TERM=dumb) has lines, as a
    file or a pipe has.
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
        gone = 0.0

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal gone
            gone += n
            exact, whole = round(done + gone, 6), total
            # fractions, added up, fall a trifle short of the total: not a full bar
            if exact >= round(total, 6):
                exact = whole = max(round(total), 1)
            bar.update(task, completed=exact, total=whole, note=printable(note),
                       rate=_rate(gone / max(time.monotonic() - start, 1e-9)))

        yield advance


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if rate >= 1 or not rate else f"{rate:.2g}"


def _lines(title: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    gone = 0.0

    def advance(n: float = 1, note: str = "") -> None:
        nonlocal gone, last
        gone += n
        now = time.monotonic()
        if now - last >= max(SECONDS_BETWEEN_LINES,
                             min(SHARE_BETWEEN_LINES * (now - start), LONGEST_BETWEEN_LINES)):
            last = now
            rate = gone / (now - start)
            left = f", {duration((total - done - gone) / rate)} left" if gone else ""
            say(f"{title}: {done + gone:g} of {total:g} {unit}, {_rate(rate)} a "
                f"second{left}{'; ' * bool(note)}{note}")

    yield advance
    say(f"{title}: {done + gone:g} {unit} in {time.monotonic() - start:.1f} s")
