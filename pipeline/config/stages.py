"""The table of stages: one row for each, in the order in which the data flow.

A stage has one name everywhere: here, in `dvc.yaml`, as its command, as its module in
`pipeline.stages`, as the file of its metrics. `dvc.yaml` repeats `code`, `sections`, `inputs` and
`outputs`, since DVC reads no Python; a test holds the two equal. The key of a training's folder is
made from `code`, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.paths import (
    DOWNLOAD,
    EXPERIMENTS,
    FIGURES,
    FILES_LEFT_OUT,
    GOLDEN,
    LEARNING,
    MEAN,
    MEAN_PICTURE,
    PCA,
    PREDICTIONS,
    PROVENANCE,
    REPORT,
    STORE,
    TRACE,
    WEIGHTS,
)

ALEXNET, DATA, TRAINING = "alexnet", "pipeline/data", "pipeline/training"
EIGEN = "alexnet/arithmetic/eigen.py"
DESCRIBING = tuple(f"pipeline/{room}" for room in ("config", "records", "studies", "report"))


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: of the stage.
        code: the packages and rooms, relative to the project, that decide what it makes. A change
            in one of them makes the stage stale; of rooms that it imports besides, LEFT_OUT says
            why they cannot reach a bit.
        sections: of params.yaml, or single keys of one, on which it depends.
        inputs: files and folders that it reads.
        outputs: files and folders that its inputs decide to the bit, the most telling first.
        about: files besides that describe the run.
        recorded: the stages whose digests its record names.
        measured: whether its metrics are results, by which runs are compared.
        with_torch: whether PyTorch is part of what it runs on.
        joins: whether its record joins that of the training whose weights it reads.
        summary, reads, leaves, takes, more: its help.
        options: what its command has besides `--set`.
    """

    name: str
    code: tuple[str, ...]
    sections: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    about: tuple[Path, ...] = ()
    recorded: tuple[str, ...] = ()
    measured: bool = True
    with_torch: bool = False
    joins: bool = False
    summary: str = ""
    reads: str = ""
    leaves: str = ""
    takes: str = ""
    more: str = ""
    options: tuple[str, ...] = ()

    @property
    def code_dependencies(self) -> tuple[str, ...]:
        """Return its code as `dvc.yaml` lists it: the rooms, and its own module."""
        return (*self.code, f"pipeline/stages/{self.name}.py")

    @property
    def prepares(self) -> bool:
        """Return whether it comes before training."""
        return ALEXNET not in self.code


