"""Worker processes that end when the work does, when it fails, on Ctrl-C, and when the main process is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from pipeline.errors import UserError


@contextlib.contextmanager
def process_pool(workers: int | str) -> Iterator[Executor]:
    """An executor of so many fresh (spawned) processes; `auto` for one a core.

    Raises:
        UserError: not a number of workers; or a worker was killed within the block.
    """
    count = len(os.sched_getaffinity(0)) if workers == "auto" else int(workers)
    if count < 1:
        raise UserError(f"execution.workers: {workers}; expected auto, or 1 or more")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_worker_starts)
    try:
        yield executor
    except BaseException as error:  # Ctrl-C too; what the workers have in hand is not waited for
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError("a worker process was killed, perhaps for lack of memory; the same command goes on from "
                            "what is finished; execution.workers says how many processes there are") from None
        raise
    finally:
        executor.shutdown()


def _worker_starts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process sees to the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed; nobody waits for this process's work
