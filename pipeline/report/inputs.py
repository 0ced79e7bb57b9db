"""What the report is made of: everything the other stages left, read and checked to belong
together.

`gather(parameters)` yields `Inputs`. A page that shows the weights of one run beside the errors of
another would be worse than none, so digests are compared before anything is drawn.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from alexnet.digest import digest_of
from pipeline.config.describe import description
from pipeline.config.parameters import Parameters
from pipeline.config.paths import (
    FILES_LEFT_OUT,
    LEARNING,
    MATRIX,
    PREDICTIONS,
    PROVENANCE,
    STORE,
    VERIFIED,
    WEIGHTS,
    metrics_of,
)
from pipeline.config.stages import MEASURED
from pipeline.data.predictions import Predictions
from pipeline.data.sources.left_out import Account, read_account
from pipeline.data.statistics import load_mean, load_pca
from pipeline.data.store import QUARANTINE, SPLITS, Store, check_made_with, doubtful_images
from pipeline.report.evidence import Evidence, evidence
from pipeline.report.training import Training, recorded
from pipeline.studies.matrix.running import Cell
from pipeline.system.errors import UserError
from pipeline.system.files import read_json

BROKEN_WEIGHTS = (SafetensorError, OSError, KeyError, TypeError, ValueError)
BROKEN_CURVE = (KeyError, ValueError, TypeError, csv.Error)
PROVENANCE_KEYS = ("weights_digest", "configuration_digest", "code_digest", "git_dirty",
                   "environment_digest", "data", "environment", "execution")
CURVE = ("step", "epoch", "training_loss", "training_error", "validation_loss", "validation_error")
Curve = dict[str, NDArray[np.float64]]  # [points] under each name in CURVE


@dataclass(frozen=True)
class Matrix:
    """What `alexnet matrix` last found, on which stack."""

    rows: list[Cell]
    stack: dict[str, str]
    workload: list[str]


@dataclass(frozen=True)
class Verification:
    """What `alexnet verify` last found: when, by which command, of which commit and weights, and
    the verdict of each stage."""

    when: str
    command: str
    commit: str
    weights_digest: str | None
    verdicts: dict[str, str]


@dataclass(frozen=True)
class Inputs:
    """What the stages left.

    Attributes:
        metrics: of each stage in MEASURED, as in metrics/<stage>.json.
        curve: float64 [points] under each name in CURVE.
        kernels: float32 [k, 3, 11, 11], RGB: the first layer's, column after column.
        mean: float32 [side, side, 3], RGB, 0..255.
        colours: data/pca.json.
        quarantined: the rows of quarantine.json.
        doubtful: the rows of doubtful.json.
        account: of the data set's files that are not taken; None where that of this store is not
            there.
        predictions: of the store's validation images, in stored order.
        network: the layer table, as `alexnet describe --json` has it.
        provenance: what made the weights; None beside those of an older version.
        matrix: None where there is none.
        verification: None where there was none yet.
        evidence: the ledger of the paper's claims, and the sets of runs that are kept.
        training: when and by how many processes it was trained; None where no record says so.
    """

    parameters: Parameters
    metrics: dict[str, dict[str, Any]]
    curve: Curve
    kernels: NDArray[np.float32]
    mean: NDArray[np.float32]
    colours: dict[str, Any]
    store: Store
    quarantined: list[dict[str, str]]
    doubtful: list[dict[str, str]]
    account: Account | None
    predictions: Predictions
    network: dict[str, Any]
    provenance: dict[str, Any] | None
    matrix: Matrix | None
    verification: Verification | None
    evidence: Evidence
    training: Training | None

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The averages of ten crops, float32 [validation images, classes]."""
        return self.predictions.ten_crop

    @property
    def labels(self) -> NDArray[np.int64]:
        """The right classes, int64 [validation images]."""
        return self.store.split("val").labels


def gather(parameters: Parameters) -> Inputs:
    """Read everything, and check that it belongs together.

    Raises:
        UserError: a file is missing or damaged, or two are of different runs; names the file and
            the stage to run.
    """
    metrics = {stage: read_json(metrics_of(stage), stage) for stage in MEASURED}
    check_made_with(parameters)
    store = Store(STORE)
    network = description(parameters, len(store.classes))
    weights_digest, kernels = _first_layer()
    provenance = _provenance()
    quarantined = read_json(STORE / QUARANTINE, "resize")
    training = (recorded(weights_digest, provenance["environment_digest"]) if provenance else None)
    inputs = Inputs(parameters, metrics, _curve(), kernels, load_mean(), load_pca(), store,
                    quarantined, doubtful_images(STORE), _account(store, quarantined),
                    _predictions(store), network, provenance, _matrix(), _verification(),
                    evidence(), training)
    first = network["layers"][0]
    if kernels.shape != (expected := (first["columns"] * first["outputs_per_column"],
                                      *first["weight_per_column"][1:])):
        raise UserError(f"{WEIGHTS}: conv1 of shape {list(kernels.shape)}, but params.yaml "
                        f"describes {list(expected)}; run `alexnet train`")
    for what, digest, stage in ((WEIGHTS, weights_digest, "train"),
                                (metrics_of("evaluate"), metrics["evaluate"]["weights_digest"],
                                 "evaluate")):
        if digest != metrics["train"]["weights_digest"]:
            raise UserError(f"{what}: of other weights than {metrics_of('train')}; run "
                            f"`alexnet {stage}`")
    if inputs.provenance and inputs.provenance["weights_digest"] != weights_digest:
        raise UserError(f"{PROVENANCE}: of other weights than {WEIGHTS}; run "
                        "`alexnet train`")
    if store.pixels_digest != metrics["resize"]["pixels_digest"]:
        raise UserError(f"{metrics_of('resize')}: of another store than {STORE}; run "
                        "`alexnet resize`")
    return inputs


