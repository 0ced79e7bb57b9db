"""Child processes that end when their parent does, however it ends."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1
SECONDS_TO_END = 10.0


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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
