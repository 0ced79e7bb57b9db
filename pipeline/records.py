"""A run as it was recorded, wherever its record is kept: in MLflow's store, or in a folder that travels.

`find()` yields a `Kept` for a run id, for the beginning of one, for `latest`, or for such a folder. `export()` writes
the folder and `bring()` puts it into a store:

    record.json       run id, stage, status, times, params, tags, metrics, curve; the SHA-256 of each file below
    environment.json  parameters.json  code.tar.gz  trace.jsonl  learning.csv  code.diff  model.safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import snapshot, tracking
from pipeline.errors import UserError
from pipeline.files import sha256_of, write_json
from pipeline.paths import LEARNING, PREDICTIONS, TRACE, WEIGHTS
from pipeline.tracking import IMPORTED, Record, Tracker

FORMAT = 1
RECORD = "record.json"
# A file's name in the folder, and in the store.
FILES = {"environment.json": "environment.json", "parameters.json": "parameters.json", "code.diff": "code.diff",
         snapshot.ARCHIVE: snapshot.ARCHIVE, "trace.jsonl": TRACE.as_posix(), "learning.csv": LEARNING.as_posix(),
         "model.safetensors": WEIGHTS.as_posix(), "predictions.npz": PREDICTIONS.as_posix()}
LARGE = ("model.safetensors", "predictions.npz")  # not exported unless asked for
TEXTS = ("environment.json", "parameters.json", "code.diff")


@dataclass(frozen=True)
class Facts:
    """What record.json says of a run, besides its files."""

    run_id: str
    stage: str
    status: str
    started: int  # milliseconds since 1970
    ended: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    curve: list[dict[str, float]]  # points of one step each


@dataclass(frozen=True)
class Kept:
    """A recorded run: its facts, and `fetch(name)`, which yields one of its FILES as a local file, or None."""

    facts: Facts
    fetch: Callable[[str], Path | None]
    in_store: bool

    @property
    def name(self) -> str:
        """The beginning of its id, as people write it."""
        return self.facts.run_id[:12]

    def file(self, name: str) -> Path:
        """Raises UserError where the record has no such file."""
        found = self.fetch(name)
        if found is None:
            raise UserError(f"run {self.name} ({self.facts.stage}, {self.facts.status}): its record has no {name}; "
                            "only a training that has ended has all that a rerun needs")
        return found

    def json(self, name: str) -> Any:
        """The content of one of its JSON files; UserError if that is broken."""
        file = self.file(name)
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: broken ({error})") from None

    def trace(self) -> list[dict[str, Any]]:
        """The entries of the trace, by rising step."""
        file = self.file("trace.jsonl")
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except (ValueError, OSError) as error:
            raise UserError(f"{file}: broken ({error})") from None


def find(name: str) -> Kept:
    """The run of this id, or the one whose id begins so, or the `latest` training, or the one in this folder.

    Raises:
        UserError: there is no such run, or more than one; the folder is damaged; the store cannot be reached.
    """
    if (Path(name) / RECORD).is_file():
        return read(Path(name))
    if Path(name).is_dir():
        raise UserError(f"{name}: a folder without {RECORD}; `alexnet export` makes one")
    tracker = tracking.connected()
    if name == "latest":
        condition, none = "tags.stage = 'train' and attributes.status = 'FINISHED'", "no finished training"
    else:
        condition, none = f"attributes.run_id LIKE '{name}%'", f"no run whose id begins with {name}"
        if not name.isalnum():
            raise UserError(f"{name}: neither the id of a run nor a folder with a {RECORD}")
    runs = tracker.find(condition, limit=100)
    if name == "latest":
        runs = [run for run in runs if IMPORTED not in run.data.tags][:1]
    if not runs:
        raise UserError(f"{none} in {tracking.without_password(tracking.tracking_uri())}; `make ui` shows the runs")
    if len(runs) > 1:
        raise UserError(f"{name}: {len(runs)} runs begin so, {', '.join(run.info.run_id for run in runs[:3])}; "
                        "give more of the id")
    return _from_store(tracker, runs[0])


def export(kept: Kept, folder: Path, weights: bool = False) -> Path:
    """Write the record into a new folder, which appears when it is whole. Returns the folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; name a new folder")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        for name in FILES:
            if (name not in LARGE or weights) and (file := kept.fetch(name)):
                shutil.copyfile(file, part / name)
        write(part, kept.facts)
        if folder.exists():
            folder.rmdir()
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def write(folder: Path, facts: Facts) -> None:
    """Write record.json beside the files that it names with their digests."""
    files = {name: sha256_of(folder / name) for name in FILES if (folder / name).exists()}
    told = {"format": FORMAT, **asdict(facts), "files": files}
    write_json(folder / RECORD, told | {"digest": _digest(told)})


