"""Processes: children that end when their parent does, however that ends; memory kept for reuse."""

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

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
SECONDS_TO_END = 10.0
SECONDS_FOR_A_CHECKPOINT = 60.0  # after SIGTERM


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux; elsewhere nothing
    happens). It stays so when the process becomes another program."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Have the processes that a killed child leaves become children of this process (Linux;
    elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


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
    """Run a child, which ends when this process is interrupted or ends; return its exit status.

    When this one is interrupted, what the child has started ends, too: a training that DVC runs
    leaves a checkpoint.

    Args:
        environment: all of its variables.
        folder: in which it runs; by default the current one.
        output: the file descriptor that its standard output goes to; by default this process's.
    """
    child = subprocess.Popen(command, env=dict(environment), preexec_fn=die_with_parent, cwd=folder,
                             stdout=output)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            _end_with_children(child)


def _end_with_children(child: subprocess.Popen[Any]) -> None:
    """Send SIGTERM to a child and all that it has started, and SIGKILL to those that do not end."""
    import psutil

    try:
        parent = psutil.Process(child.pid)
        everyone = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        everyone = []
    try:
        for member in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        latest = time.monotonic() + SECONDS_FOR_A_CHECKPOINT
        while time.monotonic() < latest and any(map(_is_running, everyone)):
            child.poll()
            time.sleep(0.05)
    finally:  # at once after a second signal
        for member in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        child.wait()


def alive(process: int | str) -> bool:
    """Return whether this machine has a process of this number; False for what is no number."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def kill_with_children(child: subprocess.Popen[Any]) -> bool:
    """Kill a child and all that it has started, in whatever sessions, and wait for their end.

    Returns:
        Whether the child was still running.
    """
    running = child.poll() is None
    if running:
        kill_children(child.pid)
    child.wait()
    return running


def kill_children(process: int, itself: bool = True) -> None:
    """Kill all that a process has started, and it `itself`; wait up to SECONDS_TO_END for their
    end."""
    import psutil

    try:
        parent = psutil.Process(process)
        everyone = [parent] * itself + parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for member in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    latest = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < latest and any(_is_running(member) for member in everyone):
        time.sleep(0.005)


def _is_running(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
