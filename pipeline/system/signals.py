"""SIGINT and SIGTERM: raised at once, or kept until a run can stop.

A command that one of them ends exits with 128 and its number, as shells have it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_raised = 0  # the number of the last signal that was raised; a library may have swallowed it


class Interrupted(KeyboardInterrupt):
    """One of the signals came; `status` is the exit status that reports it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """Return 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def raise_on_signal() -> Iterator[None]:
    """Have either signal raise `Interrupted` within the block, wherever the main thread is."""
    def handler(number: int, frame: FrameType | None) -> None:
        global _raised
        _raised = number
        raise Interrupted(number)

    global _raised
    _raised = 0
    with _handled_by(handler):
        yield


def last_signal() -> int:
    """Return the number of the last signal raised within `raise_on_signal`; 0 if none was."""
    return _raised


@contextlib.contextmanager
def defer_signals(message: str, again: bool = True) -> Iterator[Callable[[], int]]:
    """Only remember the first signal of the block, and print `message`; a second raises.

    With `again=False` the second one is ignored: a launcher and the terminal may both send one.

    Yields:
        A function that returns the signal's number, or 0 if none has come. A signal counts, too,
        that was raised before, and swallowed by a library that was just being loaded.
    """
    received = _raised

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if not received:
            received = number
            if message:  # not by print(), which this may have interrupted
                os.write(2, f"{message}\n".encode())
        elif again:
            raise Interrupted(number)

    with _handled_by(handler):
        yield lambda: received


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored stay so; only the main thread may handle any."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS if here}
    handled = [number for number, was in before.items() if was is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