def read(folder: Path) -> Kept:
    """A record that travelled, every file of it checked.

    Raises:
        UserError: a file is missing or is not the one that was written; it is named.
    """
    file = folder / RECORD
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        digest, files = told.pop("digest"), told["files"]
        if told["format"] != FORMAT:
            raise UserError(f"{file}: format {told['format']}, but this program reads format {FORMAT}")
        if _digest(told) != digest:
            raise UserError(f"{file}: changed since it was written: its contents have not the digest it names")
        facts = Facts(**{name: told[name] for name in Facts.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not the record of a run ({type(error).__name__}: {error})") from None
    for name, written in files.items():
        if name not in FILES:
            raise UserError(f"{file}: names a file {name}, which no record has")
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise UserError(f"{folder / name}: missing from the record ({error.strerror})") from None
        if found != written:
            raise UserError(f"{folder / name}: changed since it was written: {RECORD} names the SHA-256 {written}, "
                            f"and it has {found}")
    return Kept(facts, lambda name: folder / name if name in files else None, in_store=False)


def bring(folder: Path) -> tuple[str, bool]:
    """Put a record that travelled into the store. Returns the run's id here, and whether it is new.

    A record that is here already, as the run itself or from an earlier import, is found and left as it is.
    """
    kept = read(folder)
    facts = kept.facts
    tracker = tracking.connected()
    digest = sha256_of(folder / RECORD)
    here = [*tracker.find(f"attributes.run_id = '{facts.run_id}'"), *tracker.find(f"tags.imported_record = '{digest}'")]
    whole = [run for run in here if run.info.status == facts.status]
    if whole:
        return whole[0].info.run_id, False
    tags = facts.tags | {IMPORTED: facts.run_id, "imported_record": digest, "record": digest}
    record = Record(facts.stage, facts.started, facts.params, tags,
                    {name: kept.file(name).read_text(encoding="utf-8") for name in TEXTS if kept.fetch(name)},
                    facts.metrics, facts.curve, status=facts.status, ended=facts.ended)
    for name in FILES:
        if name not in TEXTS and kept.fetch(name):
            record.artifact(kept.file(name), FILES[name])
    tracker.record = record
    if not tracker.send():
        raise UserError(f"{folder}: not imported, for the reason above")
    assert record.run_id
    return record.run_id, True


def link(kept: Kept, tags: dict[str, str]) -> None:
    """Set tags on a run of the store; no more than a warning when that cannot be done."""
    tracker = Tracker(Record("link", 0, {}, {}, {}, run_id=kept.facts.run_id))
    tracker.attempt(tracker.open, lambda: tracker.log(tags))


def _from_store(tracker: Tracker, run: Any) -> Kept:
    run_id = run.info.run_id
    curve: dict[int, dict[str, float]] = {}
    metrics = {}
    for name in run.data.metrics:
        for point in tracker.client.get_metric_history(run_id, name):
            if point.step:
                curve.setdefault(point.step, {"step": point.step})[name] = point.value
            else:
                metrics[name] = point.value
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    facts = Facts(run_id, tags.get("stage", run.info.run_name), run.info.status, run.info.start_time,
                  run.info.end_time or 0, dict(run.data.params), tags, metrics, [curve[step] for step in sorted(curve)])
    return Kept(facts, lambda name: _downloaded(tracker.client, run_id, FILES[name]), in_store=True)


def _downloaded(client: Any, run_id: str, artifact: str) -> Path | None:
    folder, _, _ = artifact.rpartition("/")
    if artifact not in [found.path for found in client.list_artifacts(run_id, folder or None)]:
        return None
    return Path(client.download_artifacts(run_id, artifact))


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
