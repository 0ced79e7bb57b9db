"""Executors: worker processes here, or a Dask cluster's workers on other machines.

The processes end when the work does, when it fails, on Ctrl-C, and when the main process is killed.
The cluster is the user's: it runs before and stays.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from pipeline.system.errors import UserError
from pipeline.system.terminal import say

SECONDS_TO_ANSWER = 10
Result = TypeVar("Result")


@contextlib.contextmanager
def process_pool(workers: int | str) -> Iterator[Executor]:
    """Start an executor of so many fresh (spawned) processes; `auto` is one for each core.

    Raises:
        UserError: `workers` is below 1, or a worker was killed within the block.
    """
    count = len(os.sched_getaffinity(0)) if workers == "auto" else int(workers)
    if count < 1:
        raise UserError(f"execution.workers: {workers}; expected auto, or 1 or more")
    others = set(multiprocessing.active_children())
    try:
        executor = _Pool(count, _Spawning(), initializer=_worker_starts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError("No space left in /dev/shm, where worker processes have their locks; make "
                        "room, and give the same command again") from None
    try:
        yield executor
    except BaseException as error:  # Ctrl-C too; what the workers have in hand is not waited for
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError("a worker process was killed, perhaps for lack of memory; the same "
                            "command goes on from what is finished; execution.workers says how "
                            "many processes there are") from None
        raise
    finally:
        executor.shutdown()


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Connect to the Dask cluster whose scheduler has this address, as in tcp://node1:8786.

    A task whose worker dies is given to another worker; when three have died, it fails.

    Raises:
        UserError: Dask is not installed, no scheduler answers, or three workers have died with one
            task.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise UserError("execution.scheduler needs Dask; install it with: pip install "
                        "distributed") from None
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"execution.scheduler: {address}: no Dask scheduler answers ({error}); "
                        "start one with `dask scheduler`, and workers with "
                        "`dask worker ADDRESS --nthreads 1`") from None
    with client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        say(f"workers: {workers} of the Dask cluster {address}" if workers else
            f"workers: none yet; waiting for a `dask worker {address} --nthreads 1`")
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except KilledWorker as error:
            raise UserError("three workers died at the same task, perhaps for lack of memory "
                            f"({error.task}); the same command goes on from what is "
                            "finished") from None
        finally:
            executor.shutdown(wait=False)  # whatever is still under way is of no more use


class _Worker(SpawnProcess):
    """A worker that ends with a line, not a traceback, where it has, for example, no memory left to
    load what its task needs."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            say(f"a worker process ends: {type(error).__name__}: {error}")
            os._exit(1)


class _Spawning(SpawnContext):
    Process = _Worker


class _Pool(ProcessPoolExecutor):
    """A pool whose workers do not receive Ctrl-C, which reaches the whole process group: the main
    process ends them. They inherit the mask, for a worker interrupted in its first instructions
    would print a traceback."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)  # starts a worker if one is lacking
        except OSError as error:
            if self._broken:
                # another was killed meanwhile, and the queue that this one was to share is closed
                raise BrokenProcessPool(str(error)) from error
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker_starts() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed; nobody waits for this process's work
