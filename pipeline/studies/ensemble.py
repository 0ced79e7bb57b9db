"""Several runs as one classifier: their softmax outputs averaged, as the paper's five and seven
nets (P §6, Table 2).

`alexnet ensemble RUN RUN ...` where a RUN is the id of an evaluated run in MLflow, the beginning of
one, or a file `predictions.npz` as `alexnet evaluate` leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import arrays_in
from pipeline.records import kept_runs
from pipeline.system.errors import UserError

SETS = {"centre": "", "ten_crop": "_10crop"}  # in the file, and at the end of the metrics' names


def ensemble(runs: list[str]) -> dict[str, Any]:
    """Errors of the average, and of each member: {"members": [{"run", "top1_error", ...}],
    "top1_error", ...}.

    Raises:
        UserError: fewer than two runs, one that cannot be found or was not evaluated, or runs of
            other images.
    """
    if len(runs) < 2:
        raise UserError("an ensemble needs two runs or more")
    found = [_predictions(run) for run in runs]
    for run, one in zip(runs[1:], found[1:], strict=True):
        if (any(one[name].shape != found[0][name].shape for name in SETS)
                or (one["labels"] != found[0]["labels"]).any()):
            raise UserError(f"{run}: its predictions are for other images or classes than those of "
                            f"{runs[0]}")
    labels = found[0]["labels"]
    average = {name: np.mean([one[name] for one in found], axis=0, dtype=np.float64)
               for name in SETS}
    return {"members": [{"run": run} | errors_of(one, labels)
                        for run, one in zip(runs, found, strict=True)],
            **errors_of(average, labels)}


def errors_of(probabilities: dict[str, Any], labels: NDArray[np.int64]) -> dict[str, float]:
    """{"top1_error", "top5_error", "top1_error_10crop", "top5_error_10crop"} of what `evaluate`
    left."""
    import torch

    from alexnet.testing import errors

    return {f"top{top}_error{suffix}": errors(torch.from_numpy(probabilities[name]),
                                              torch.from_numpy(labels), top)
            for name, suffix in SETS.items() for top in (1, 5)}


def _predictions(run: str) -> dict[str, NDArray[Any]]:
    file = Path(run) if run.endswith(".npz") else kept_runs.find(run).file("predictions.npz")
    found = arrays_in(file, "make it with `alexnet evaluate`")
    wanted = {**dict.fromkeys(SETS, ("float32", 2)), "labels": ("int64", 1)}
    if any(name not in found or (str(found[name].dtype), found[name].ndim) != wanted[name]
           for name in wanted) or any(len(found[name]) != len(found["labels"]) for name in SETS):
        raise UserError(f"{file}: not the predictions of a run, which are {', '.join(SETS)} and "
                        "labels")
    return found
