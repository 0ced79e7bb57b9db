"""Processes: children that end when their parent does, however it ends, and memory that is kept for
reuse."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
SECONDS_TO_END = 10.0


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux; elsewhere nothing
    happens). It stays so when the process becomes another program."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def keep_freed_memory() -> None:
    """Have freed memory stay with this process (glibc; elsewhere nothing happens).

    By default every large tensor is fresh memory from the kernel, which clears it page by page: a
    tenth of a training step, for tensors of the same sizes every time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def run_child(command: Sequence[str], environment: Mapping[str, str],
                   folder: Path | None = None, output: int | None = None) -> int:
    """Run a child and return its exit status; when this process is interrupted or ends, the child
    ends too.

    It runs in `folder`, and its standard output goes to the descriptor `output`, if they are given.
    """
    child = subprocess.Popen(command, env=dict(environment), preexec_fn=die_with_parent, cwd=folder,
                             stdout=output)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def alive(process: int | str) -> bool:
    """Whether a process of this number is there, on this machine; of what is no number, none is."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # there, but somebody else's
        pass
    return True


def kill_with_children(child: subprocess.Popen[Any]) -> bool:
    """SIGKILL to a child and to all that it has started, in whatever sessions; returns when none of
    them is left.

    Returns:
        Whether the child was still at work.
    """
    alive = child.poll() is None
    if alive:
        kill_children(child.pid)
    child.wait()
    return alive


def kill_children(process: int, itself: bool = True) -> None:
    """SIGKILL to all that a process has started, and to itself; returns when none of them is left
    (or after 10 s)."""
    import psutil

    try:
        parent = psutil.Process(process)
        everyone = [parent] * itself + parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for one in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    latest = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < latest and any(_at_work(one) for one in everyone):
        time.sleep(0.005)


def _at_work(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
