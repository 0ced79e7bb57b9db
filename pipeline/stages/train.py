"""The `train` stage: choose the processes, have them train, publish what they leave.

Yields the weights (`models/model.safetensors`), the trace (`models/trace.jsonl`) and the learning
curve (`plots/learning.csv`). The run works in a folder under `work/` that is named by everything
that decides its bits; given the same again, a run that was killed goes on from its last checkpoint.

Started once, it starts the training processes of this machine. Started by torchrun, on one machine
or several, each process is one of them: the first of all runs the stage, the others `join`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.identity import TRAINING, configuration, digest, start_digest
from pipeline.config.parameters import ExecutionSection, Parameters
from pipeline.config.paths import CHECKPOINTS, LEARNING, MEAN, PCA, STORE, TRACE, WEIGHTS
from pipeline.config.stages import code_digest
from pipeline.data.store import prepared_by
from pipeline.records.tracking import project
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, exclusive_lock, write_json
from pipeline.system.journal import read_finished
from pipeline.system.project import CODE, environment
from pipeline.system.terminal import say
from pipeline.training import launcher

ARTIFACTS = (WEIGHTS, TRACE, LEARNING)
FINISHED = "model.safetensors"  # in a run's folder: nothing is left to train


def run(parameters: Parameters) -> dict[str, Any]:
    """Train, or go on training, to the end.

    Returns:
        steps, training_loss, validation_loss, validation_error, trace_digest, weights_digest, seed,
        and configuration_digest, of the sections network, recipe and train.

    Raises:
        UserError: missing inputs, a placement that this machine cannot give, a diverging run.
    """
    parameters = settled(parameters)
    folder = _folder(parameters)
    execution, processes = parameters.execution, processes_of(parameters.execution)
    say(f"train: {processes} process{'es' * (processes > 1)}, "
        f"{'one column each' if execution.placement == 'two' else 'all columns in each'}, "
        f"{execution.device}, {execution.threads} thread{'s' * (execution.threads > 1)} each")
    # perhaps of an experiment
    with exclusive_lock(folder / "lock", "another process that trains the same"):
        if launched():
            from pipeline.training.process import together

            together(parameters, folder)
        elif not (folder / FINISHED).exists():
            _train(parameters, folder)
        metrics = _publish(folder) | {"seed": parameters.train.seed, "configuration_digest":
                                      digest(configuration(parameters, TRAINING))}
        shutil.rmtree(folder)
    return metrics


def join(parameters: Parameters) -> None:
    """What each process that torchrun started does, but the first of all: its part of the training,
    nothing else."""
    from pipeline.training.process import together

    parameters = settled(parameters)
    together(parameters, _folder(parameters))


def launched() -> bool:
    """Whether torchrun started this process, as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def facts(parameters: Parameters) -> dict[str, str]:
    """What the record says of where and how the run is executed, with nothing left to `auto`; of
    its start; of who prepared its images, which need not have been the library that is here now."""
    execution = settled(parameters).execution
    start = start_digest(parameters)
    return {"placement": execution.placement, "replicas": str(execution.replicas),
            "processes": str(processes_of(execution)), "device": execution.device,
            "threads": str(execution.threads), "deterministic": json.dumps(execution.deterministic),
            **({"start_from_digest": start} if start else {}), **prepared_by(STORE)}


def settled(parameters: Parameters) -> Parameters:
    """The parameters with an execution section that has no `auto` left."""
    return parameters.model_copy(update={"execution": decided(parameters)})


def processes_of(execution: ExecutionSection) -> int:
    """How many training processes an execution section asks for, over all machines."""
    return execution.replicas * (2 if execution.placement == "two" else 1)


def growing(parameters: Parameters) -> Path:
    """The folder in which the learning curve and the trace grow."""
    return _folder(settled(parameters))