def _account(store: Store, quarantined: list[dict[str, str]]) -> Account | None:
    """Return the account of the data set that the store was made of: it has as many pictures."""
    if not FILES_LEFT_OUT.exists():
        return None
    account = read_account()
    tried = Counter(picture["split"] for picture in quarantined)
    tried.update({split: len(store.split(split)) for split in SPLITS})
    return account if account.taken == {split: tried[split] for split in SPLITS} else None


def _missing(file: Path, stage: str) -> UserError:
    return UserError(f"{file}: no such file; make it with `alexnet {stage}` or `dvc repro {stage}`")


def _damaged(file: Path, stage: str, why: object) -> UserError:
    return UserError(f"{file}: damaged ({why}); make it again with `alexnet {stage}`")


def _first_layer() -> tuple[str, NDArray[np.float32]]:
    """Return the digest of all weights, and conv1's weights."""
    try:
        return first_layer(WEIGHTS)
    except FileNotFoundError:
        raise _missing(WEIGHTS, "train") from None
    except BROKEN_WEIGHTS as error:
        raise _damaged(WEIGHTS, "train", error) from None


def first_layer(file: Path) -> tuple[str, NDArray[np.float32]]:
    """Return the digest of all weights in the file, which is checked, and conv1's weights.

    Raises:
        OSError, or one of BROKEN_WEIGHTS: it cannot be read, or its weights are not those that it
            names.
    """
    with safe_open(file, framework="pt") as opened:
        named = opened.metadata()["digest"]
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if digest_of(weights) != named:
        raise ValueError("its tensors do not have the digest it names")
    kernels: NDArray[np.float32] = weights["conv1.weight"].numpy()
    return named, kernels


def _curve() -> Curve:
    try:
        return curve_in(LEARNING)
    except FileNotFoundError:
        raise _missing(LEARNING, "train") from None
    except BROKEN_CURVE as error:
        raise _damaged(LEARNING, "train", error) from None


def curve_in(file: Path) -> Curve:
    """Read a learning curve; raise OSError or one of BROKEN_CURVE where it cannot be read."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError("no row")
    return {name: np.array([float(row[name]) for row in rows]) for name in CURVE}


def _predictions(store: Store) -> Predictions:
    """The predictions, in the order of the store's validation images, by their names."""
    predictions = Predictions.load(PREDICTIONS,
                                   "make it with `alexnet evaluate` or `dvc repro evaluate`")
    split = store.split("val")
    try:
        predictions = predictions.of(split.names())
    except UserError as error:
        raise UserError(f"{PREDICTIONS}: {error}; run `alexnet evaluate`") from None
    if (not np.array_equal(predictions.labels, split.labels)
            or predictions.ten_crop.shape[1] != len(store.classes)):
        raise UserError(f"{PREDICTIONS}: of other validation images than those in {STORE}; run "
                        "`alexnet evaluate`")
    return predictions


def _provenance() -> dict[str, Any] | None:
    if not PROVENANCE.exists():
        return None
    provenance: dict[str, Any] = read_json(PROVENANCE, "train")
    if missing := [name for name in PROVENANCE_KEYS if name not in provenance]:
        raise _damaged(PROVENANCE, "train", f"no {missing[0]}")
    return provenance


def _verification() -> Verification | None:
    if not VERIFIED.exists():
        return None
    content = read_json(VERIFIED, "verify")
    try:
        return Verification(content["when"], content["command"], content["commit"],
                            content["weights_digest"],
                            {row["stage"]: row["verdict"] for row in content["stages"]})
    except (KeyError, TypeError) as error:
        raise _damaged(VERIFIED, "verify", error) from None


def _matrix() -> Matrix | None:
    if not MATRIX.exists():
        return None
    content = read_json(MATRIX, "matrix")
    try:
        return Matrix([Cell(**row) for row in content["rows"]], content["stack"],
                      content["workload"])
    except (KeyError, TypeError) as error:
        raise _damaged(MATRIX, "matrix", error) from None
