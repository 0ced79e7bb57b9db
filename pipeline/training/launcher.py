"""Starts the training processes of this machine, and sees to it that none outlives the others or
this one.

They meet in a store that this process holds, and find it as under PyTorch's own launcher, by
MASTER_ADDR and MASTER_PORT. torchrun would do; but where one of them fails, what it prints of
itself hides the reason.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.system import project
from pipeline.system.errors import UserError
from pipeline.system.processes import die_with_parent

# Set by a launcher for each process; torchrun and `launch` set one of OURS besides.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OURS = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE")
SECONDS_FOR_A_CHECKPOINT = 60.0  # after SIGINT or SIGTERM
SECONDS_TO_FOLLOW = 5.0  # for the others to end, and say why, when one has failed
SECONDS_BETWEEN_LOOKS = 0.05


def world_size() -> int:
    """Return how many processes a launcher started together with this one, itself included; 1 if
    it is alone.

    Raises:
        UserError: the variables that say so are of a platform that is not torchrun: its processes
            would wait for each other without end.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if (rank, size) == ("0", "1"):
        return 1
    if any(name in os.environ for name in OURS) and size.isdecimal() and all(
            name in os.environ for name in VARIABLES):
        return int(size)
    names = ", ".join(name for name in VARIABLES if name in os.environ)
    raise UserError(f"RANK is {rank} and WORLD_SIZE is {size}, and torchrun has not set them. To "
                    "train with several processes, start torchrun on each machine, which sets "
                    f"them itself; to run alone, unset {names}")


def launch(folder: Path, processes: int, environment: Mapping[str, str], stop: int | None = None,
           here: Path | None = None, train: Sequence[str] | None = None) -> int:
    """Run `python -m pipeline train FOLDER [STOP]` in so many processes to their end, in the folder
    `here`.

    `environment` says which code that is (`project.environment`); `train` is another command for
    it, of older code.

    SIGINT or SIGTERM is passed on as SIGTERM, for which a training process leaves a checkpoint, and
    raised when all have ended; a second one ends them at once.

    Returns:
        0, or the exit status of the process that failed first: negative, the signal that killed it.
    """
    environment = {name: value for name, value in environment.items()
                   if name not in (*VARIABLES, *OURS)}
    command = [*(train or project.python("train")), str(folder), *([str(stop)] if stop else [])]
    meeting, store = _meeting_place(processes) if processes > 1 else ({}, None)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            own = meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
            children.append(subprocess.Popen(command, env={**environment, **own}, cwd=here,
                                             stdout=2, preexec_fn=_begin))
        return _watch(children)
    except KeyboardInterrupt:
        for child in children:
            child.terminate()
        latest = time.monotonic() + SECONDS_FOR_A_CHECKPOINT
        for child in children:
            try:
                child.wait(max(latest - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                break
        raise
    finally:
        for child in children:
            child.kill()
            child.wait()
        del store


def describe_exit(status: int) -> str:
    """Return what became of a training process that ended with this status."""
    if status < 0:
        why = ", perhaps for lack of memory" if status == -signal.SIGKILL else ""
        return f"a training process was killed by {signal.Signals(-status).name}{why}"
    return f"a training process ended with status {status}; what it said stands above"


def _begin() -> None:
    """Set up a child: Ctrl-C reaches the whole group, and the parent sees to it."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _meeting_place(processes: int) -> tuple[dict[str, str], object]:
    """Return the variables by which the processes find each other, and the store, which is there as
    long as it is kept."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
            "TORCHELASTIC_USE_AGENT_STORE": "True"}, store


def _watch(children: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        statuses = [child.poll() for child in children]
        if all(status == 0 for status in statuses):
            return 0
        if any(statuses):
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    latest = time.monotonic() + SECONDS_TO_FOLLOW
    while time.monotonic() < latest and any(child.poll() is None for child in children):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    failed = [status for status in statuses if status]
    return min(failed)  # a signal, if there is one: the others failed for want of the one it killed
