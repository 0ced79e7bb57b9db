"""Children end with their parent, however it ends; and all of them can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.system.processes import kill_children, kill_with_children

PARENT = """
import os, sys
from pipeline.system.processes import run_child
run_child([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"], os.environ)
"""


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether the process ends within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as stream:
                if stream.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_child_ends_with_its_parent(blow: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child, 0.2)
    parent.send_signal(blow)
    assert gone(child)
    parent.wait()


TWO_DEEP = """
import os, sys
from pipeline.system.processes import run_child
from pipeline.system.signals import raise_on_signal
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
with raise_on_signal():
    run_child(["sh", "-c", f"{sys.executable} -c '{child}'; true"], os.environ)
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_what_a_child_has_started_ends_with_an_interrupted_parent(blow: signal.Signals) -> None:
    """As `claims run` starts DVC, which starts a training."""
    parent = subprocess.Popen([sys.executable, "-c", TWO_DEEP], start_new_session=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    assert not gone(grandchild, 0.2)
    parent.send_signal(blow)
    parent.wait(30)
    assert gone(grandchild, 0.5)


GRANDPARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def grandparent() -> tuple[subprocess.Popen[str], int]:
    """A process, and the id of one that it has started in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", GRANDPARENT], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_kill_reaches_children_in_other_sessions() -> None:
    process, child = grandparent()
    assert not gone(child, 0.2)
    assert kill_with_children(process)
    assert process.returncode == -signal.SIGKILL
    assert gone(child, 0.5)
    assert not kill_with_children(process)  # nothing was left to kill


def test_the_children_alone() -> None:
    process, child = grandparent()
    kill_children(process.pid, itself=False)
    assert gone(child, 0.5)
    assert process.poll() is None
    assert kill_with_children(process)
