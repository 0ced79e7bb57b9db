"""SIGINT and SIGTERM. A command that one of them ends exits with 128 and its number, as a shell
would say it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_raised = 0  # the signal that has been raised last; a library may have swallowed it


class Interrupted(KeyboardInterrupt):
    """One of the signals came; `status` is the exit status that tells of it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """As a shell tells it: 130 of SIGINT, 143 of SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within the block either signal raises `Interrupted`, wherever the main thread is."""
    def handler(number: int, frame: FrameType | None) -> None:
        global _raised
        _raised = number
        raise Interrupted(number)

    global _raised
    _raised = 0
    with _handled_by(handler):
        yield


def last() -> int:
    """The number of the signal that `raised` has raised last, or 0: a library may have swallowed
    it."""
    return _raised


@contextlib.contextmanager
def noted(told: str, again: bool = True) -> Iterator[Callable[[], int]]:
    """Within the block the first signal is only noted, and `told`, if any, printed; a second one
    raises `Interrupted`.

    With `again=False` the second one is ignored, too: a launcher and the terminal may both send
    one.

    Yields:
        What gives the signal's number, or 0 if none has come. One that was raised before, and
        swallowed by a library that was just being loaded, counts.
    """
    found = _raised

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal found
        if not found:
            found = number
            if told:
                os.write(2, f"{told}\n".encode())  # print() may be at work where this interrupts it
        elif again:
            raise Interrupted(number)

    with _handled_by(handler):
        yield lambda: found


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored stay so; only the main thread may handle any."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS if here}
    heard = [number for number, was in before.items() if was is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
