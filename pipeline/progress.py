"""Progress of long work: a bar with rate and time left on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 10.0


def say(message: str) -> None:
    """One line for the user, on standard error, so that standard output stays clean for results."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: float, unit: str, done: float = 0,
             quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Yields `advance(n, note="")`: n more units are done. `done` of the `total` were done before this call."""
    if quiet:
        yield lambda n=1, note="": None
    elif sys.stderr.isatty():
        yield from _bar(title, total, unit, done)
    else:
        yield from _lines(title, total, unit, done)


def _bar(title: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    start = time.monotonic()
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]:.1f} " + unit + "/s"), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, rate=0.0, note="")
        bar.update(task, completed=done)
        gone = 0.0

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal gone
            gone += n
            bar.update(task, advance=n, rate=gone / max(time.monotonic() - start, 1e-9), note=note)

        yield advance


def _lines(title: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    gone = 0.0

    def advance(n: float = 1, note: str = "") -> None:
        nonlocal gone, last
        gone += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = gone / (now - start)
            left = f", {(total - done - gone) / rate:.0f} s left" if gone else ""
            say(f"{title}: {done + gone:g} of {total:g} {unit}, {rate:.1f} a second{left}{'; ' * bool(note)}{note}")

    yield advance
    say(f"{title}: {done + gone:g} {unit} in {time.monotonic() - start:.1f} s")
