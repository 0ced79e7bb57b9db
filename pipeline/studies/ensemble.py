"""Combines several runs to one classifier: their softmax outputs are averaged, as the paper's five
and seven nets (P §6, Table 2).

`alexnet ensemble RUN RUN ...` where a RUN is the id of an evaluated run in MLflow, the beginning of
one, or a file `predictions.safetensors` as `alexnet evaluate` leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.arithmetic.operators import error_rate
from pipeline.config.crops import suffix
from pipeline.config.paths import PREDICTIONS
from pipeline.data.predictions import Predictions
from pipeline.records import kept_runs
from pipeline.system.errors import UserError

SETS = ("centre", "ten_crop")  # in the file


def ensemble(runs: list[str]) -> dict[str, Any]:
    """Return the errors of the average, and of each member: {"members": [{"run", "top1_error",
    ...}], "top1_error", ...}, fractions of the validation images.

    Raises:
        UserError: fewer than two runs, one that cannot be found or was not evaluated, or runs of
            other images.
    """
    if len(runs) < 2:
        raise UserError("an ensemble needs two runs or more")
    first = predictions_of(runs[0])
    members = [first, *(same_images(predictions_of(run), first, run, runs[0])
                        for run in runs[1:])]
    sets = [{name: getattr(member, name) for name in SETS} for member in members]
    averages = {name: average([arrays[name] for arrays in sets]) for name in SETS}
    end = suffix(len(first.each_crop))
    return {"members": [{"run": run} | errors_of(arrays, first.labels, end)
                        for run, arrays in zip(runs, sets, strict=True)],
            **errors_of(averages, first.labels, end)}


def average(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of probabilities, float32 [images, classes], over the nets in their order.

    As docs/arithmetic.md, section 5, has it, whatever the arithmetic of the nets.
    """
    total = np.zeros(members[0].shape, np.float64)
    for probabilities in members:
        total += probabilities
    return (total / len(members)).astype(np.float32)


def errors_of(probabilities: Mapping[str, Any], labels: NDArray[np.int64],
              end: str) -> dict[str, float]:
    """Return {"top1_error", "top5_error", "top1_error_10crop", "top5_error_10crop"} of what
    `evaluate` left; `end` is that of the last two names."""
    return {f"top{top}_error{ending}": error_rate(probabilities[name], labels, top)
            for name, ending in zip(SETS, ("", end), strict=True) for top in (1, 5)}


def same_images(other: Predictions, first: Predictions, run: str, first_run: str) -> Predictions:
    """Return the predictions of `run` in the order of the images of `first_run`.

    Raises:
        UserError: they are for other images or classes, or the images have other labels.
    """
    try:
        other = other.of(first.names)
    except UserError as error:
        raise UserError(f"{run}: its predictions are for other images than those of {first_run}: "
                        f"{error}") from None
    if other.ten_crop.shape != first.ten_crop.shape or (other.labels != first.labels).any():
        raise UserError(f"{run}: its predictions are for other classes than those of {first_run}")
    return other


def predictions_of(run: str) -> Predictions:
    """Return the predictions of a run, or those in a file.

    Raises:
        UserError: there is no such run or file, or it is damaged.
    """
    file = (Path(run) if run.endswith(PREDICTIONS.suffix)
            else kept_runs.find(run).file(PREDICTIONS.name))
    return Predictions.load(file, "make it with `alexnet evaluate`")
