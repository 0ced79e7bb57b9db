"""Items needed one after another, each made on a thread while the one before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """`make(i)` for i in order, with the next one always under way; no item depends on when.

    Args:
        make: called for one number at a time, on a thread of its own or, for the first, on the
            caller's.
        stop: no number from this one on is made.
    """

    def __init__(self, make: Callable[[int], Item], stop: int) -> None:
        self._make, self._stop = make, stop
        self._next, self._future = -1, Future[Item]()

    def take(self, number: int) -> Item:
        """Return make(number); whatever it raised is raised here."""
        if number != self._next:
            self.finish()
        item = self._future.result() if number == self._next else self._make(number)
        self._next = number + 1 if number + 1 < self._stop else -1
        if self._next >= 0:
            self._future = Future()
            # No daemon: one that is within PyTorch when Python ends aborts the process.
            threading.Thread(target=self._run, args=(self._next, self._future)).start()
        return item

    def finish(self) -> None:
        """Wait for the item that is under way, and forget it."""
        if self._next >= 0:
            self._future.exception()
        self._next = -1

    def _run(self, number: int, future: Future[Item]) -> None:
        try:
            future.set_result(self._make(number))
        except BaseException as error:
            future.set_exception(error)
