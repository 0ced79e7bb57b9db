"""What each training process runs.

`python -m pipeline train FOLDER [STOP]` is started once a process by the launcher, or once without
it; the `train` stage calls `run.train()` itself where one process is enough, and `train_together()`
where torchrun started the stage. FOLDER holds `parameters.json` and collects what the run leaves;
with STOP it ends after so many updates.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.config.parameters import Parameters, check
from pipeline.records import environment
from pipeline.records.differences import deciding_facts
from pipeline.system import errors, signals
from pipeline.system.errors import UserError
from pipeline.system.processes import die_with_parent
from pipeline.system.terminal import say
from pipeline.training.execution import prepare
from pipeline.training.heartbeat import Heartbeat, end_process
from pipeline.training.launcher import world_size
from pipeline.training.meeting import meet
from pipeline.training.run import same_everywhere, train

SECONDS_TO_MEET = 120.0  # for all processes to start and connect


def main(folder: Path, stop: int | None = None) -> None:
    """Run a training process to its end, and exit with the status of an error."""
    die_with_parent()
    faulthandler.enable(2)
    parameters = check(json.loads((folder / "parameters.json").read_text()),
                       folder / "parameters.json")
    try:
        if world_size() > 1:
            train_together(parameters, folder, stop)
        else:
            train(parameters, folder, prepare(parameters), stop)
    except signals.Interrupted as interrupted:
        sys.exit(interrupted.status)
    except Exception as error:
        line, status = errors.describe_error(error)
        say(line)
        sys.exit(status)


def train_together(parameters: Parameters, folder: Path, stop: int | None = None) -> None:
    """Train as one of the processes that a launcher started; do nothing where the model is there.

    Raises:
        UserError: as `train`; the processes do not all find the same run; or another one has ended.
    """
    device = prepare(parameters)
    try:
        with _time_limit():
            attempt, store, rank, size = meet()
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store,
                                    rank=rank, world_size=size)
        with Heartbeat(attempt):
            _train_in_group(parameters, folder, device, stop)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise UserError("the connection to another training process is lost: it has ended; "
                            "what it said stands above. The same command goes on from the last "
                            "checkpoint") from None
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """End this process where the block takes more than SECONDS_TO_MEET, or SIGTERM or SIGINT comes:
    no handler of Python's would run while it waits within PyTorch for a process that never comes.
    """
    names = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    timer = threading.Timer(SECONDS_TO_MEET, end_process, [
        f"the {os.environ['WORLD_SIZE']} training processes have not all met at {names} within "
        f"{SECONDS_TO_MEET:g} s: one has ended, or cannot be reached"])
    timer.daemon = True
    main_thread = threading.current_thread() is threading.main_thread()
    handlers = [(number, signal.signal(number, signal.SIG_DFL)) for number in signals.SIGNALS
                if main_thread and signal.getsignal(number) is not signal.SIG_IGN]
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in handlers:
            signal.signal(number, handler)


def _train_in_group(parameters: Parameters, folder: Path, device: torch.device,
                    stop: int | None) -> None:
    finished = (folder / "model.safetensors").exists()
    if not same_everywhere(f"{folder.name} {finished}", device):
        raise UserError("the training processes do not all find the same code, parameters, data "
                        f"and {folder}: machines that train together need one project folder, on a "
                        "file system that they share")
    several_machines = os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]
    if several_machines and not same_everywhere(
            json.dumps(deciding_facts(environment.fingerprint(), device.type)),
            device) and dist.get_rank() == 0:
        say("warning: the machines that train together are not alike; the record names the first "
            "one only")
    if not finished:
        train(parameters, folder, device, stop)
