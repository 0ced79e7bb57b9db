"""What is known of one execution of a stage: its record.

`begin_record()` describes the execution before it starts: parameters, code, machine, and digests of
the data that go in. Where the record goes is not its concern: pipeline.records.recording.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import stages
from pipeline.config.identity import flat_parameters
from pipeline.config.parameters import Parameters
from pipeline.config.paths import LISTING, MEAN, PCA, STORE, WORK, metrics_of
from pipeline.records import code_archive, environment, mlflow_names
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, read_json, sha256_of
from pipeline.system.project import INTERFACE, home_folder

IMPORTED = "imported_from"  # the tag of a run that was made elsewhere: its run id there
SHOWN = ("torch", "pillow", "cpu", "gpu")  # of the environment, tags that are searched by


@dataclass
class Record:
    """What is known of one execution of a stage.

    Attributes:
        started, ended: milliseconds since 1970, as MLflow counts; ended is 0 while it runs.
        params: `section.key` to value as JSON writes it.
        tags: facts that are not numbers.
        texts: the contents of small files, by name.
        metrics: the stage's numbers, by the names of metrics/<stage>.json.
        curve: points {"step": ..., "time": ..., name: value, ...}.
        sent: how many points of the curve MLflow has.
        artifacts: {"name": in the store, "path", "sha256"} of each file.
        weights_digest: of the training that this stage belongs to.
    """

    stage: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    texts: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    sent: int = 0
    artifacts: list[dict[str, str]] = field(default_factory=list)
    weights_digest: str | None = None
    run_id: str | None = None
    status: str = "RUNNING"
    ended: int = 0

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Add the stage's metrics: numbers as metrics, anything else as a tag; what is a parameter
        already is left out."""
        for name, value in metrics.items():
            if f"{self.stage}.{name}" in self.params:
                continue
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.metrics[name] = float(value)
            elif value is not None:
                self.tags[name] = str(value)
        self.weights_digest = metrics.get("weights_digest", self.weights_digest)

    def log_curve(self, points: Iterable[Mapping[str, float]]) -> None:
        """Add points of a learning curve, each with its `step` and named values; each value
        once."""
        known = {(point["step"], name) for point in self.curve for name in point}
        for point in points:
            new = {name: value
                   for name, value in point.items() if (point["step"], name) not in known}
            if new:
                self.curve.append({"step": point["step"], **new, "time": now()})

    def add_artifact(self, path: Path, name: str | None = None) -> None:
        """Add a file, to be sent when the stage has ended; its name is its path unless given."""
        self.artifacts.append({"name": name or path.as_posix(), "path": path.as_posix(),
                               "sha256": sha256_of(path)})

    def size(self) -> int:
        """Return how many bytes its files have, as far as they are there."""
        paths = [Path(artifact["path"]) for artifact in self.artifacts]
        return sum(path.stat().st_size for path in paths if path.exists())


def begin_record(stage: str, parameters: Parameters) -> Record:
    """Return the record of an execution that starts now."""
    row = stages.stage_of(stage)
    fingerprint = environment.fingerprint(with_torch=row.with_torch)
    git = environment.git_state()
    tags = {"stage": stage, "interface": INTERFACE,
            "code_digest": environment.code_digest(),
            **git.tags(), **environment_tags(fingerprint), **process_tags()}
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = os.environ["DVC_EXP_NAME"]
    texts = {"environment.json": json.dumps(fingerprint, indent=2),
             "parameters.json": parameters.model_dump_json(indent=2)}
    if git.diff:
        texts["code.diff"] = git.diff
    # from training on, a stage rests on all parameters
    sections = row.sections if row.prepares else tuple(Parameters.model_fields)
    named = flat_parameters(parameters, ("dataset", *sections))
    for source in row.recorded:
        tags |= {f"{source}.{name}": value for name, value in data_digests(source).items()}
    if "resize" in row.recorded:
        store = _store()
        tags |= {f"images.{split}": str(count) for split, count in store.get("images", {}).items()}
        # what the store is, and not what the parameters ask for: a stage refuses another store
        named |= {name: value for name, value in store.get("parameters", {}).items()
                  if name in named}
        tags["images.source"] = named["dataset.source"]
    tags["mlflow.runName"] = mlflow_names.run_name(stage, named)
    record = Record(stage, now(), flat_parameters(parameters, sections), tags, texts,
                    weights_digest=_trained_weights() if row.joins else None)
    if stage == "train":
        file = WORK / "code" / f"{tags['code_digest'][:16]}.tar.gz"
        with atomic_write(file) as stream:
            stream.write(code_archive.pack_code())
        record.add_artifact(file, code_archive.ARCHIVE)
    return record


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


def process_tags() -> dict[str, str]:
    """Return the tags that say which process makes a record, and identify the record itself."""
    return {"process.host": platform.node(), "process.folder": str(home_folder()),
            "process.id": str(os.getpid()), "record": uuid.uuid4().hex}


def environment_tags(fingerprint: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a fingerprint to search runs by; the whole is in environment.json."""
    text = json.dumps(fingerprint, indent=2)
    return {"environment_digest": hashlib.sha256(text.encode()).hexdigest(),
            "lock_digest": fingerprint["lock_digest"],
            **{f"environment.{name}": fingerprint[name] for name in SHOWN if name in fingerprint}}


def data_digests(stage: str, folder: Path = Path()) -> dict[str, str]:
    """Return the digest of what a preparation stage left, by the name that its metrics give it;
    nothing where it is not there.

    They are taken from the data that lie in `folder`, not from metrics/, which need not belong to
    them: DVC may have brought the data from its cache. Of the store's digest the stored value is
    taken; `Store.verify` proves it.
    """
    try:
        if stage == "download":
            return {"listing_digest": sha256_of(folder / LISTING)}
        if stage == "resize":
            return {"pixels_digest": str(read_json(folder / STORE / "store.json",
                                                   stage)["pixels_digest"])}
        from pipeline.data import statistics

        if stage == "mean":
            return {"mean_digest": statistics.mean_digest(statistics.read_mean(folder / MEAN))}
        return {"pca_digest": statistics.pca_digest(read_json(folder / PCA, stage))}
    except (UserError, OSError, EOFError, ValueError, KeyError, TypeError):
        return {}


def _store() -> dict[str, Any]:
    """Return the images and parameters of the store's description; nothing where it is not
    there."""
    try:
        description = read_json(STORE / "store.json", "resize")
        return {name: dict(description[name]) for name in ("images", "parameters")
                if name in description}
    except (UserError, TypeError, ValueError):
        return {}


def _trained_weights() -> str | None:
    """Return the digest of the weights that metrics/train.json names; None if it names none."""
    try:
        digest = read_json(metrics_of("train"), "train")["weights_digest"]
    except (UserError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None
