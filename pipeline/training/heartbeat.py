"""Whether the other training processes are still at work. A process that hangs does not close its
connections.

Each process writes a number into the store in which they all met, another one every second, from a
thread of its own: slow disks and long computations do not silence it, SIGSTOP or a machine that is
gone do. Where one has been silent for half a minute, each of the others says so and ends: it may be
waiting for that one, within a library, for ever.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

SECONDS_BETWEEN = 1.0
SECONDS_OF_SILENCE = 30.0
STATUS = 4  # of a process that ends because another is silent
OVER = "over"


class Heartbeat:
    """Beats, and listens to the others, within the block; for the processes of the default process
    group.

    Args:
        attempt: a name that only these processes share; others may have used the store before.
        silence: seconds after which a process counts as hung. They are counted in own beats: a
            machine that slept, or a job that was stopped as a whole, does not find itself dead.
        end: called, on the thread, with what there is to say; by default it says it and ends the
            process.
    """

    def __init__(self, attempt: str, silence: float = SECONDS_OF_SILENCE,
                 between: float = SECONDS_BETWEEN,
                 end: Callable[[str], None] | None = None) -> None:
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
                         timeout=timedelta(seconds=silence))
        self._store = PrefixStore(f"heartbeat/{attempt}", store)
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._silence, self._between, self._end = silence, between, end or end_process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat("0")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(self._silence)

    def _beat(self, count: str) -> None:
        self._store.set(str(self._rank), f"{count} process {os.getpid()} on {platform.node()}")

    def _run(self) -> None:
        others = [rank for rank in range(self._world) if rank != self._rank]
        heard = dict.fromkeys(others, "")
        silent = dict.fromkeys(others, 0.0)
        unanswered, count, before = 0.0, 0, time.monotonic()
        while not self._over.wait(self._between):
            now = time.monotonic()
            gone, before = min(now - before, 2 * self._between), now
            try:
                count += 1
                self._beat(str(count))
                beats = [self._store.get(str(rank)).decode() for rank in others]
                unanswered = 0.0
            except RuntimeError:  # torch's DistError among others
                unanswered += max(gone, time.monotonic() - now)
                if unanswered >= self._silence:
                    self._end("the other training processes, or the store in which they met, do "
                              "not answer")
                    return
                continue
            for rank, beat in zip(others, beats, strict=True):
                number, _, who = beat.partition(" ")
                silent[rank] = 0.0 if beat != heard[rank] or number == OVER else silent[rank] + gone
                heard[rank] = beat
                if silent[rank] >= self._silence:
                    self._end(f"training process {rank} ({who}) has given no sign of life for "
                              f"{self._silence:g} s")
                    return
        try:
            self._beat(OVER)
        except RuntimeError:  # whoever held the store has ended already
            return


def end_process(message: str) -> None:
    """Print the message and end this process at once, from a thread: the main one waits within a
    library."""
    print(f"error: {message}; this one ends, too. The same command goes on from the last "
          "checkpoint", file=sys.stderr, flush=True)
    os._exit(STATUS)