STAGES = (
    Stage("download", (DATA,), ("dataset",), outputs=(DOWNLOAD,), about=(FILES_LEFT_OUT,),
          measured=False,
          summary="Fetch or make the data set, verify it, list it.",
          reads="dataset.* of params.yaml; archives/ or the folder dataset.location; credentials "
                "from the environment",
          leaves="data/download (the listing with checksums, the index of all pictures), "
                 "data/left_out.json (files that are not taken), metrics/download.json",
          takes="seconds for the sample; for ImageNet the download, and some minutes to verify "
                "155 GB",
          options=("dry-run", "json")),
    Stage("resize", (DATA,), ("dataset", "resize", "store"), (DOWNLOAD,), (STORE,),
          recorded=("download",),
          summary="Decode, resize to 256, crop the centre: the image store.",
          reads="data/download and the pictures that it lists; dataset.*, resize.* and store.* of "
                "params.yaml",
          leaves="data/store (pixels, index, quarantine, exact sums), metrics/resize.json",
          takes="seconds for the sample; about 1.2 core-hours and 262 GB for ImageNet "
                "(extrapolated, docs/preparation.md)",
          more="The shorter side goes to 256 (resize.side), by a bicubic filter. A picture that "
               "cannot be decoded is quarantined, with its reason.",
          options=("workers", "scheduler")),
    Stage("mean", (DATA,), inputs=(STORE,), outputs=(MEAN, MEAN_PICTURE), recorded=("resize",),
          summary="The mean image of the training set.",
          reads="the sums in data/store (--verify: every pixel there)",
          leaves="data/mean.npy, data/mean.png, metrics/mean.json (--verify: nothing)",
          takes="seconds, whatever the data set; --verify about a millisecond an image",
          options=("verify",)),
    Stage("pca", (EIGEN, DATA), inputs=(STORE,), outputs=(PCA,), recorded=("resize",),
          summary="The principal components of colour of the training set.",
          reads="the sums in data/store (--verify: every pixel there)",
          leaves="data/pca.json, metrics/pca.json (--verify: nothing)",
          takes="seconds, whatever the data set; --verify about a millisecond an image",
          options=("verify",)),
    Stage("train", (ALEXNET, DATA, TRAINING), ("network", "recipe", "train"), (STORE, MEAN, PCA),
          (TRACE, LEARNING, WEIGHTS), (PROVENANCE,), ("download", "resize", "mean", "pca"),
          with_torch=True,
          summary="Train the network; a stopped run goes on.",
          reads="data/store, data/mean.npy, data/pca.json; network.*, recipe.* and train.* of "
                "params.yaml",
          leaves="models/model.safetensors, models/trace.jsonl, models/provenance.json, "
                 "plots/learning.csv, metrics/train.json; checkpoints in work/checkpoints until it "
                 "has ended",
          takes="1 to 2 minutes for the sample on two cores; days to weeks for ImageNet: "
                "docs/imagenet.md",
          more="Ctrl-C or a kill loses little: the same command goes on from the last checkpoint. "
               "Under torchrun it trains on many devices or machines (docs/machines.md).",
          options=("placement", "device", "threads", "deterministic")),
    Stage("evaluate", (ALEXNET, DATA, TRAINING),
          ("network", "recipe", "train.arithmetic", "train.precision"),
          (STORE, MEAN, WEIGHTS), (PREDICTIONS,), with_torch=True, joins=True,
          summary="Centre-crop and ten-crop errors on the validation set.",
          reads="models/model.safetensors, data/store, data/mean.npy",
          leaves="metrics/evaluate.json, models/predictions.safetensors (of each image)",
          takes="seconds for the sample; for ImageNet eleven forward passes for each of 50,000 "
                "images",
          options=("weights", "device")),
    Stage("report", (ALEXNET, DATA, TRAINING, *DESCRIBING),
          ("dataset", "resize", "store", "network", "recipe", "train"),
          (FILES_LEFT_OUT, STORE, MEAN, PCA, WEIGHTS, PROVENANCE, PREDICTIONS, LEARNING,
           EXPERIMENTS, GOLDEN),
          (REPORT, FIGURES), measured=False, joins=True,
          summary="One page of a run, beside the paper; or RUNs side by side.",
          reads="what all stages left, the claims in experiments/; with RUNs: their records",
          leaves="report/index.html, report/figures, metrics/report.json; with RUNs: "
                 "report/comparison",
          takes="about 10 seconds for the sample",
          more="Without a RUN it is the last stage of the pipeline. A RUN is the id of a recorded "
               "one, the beginning of an id, `latest`, or a folder made by `alexnet export`; up to "
               "six stand side by side.",
          options=("runs", "output")),
)
NAMES = tuple(stage.name for stage in STAGES)
BY_NAME = {stage.name: stage for stage in STAGES}
PREPARATION = tuple(stage.name for stage in STAGES if stage.prepares)
MEASURED = tuple(stage.name for stage in STAGES if stage.measured)

def stage_of(name: str) -> Stage:
    """Return the row of this stage; of another command that leaves records, one without facts."""
    return BY_NAME.get(name) or Stage(name, (ALEXNET,))


# Rooms that stages import without depending on them, and why what they do cannot reach a bit.
LEFT_OUT = {
    "alexnet": "is where pipeline/config looks up which recipes and networks there are; a stage "
               "that computes with it depends on it",
    "pipeline/system": "writes files, locks, signals and shows progress: it carries bytes that "
                       "others have made, and each store, checkpoint and curve has its digest",
    "pipeline/config": "reads params.yaml, whose values are dependencies themselves; what a value "
                       "means is decided in alexnet, data and training",
    "pipeline/records": "describes a run once it is made: environment, digests, MLflow",
    "pipeline/stages": "hands parameters on and records; each stage depends on its own module",
}


def code_digest(stage: str, root: Path) -> str:
    """Return the SHA-256 of the code that decides what a stage makes, in the project `root`.

    It covers the names and bytes of all files of the stage's rooms but compiled Python.
    """
    digest = hashlib.sha256()
    for file in _files(stage, root):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files(stage: str, root: Path) -> Iterator[Path]:
    for name in BY_NAME[stage].code_dependencies:
        place = root / name
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)
