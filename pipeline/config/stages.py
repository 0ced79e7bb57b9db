"""The table of stages: one row for each, in the order in which the data flow.

A stage has one name everywhere: here, in `dvc.yaml`, as its command, as its module in
`pipeline.stages`, as the file of its metrics. `dvc.yaml` repeats `code` and `sections`, since DVC
reads no Python; a test holds the two equal. The key of a training's folder is made from `code`,
too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: of the stage.
        code: the packages and rooms, relative to the project, that decide what it makes. A change
            in one of them makes the stage stale; of rooms that it imports besides, LEFT_OUT says
            why they cannot reach a bit.
        sections: of params.yaml, or single keys of one, on which it depends.
        inputs: the preparation stages whose digests its record names.
    """

    name: str
    code: tuple[str, ...]
    sections: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def code_dependencies(self) -> tuple[str, ...]:
        """Its code as `dvc.yaml` lists it: the rooms, and its own module."""
        return (*self.code, f"pipeline/stages/{self.name}.py")


ALEXNET, DATA, TRAINING = "alexnet", "pipeline/data", "pipeline/training"
DESCRIBING = tuple(f"pipeline/{room}" for room in ("config", "records", "studies", "report"))

STAGES = (
    Stage("download", (DATA,), ("dataset",)),
    Stage("resize", (DATA,), ("dataset", "resize", "store"), ("download",)),
    Stage("mean", (DATA,), (), ("resize",)),
    Stage("pca", (DATA,), (), ("resize",)),
    Stage("train", (ALEXNET, DATA, TRAINING), ("network", "recipe", "train"),
          ("download", "resize", "mean", "pca")),
    Stage("evaluate", (ALEXNET, DATA, TRAINING), ("network", "recipe", "train.precision")),
    Stage("report", (ALEXNET, DATA, TRAINING, *DESCRIBING),
          ("dataset", "resize", "store", "network", "recipe", "train")),
)
NAMES = tuple(stage.name for stage in STAGES)
BY_NAME = {stage.name: stage for stage in STAGES}

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
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)
