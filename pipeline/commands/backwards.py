"""`alexnet`, with directory listings in reverse, as another file system gives them, and the shards
made last to first.

`python -m pipeline.commands.backwards resize ...` is `alexnet resize ...` so changed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

SECONDS_OF_QUIET = 0.2  # after which no further task is expected


class LastFirst(Executor):
    """An executor that waits until no more tasks come, then does them in this process, the last one
    first."""

    def __init__(self) -> None:
        self._tasks: list[Callable[[], None]] = []
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task as `Executor.submit` does; what was submitted last is done first."""
        future: Future[Any] = Future()

        def task() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # whoever asks for the result has it
                future.set_exception(error)

        with self._lock:
            self._tasks.append(task)
            if self._timer:
                self._timer.cancel()
            self._timer = threading.Timer(SECONDS_OF_QUIET, self._work)
            self._timer.daemon = True
            self._timer.start()
        return future

    def _work(self) -> None:
        with self._lock:
            tasks, self._tasks = self._tasks, []
        for task in reversed(tasks):
            task()


class _Listing:
    """What os.scandir yields, in reverse."""

    def __init__(self, listing: Iterator[os.DirEntry[Any]]) -> None:
        self._entries = iter(list(listing)[::-1])

    def __enter__(self) -> _Listing:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> _Listing:
        return self

    def __next__(self) -> os.DirEntry[Any]:
        return next(self._entries)

    def close(self) -> None:
        self._entries = iter(())


@contextlib.contextmanager
def _pool(workers: int | str) -> Iterator[Executor]:
    yield LastFirst()


def main() -> None:
    """Run the `alexnet` command with listings and shards in reverse."""
    from pipeline.commands import main
    from pipeline.data import prepare

    listed, scanned = os.listdir, os.scandir
    os.listdir = lambda path=".": listed(path)[::-1]  # type: ignore[assignment]
    os.scandir = lambda path=".": _Listing(scanned(path))  # type: ignore[assignment]
    prepare.process_pool = _pool  # type: ignore[attr-defined]
    main.main()


if __name__ == "__main__":
    main()
