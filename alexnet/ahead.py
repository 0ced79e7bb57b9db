"""One thing after another, each made on a thread while the one before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """`make(i)` for i in order, the next one always on its way; what was made never depends on when.

    Args:
        make: called for one number at a time, on a thread of its own or, for the first, on the caller's.
        until: no number from here on is made.
    """

    def __init__(self, make: Callable[[int], Made], until: int) -> None:
        self._make, self._until = make, until
        self._next, self._coming = -1, Future[Made]()

    def take(self, number: int) -> Made:
        """make(number); whatever it raised is raised here."""
        if number != self._next:
            self.finish()
        made = self._coming.result() if number == self._next else self._make(number)
        self._next = number + 1 if number + 1 < self._until else -1
        if self._next >= 0:
            self._coming = Future()
            # A daemon: a run that fails or is interrupted does not wait for an input that it will not use.
            threading.Thread(target=self._run, args=(self._next, self._coming), daemon=True).start()
        return made

    def finish(self) -> None:
        """Wait for what is on its way, and forget it."""
        if self._next >= 0:
            self._coming.exception()
        self._next = -1

    def _run(self, number: int, coming: Future[Made]) -> None:
        try:
            coming.set_result(self._make(number))
        except BaseException as error:
            coming.set_exception(error)
