"""The folder in which a training works: its name, and what is published from it at the end.

It lies under work/checkpoints and is named by everything that decides the bits of the run, so that
a run that was killed is found again by the same parameters, data and code.
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

import torch

from alexnet.digest import digest_of
from pipeline.config.identity import start_digest
from pipeline.config.parameters import Parameters
from pipeline.config.paths import CHECKPOINTS, KEPT, LEARNING, MEAN, PCA, STORE, TRACE, WEIGHTS
from pipeline.config.stages import code_digest
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, copy_file
from pipeline.system.journal import read_finished
from pipeline.system.project import CODE, home_folder
from pipeline.training.checkpoints import KEPT_FOLDER
from pipeline.training.loading import read_weights

FINISHED = "model.safetensors"  # where a folder has it, nothing is left to train


def run_folder(parameters: Parameters) -> Path:
    """Return the folder of the run with these parameters, whose execution is resolved.

    It is made by whoever locks it: a training that is refused leaves none.

    Raises:
        UserError: the data are not there.
    """
    # not in DVC's temporary copy: that of a killed experiment is never found again
    return home_folder() / CHECKPOINTS / _key(parameters)


def _key(parameters: Parameters) -> str:
    """Return a digest of all that decides the bits: code, data, parameters and, in native
    arithmetic, of PyTorch and `execution` what may."""
    inputs = [_file_digest(path, stage) for path, stage in
              ((STORE / "store.json", "resize"), (MEAN, "mean"), (PCA, "pca"))]
    deciding = [code_digest("train", CODE), inputs, start_digest(parameters),
                *([] if parameters.train.arithmetic == "portable" else _native(parameters)),
                *(section.model_dump()
                  for section in (parameters.network, parameters.recipe, parameters.train))]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


def _native(parameters: Parameters) -> list[Any]:
    """Return what decides the bits of PyTorch's own kernels besides."""
    execution = parameters.execution
    return [torch.__version__, execution.device, execution.threads, execution.deterministic]


def _file_digest(path: Path, stage: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it with `alexnet {stage}` or "
                        f"`dvc repro {stage}`") from None


def publish(folder: Path) -> dict[str, Any]:
    """Copy weights, trace and learning curve of a finished run to their places in the project,
    and link the checkpoints that it kept.

    Returns:
        steps, training_loss, validation_loss, validation_error, trace_digest, weights_digest.

    Raises:
        UserError: a file of the folder is not what the training wrote.
    """
    finished = folder / FINISHED
    retry = "remove it, and the same command goes on from a checkpoint"
    weights_digest = digest_of(read_weights(finished, retry))
    try:
        curve, trace = read_finished(folder, "learning.jsonl", "trace.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: what the training has written there is damaged ({error}); "
                        f"remove {finished}, and the same command goes on from a "
                        "checkpoint") from None
    points = [json.loads(line) for line in curve.decode().splitlines()]
    for target, content in ((LEARNING, learning_table(points)), (TRACE, trace),
                            (WEIGHTS, finished.read_bytes())):
        with atomic_write(target) as stream:
            stream.write(content)
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    for file in (folder / KEPT_FOLDER).glob("*"):
        try:
            os.link(file, KEPT / file.name)
        except OSError:  # another disk, or one without links
            copy_file(file, KEPT / file.name)
    last = points[-1]
    return {"steps": last["step"], "training_loss": last["training_loss"],
            "validation_loss": last["validation_loss"],
            "validation_error": last["validation_error"],
            "trace_digest": hashlib.sha256(trace).hexdigest(), "weights_digest": weights_digest}


def learning_table(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the learning curve as CSV; every number reads back as it was."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(points[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    return table.getvalue().encode()
