"""Processes: children that end when their parent does, however it ends, and memory that is kept for reuse."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
SECONDS_TO_END = 10.0


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_freed_memory() -> None:
    """Have freed memory stay with this process (glibc; elsewhere nothing happens).

    By default every large tensor is fresh memory from the kernel, which clears it page by page: a tenth of a training
    step, for tensors of the same sizes every time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def run_to_the_end(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a child and return its exit status; when this process is interrupted or ends, the child ends too."""
    child = subprocess.Popen(command, env=dict(environment), preexec_fn=die_with_parent)
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