def _folder(parameters: Parameters) -> Path:
    # a temporary copy of a killed experiment is not found again
    folder = project() / CHECKPOINTS / _key(parameters)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def decided(parameters: Parameters) -> ExecutionSection:
    """The execution section with no `auto` left: device, and one process or two.

    Two processes, one column each, need a net of two columns, and two GPUs or two cores. Under
    torchrun the number of processes is given, and that of replicas follows from it.
    """
    import torch

    from alexnet.architectures import ARCHITECTURES

    execution = parameters.execution
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if execution.device == "cuda" and not gpus:
        raise UserError("execution.device: cuda, but PyTorch finds no GPU here; set it to cpu or "
                        "auto")
    device = execution.device if execution.device != "auto" else "cuda" if gpus else "cpu"
    two_columns = ARCHITECTURES[parameters.network.architecture].columns == 2
    if execution.placement == "two" and not two_columns:
        raise UserError("execution.placement: two, but network.architecture "
                        f"{parameters.network.architecture} has one column; set it to one or auto")
    given = int(os.environ["WORLD_SIZE"]) if launched() else 0
    room = given or (gpus if device == "cuda" else len(os.sched_getaffinity(0)))
    placement, replicas = execution.placement, execution.replicas
    if placement == "auto":
        placement = ("two" if two_columns and room >= 2 * (1 if given else replicas)
                     and given % 2 == 0 else "one")
    if given:
        if given % (2 if placement == "two" else 1):
            raise UserError(f"execution.placement: two, but torchrun started {given} processes, "
                            "which is odd; set it to one, or start an even number")
        replicas = given // (2 if placement == "two" else 1)
    execution = execution.model_copy(update={"device": device, "placement": placement,
                                             "replicas": replicas})
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if given else processes_of(execution)
    if device == "cuda" and here > gpus:
        raise UserError(f"execution: {here} processes need as many GPUs, and there are {gpus}; "
                        "start fewer (torchrun's --nproc-per-node)" if given
                        else f"execution: {here} processes need as many GPUs, and there are "
                             f"{gpus}; lower execution.replicas, or set execution.placement to one")
    if parameters.train.micro_batches % replicas:
        raise UserError("execution.replicas: "
                        f"{replicas}{' (as torchrun started them)' if given else ''} does not "
                        f"divide train.micro_batches ({parameters.train.micro_batches})")
    return execution


def _key(parameters: Parameters) -> str:
    """Names a run by all that decides its bits: code, data, parameters, and what of `execution`
    may."""
    import torch

    inputs = [_file_digest(path, stage) for path, stage in
              ((STORE / "store.json", "resize"), (MEAN, "mean"), (PCA, "pca"))]
    deciding = [code_digest("train", CODE), inputs, start_digest(parameters),
                torch.__version__, parameters.execution.device,
                parameters.execution.threads, parameters.execution.deterministic,
                *(section.model_dump()
                  for section in (parameters.network, parameters.recipe, parameters.train))]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


def _file_digest(path: Path, stage: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it with `alexnet {stage}` or "
                        f"`dvc repro {stage}`") from None


def _train(parameters: Parameters, folder: Path) -> None:
    processes = processes_of(parameters.execution)
    if processes == 1:
        from pipeline.training.process import prepare, train

        train(parameters, folder, prepare(parameters))
        return
    write_json(folder / "parameters.json", parameters.model_dump(mode="json"))
    status = launcher.launch(folder, processes,
                             environment() | {"OMP_NUM_THREADS": str(parameters.execution.threads)})
    if status:
        raise UserError(f"{launcher.told(status)}. The same command goes on from the last "
                        "checkpoint")


def _publish(folder: Path) -> dict[str, Any]:
    from alexnet.digest import digest_of
    from pipeline.training.process import weights_in

    finished = folder / FINISHED
    weights_digest = digest_of(weights_in(finished, "remove it, and the same command goes on from "
                                                    "a checkpoint"))
    try:
        learned, trace = read_finished(folder, "learning.jsonl", "trace.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: what the training has written there is damaged ({error}); "
                        f"remove {finished}, and the same command goes on from a "
                        "checkpoint") from None
    lines = [json.loads(line) for line in learned.decode().splitlines()]
    for target, content in ((LEARNING, learning_table(lines)), (TRACE, trace),
                            (WEIGHTS, finished.read_bytes())):
        with atomic_write(target) as stream:
            stream.write(content)
    last = lines[-1]
    return {"steps": last["step"], "training_loss": last["training_loss"],
            "validation_loss": last["validation_loss"],
            "validation_error": last["validation_error"],
            "trace_digest": hashlib.sha256(trace).hexdigest(), "weights_digest": weights_digest}


def learning_table(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """The learning curve as CSV; every number reads back as it was."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return table.getvalue().encode()
