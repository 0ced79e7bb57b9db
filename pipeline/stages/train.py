"""The `train` stage: choose the processes, have them train, publish what they leave.

It leaves the weights (`models/model.safetensors`), the trace (`models/trace.jsonl`) and the
learning curve (`plots/learning.csv`). Given the same again, a run that was killed goes on from its
last checkpoint.

Started once, it starts the training processes of this machine. Started by torchrun, on one machine
or several, each process is one of them: the first of all runs the stage, the others `join`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pipeline.config.identity import configuration, digest
from pipeline.config.parameters import Parameters
from pipeline.config.paths import KEPT, LEARNING, TRACE, WEIGHTS
from pipeline.config.stages import BY_NAME
from pipeline.data.store import check_made_with
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock, write_json
from pipeline.system.project import environment
from pipeline.system.terminal import say
from pipeline.training import execution, launcher
from pipeline.training.process import train_together
from pipeline.training.run import train
from pipeline.training.run_folder import FINISHED, publish, run_folder

ARTIFACTS = (WEIGHTS, TRACE, LEARNING, KEPT)
tags = execution.tags  # of its record


def run(parameters: Parameters,
        follow: Callable[[Path], AbstractContextManager[object]] = nullcontext) -> dict[str, Any]:
    """Train, or go on training, to the end.

    Args:
        follow: surrounds the training, given the folder in which its curves grow.

    Returns:
        steps, training_loss, validation_loss, validation_error, trace_digest, weights_digest, seed,
        and configuration_digest, of the sections network, recipe and train.

    Raises:
        UserError: missing inputs, a placement that this machine cannot give, a diverging run.
    """
    check_made_with(parameters)
    parameters = execution.resolve(parameters)
    folder, section = run_folder(parameters), parameters.execution
    processes, threads = execution.process_count(section), int(section.threads)
    say(f"train: {processes} process{'es' * (processes > 1)}, "
        f"{'one column each' if section.placement == 'two' else 'all columns in each'}, "
        f"{section.device}, {threads} thread{'s' * (threads > 1)} each")
    # perhaps of an experiment
    with exclusive_lock(folder / "lock", "another process that trains the same"), follow(folder):
        if execution.launched():
            train_together(parameters, folder)
        elif not (folder / FINISHED).exists():
            _train(parameters, folder, processes)
        metrics = publish(folder) | {"seed": parameters.train.seed, "configuration_digest":
                                     digest(configuration(parameters, BY_NAME["train"].sections))}
        shutil.rmtree(folder)
    return metrics


def join(parameters: Parameters) -> None:
    """Do the part of a process that torchrun started, other than the first: train, nothing else."""
    check_made_with(parameters)
    parameters = execution.resolve(parameters)
    train_together(parameters, run_folder(parameters))


def _train(parameters: Parameters, folder: Path, processes: int) -> None:
    if processes == 1:
        train(parameters, folder, execution.prepare(parameters))
        return
    write_json(folder / "parameters.json", parameters.model_dump(mode="json"))
    status = launcher.launch(folder, processes,
                             environment() | {"OMP_NUM_THREADS": str(parameters.execution.threads)})
    if status:
        raise UserError(f"{launcher.describe_exit(status)}. The same command goes on from the last "
                        "checkpoint")
