"""What the report is made of: everything the other stages left, read and checked to belong together.

`gather(parameters)` yields `Inputs`. A page that shows the weights of one run beside the errors of another would be
worse than none, so digests are compared before anything is drawn.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.describe import described
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.parameters import Parameters
from pipeline.paths import LEARNING, MEAN, PCA, PREDICTIONS, STORE, WEIGHTS, metrics_of
from pipeline.store import QUARANTINE, Store

STAGES = ("resize", "mean", "pca", "train", "evaluate")
CURVE = ("step", "epoch", "training_loss", "validation_loss", "validation_error")


@dataclass(frozen=True)
class Inputs:
    """What the stages left.

    Attributes:
        metrics: of each stage in STAGES, as in metrics/<stage>.json.
        curve: float64 [points] under each name in CURVE.
        kernels: float32 [k, 3, 11, 11], RGB: the first layer's, column after column.
        mean: float32 [side, side, 3], RGB, 0..255.
        colours: data/pca.json.
        quarantined: the rows of quarantine.json.
        probabilities: float32 [validation images, classes]: the averages of ten crops.
        network: the layer table, as `alexnet describe --json` has it.
    """

    parameters: Parameters
    metrics: dict[str, dict[str, Any]]
    curve: dict[str, NDArray[np.float64]]
    kernels: NDArray[np.float32]
    mean: NDArray[np.float32]
    colours: dict[str, Any]
    store: Store
    quarantined: list[dict[str, str]]
    probabilities: NDArray[np.float32]
    network: dict[str, Any]

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [validation images]."""
        return self.store.split("val").labels


def gather(parameters: Parameters) -> Inputs:
    """Read everything.

    Raises:
        UserError: a file is missing or damaged, or two are of different runs; names the file and the stage to run.
    """
    metrics = {stage: read_json(metrics_of(stage), stage) for stage in STAGES}
    store = Store(STORE)
    network = described(parameters, len(store.classes))
    weights_digest, kernels = _first_layer()
    inputs = Inputs(parameters, metrics, _curve(), kernels, _mean(store.side), read_json(PCA, "pca"), store,
                    read_json(STORE / QUARANTINE, "resize"), _probabilities(store), network)
    first = network["layers"][0]
    if kernels.shape != (expected := (first["columns"] * first["outputs_per_column"], *first["weight_per_column"][1:])):
        raise UserError(f"{WEIGHTS}: conv1 of shape {list(kernels.shape)}, but params.yaml describes "
                        f"{list(expected)}; run `alexnet train`")
    for what, digest, stage in ((WEIGHTS, weights_digest, "train"),
                                (metrics_of("evaluate"), metrics["evaluate"]["weights_digest"], "evaluate")):
        if digest != metrics["train"]["weights_digest"]:
            raise UserError(f"{what}: of other weights than {metrics_of('train')}; run `alexnet {stage}`")
    if store.pixels_digest != metrics["resize"]["pixels_digest"]:
        raise UserError(f"{metrics_of('resize')}: of another store than {STORE}; run `alexnet resize`")
    return inputs


def _missing(file: Path, stage: str) -> UserError:
    return UserError(f"{file}: no such file; make it with `alexnet {stage}` or `dvc repro {stage}`")


def _damaged(file: Path, stage: str, why: object) -> UserError:
    return UserError(f"{file}: damaged ({why}); make it again with `alexnet {stage}`")


def _first_layer() -> tuple[str, NDArray[np.float32]]:
    """The digest of all weights, and conv1's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(WEIGHTS, framework="np") as opened:
            return opened.metadata()["digest"], opened.get_tensor("conv1.weight")
    except FileNotFoundError:
        raise _missing(WEIGHTS, "train") from None
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise _damaged(WEIGHTS, "train", error) from None


def _curve() -> dict[str, NDArray[np.float64]]:
    try:
        with LEARNING.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        curve = {name: np.array([float(row[name]) for row in rows]) for name in CURVE}
    except FileNotFoundError:
        raise _missing(LEARNING, "train") from None
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise _damaged(LEARNING, "train", error) from None
    if not rows:
        raise _damaged(LEARNING, "train", "no row")
    return curve


def _mean(side: int) -> NDArray[np.float32]:
    try:
        mean: NDArray[np.float32] = np.load(MEAN, allow_pickle=False)
    except FileNotFoundError:
        raise _missing(MEAN, "mean") from None
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(MEAN, "mean", error) from None
    if mean.shape != (side, side, 3):
        raise _damaged(MEAN, "mean", f"{list(mean.shape)} where {[side, side, 3]} belongs")
    return mean


def _probabilities(store: Store) -> NDArray[np.float32]:
    try:
        with np.load(PREDICTIONS, allow_pickle=False) as opened:
            probabilities: NDArray[np.float32] = opened["ten_crop"]
            labels = opened["labels"]
    except FileNotFoundError:
        raise _missing(PREDICTIONS, "evaluate") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(PREDICTIONS, "evaluate", error) from None
    expected = store.split("val").labels
    if not np.array_equal(labels, expected) or probabilities.shape != (len(expected), len(store.classes)):
        raise UserError(f"{PREDICTIONS}: of other validation images than those in {STORE}; run `alexnet evaluate`")
    return probabilities
