"""A run as it was recorded, wherever its record is kept: in MLflow's store, or in a folder that
travels.

`find()` returns a `KeptRun` for a run id, for the beginning of one, for `latest`, or for such a
folder, which pipeline.records.exchange writes and puts into a store:

    record.json       run id, stage, status, times, params, tags, metrics, curve; the SHA-256 of
                      each file below
    environment.json  parameters.json  code.tar.gz  trace.jsonl  learning.csv  code.diff 
                      model.safetensors  checkpoints/step-00001000.safetensors ...
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from pipeline.config.paths import KEPT
from pipeline.records import mlflow_connection, mlflow_names, mlflow_store
from pipeline.records.mlflow_store import MlflowStore
from pipeline.records.record import IMPORTED
from pipeline.records.record_files import (
    CHECKPOINT,
    FILES,
    check_file,
    is_known,
    largest_size,
    recorded_files,
    stored_name,
)
from pipeline.system.errors import UserError, without_password
from pipeline.system.files import BROKEN_JSON, sha256_of

FORMAT = 1
RECORD = "record.json"
Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]  # MLflow's
Parsed = TypeVar("Parsed")
Moment = Annotated[int, Field(ge=0, lt=2**53)]  # milliseconds since 1970


def _mlflows_name(name: str) -> str:
    if (not re.fullmatch(r"[\w.:/ -]{1,250}", name) or posixpath.normpath(name) != name
            or name[0] in "./"):
        raise ValueError("not a name that MLflow takes")
    return name


Name = Annotated[str, AfterValidator(_mlflows_name)]


def _with_step(point: dict[str, float]) -> dict[str, float]:
    if not abs(point.get("step", float("nan"))) < 2**53 or point["step"] % 1:
        raise ValueError("a point without a step")
    return point


@dataclass(frozen=True)
class Facts:
    """What record.json says of a run, besides its files."""

    run_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]  # names a folder
    stage: str
    status: Status
    started: Moment
    ended: Moment
    params: dict[Name, str]
    tags: dict[Name, str]
    metrics: dict[Name, float]
    curve: list[Annotated[dict[Name, float], AfterValidator(_with_step)]]  # points of one step each


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Digests(BaseModel):
    """Of an entry of the trace: over all tensors, and the first digits of each, by
    "conv1.weight/0"."""

    digest: str
    tensors: dict[Annotated[str, Field(pattern=r"^[^/]+/\d{1,4}$")], str]


class Entry(BaseModel):
    """An entry of the trace; `images`, `losses` and `previous` are not in those of older records,
    which have no chain."""

    step: Annotated[int, Field(ge=0, lt=2**53)]
    loss: str | None
    images: Digest | None = None
    losses: Digest | None = None
    previous: Digest | None = None
    weights: Digests
    momentum: Digests
    gradients: Digests


# A record may come from anybody: nothing is taken for what it only resembles.
FACTS, TRACED = TypeAdapter(Facts), TypeAdapter(list[Entry])
# Of the environment: some of it becomes variables of processes.
TEXT = TypeAdapter(dict[Name, Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]])


@dataclass(frozen=True)
class KeptRun:
    """A recorded run.

    Attributes:
        facts: what its record says, besides files.
        locate: returns the local path of one of its FILES; None where the record has no such file.
        in_store: whether it is a run of MLflow's store, not a folder.
        names: returns the names of its kept checkpoints.
    """

    facts: Facts
    locate: Callable[[str], Path | None]
    in_store: bool
    names: Callable[[], list[str]] = list

    @property
    def name(self) -> str:
        """Return the beginning of its id, as people write it."""
        return self.facts.run_id[:12]

    def fetch(self, name: str) -> Path | None:
        """Return one of its FILES, held against its recorded digest; None if the record has none.

        Raises:
            UserError: the file is not the recorded one, or cannot be read.
        """
        file = self.locate(name)
        if file:
            check_file(self.name, self.facts.tags, name, file)
        elif name in recorded_files(self.facts.tags) and self.in_store:
            raise UserError(f"run {self.name}: its file {stored_name(name)} is missing from the "
                            "store, though its record names it; put it back, or use another run")
        return file

    def file(self, name: str) -> Path:
        """Return one of its FILES, as `fetch`.

        Raises:
            UserError: as `fetch`, and where the record has no such file.
        """
        file = self.fetch(name)
        if file is None:
            raise UserError(f"run {self.name} ({self.facts.stage}, {self.facts.status}): its "
                            f"record names no {name}; trainings leave one when they have ended")
        return file

    def kept_steps(self) -> list[int]:
        """Return the steps of which it has a checkpoint, rising; `file(checkpoint_name(step))` is
        one of them."""
        return sorted(int(match[1]) for match in map(CHECKPOINT.fullmatch, self.names()) if match)

    def check_files(self) -> None:
        """Hold every file that the record has against its digest.

        Raises:
            UserError: one is not the recorded one, or cannot be read; it is named.
        """
        for name in FILES:
            self.fetch(name)

    @property
    def foreign(self) -> bool:
        """Return whether somebody else may have made it: it lies in a folder, or was imported."""
        return not self.in_store or IMPORTED in self.facts.tags

    def tag(self, name: str) -> str:
        """Return one of its tags; raise UserError where the record has no such tag."""
        if name not in self.facts.tags:
            raise UserError(f"run {self.name} ({self.facts.stage}, {self.facts.status}): its "
                            f"record has no tag {name}; only a training that `alexnet train` has "
                            "recorded can be used so")
        return self.facts.tags[name]

    def text(self, name: str) -> str:
        """Return the content of one of its text files; raise UserError if it is none."""
        return self._parsed(name, str)

    def json(self, name: str) -> Any:
        """Return the content of one of its JSON files; raise UserError if that is broken."""
        return self._parsed(name, json.loads)

    def environment(self) -> dict[str, str]:
        """Return the fingerprint of what it ran on."""
        return self._parsed("environment.json", lambda text: TEXT.validate_json(text, strict=True))

    def trace(self) -> list[dict[str, Any]]:
        """Return the entries of the trace, by rising step."""
        def parse(text: str) -> list[dict[str, Any]]:
            entries = [json.loads(line) for line in text.splitlines()]
            TRACED.validate_json(json.dumps(entries), strict=True)
            steps = [entry["step"] for entry in entries]
            if not steps or any(later <= earlier for earlier, later in itertools.pairwise(steps)):
                raise ValueError("its steps do not rise")
            return entries
        return self._parsed("trace.jsonl", parse)

    def curve(self) -> list[dict[str, str]]:
        """Return the rows of learning.csv, numbers as they are written; none where the record has
        no such file."""
        def parse(text: str) -> list[dict[str, str]]:
            rows = list(csv.DictReader(text.splitlines(), strict=True))
            for row in rows:
                int(row["step"])
            return rows
        return self._parsed("learning.csv", parse) if self.fetch("learning.csv") else []

    def _parsed(self, name: str, parse: Callable[[str], Parsed]) -> Parsed:
        file = self.file(name)
        try:
            return parse(file.read_text(encoding="utf-8"))
        except (OSError, KeyError, csv.Error, *BROKEN_JSON) as error:
            raise UserError(f"{file}: broken ({_why(error)})") from None


def find(name: str) -> KeptRun:
    """Return the run of this id, or the one whose id begins so, or the `latest` training, or the
    one in this folder.

    Raises:
        UserError: there is no such run, or more than one; the folder is damaged; the store cannot
            be reached.
    """
    if (Path(name) / RECORD).is_file():
        return read_folder(Path(name))
    if Path(name).is_dir():
        raise UserError(f"{name}: a folder without {RECORD}; `alexnet export` makes one")
    store = mlflow_store.connect()
    if name == "latest":
        condition, none = ("tags.stage = 'train' and attributes.status = 'FINISHED'",
                           "no finished training")
    else:
        condition, none = f"attributes.run_id LIKE '{name}%'", f"no run whose id begins with {name}"
        if not name.isalnum():
            raise UserError(f"{name}: neither the id of a run nor a folder with a {RECORD}")
    runs = mlflow_connection.bounded(lambda: store.find(condition, limit=100))
    if name == "latest":
        runs = [run for run in runs if IMPORTED not in run.data.tags][:1]
    if not runs:
        raise UserError(f"{none} in {without_password(mlflow_connection.tracking_uri())}; "
                        "`alexnet runs` lists them")
    if len(runs) > 1:
        raise UserError(f"{name}: {len(runs)} runs begin so, "
                        f"{', '.join(run.info.run_id for run in runs[:3])}; give more of the id")
    return mlflow_connection.bounded(lambda: _from_store(store, runs[0]))


def read_folder(folder: Path) -> KeptRun:
    """Return the run in an exported folder, every file of it checked. Nothing of it is run, and no
    link in it followed.

    Raises:
        UserError: a file is missing or is not the one that was written; it is named.
    """
    file = folder / RECORD
    try:
        content = json.loads(_plain(file).read_text(encoding="utf-8"))
        digest, files = content.pop("digest"), content["files"]
        if content["format"] != FORMAT:
            raise UserError(f"{file}: format {content['format']}, but this program reads format "
                            f"{FORMAT}")
        if record_digest(content) != digest:
            raise UserError(f"{file}: changed since it was written: its contents have not the "
                            "digest it names")
        facts = FACTS.validate_json(
            json.dumps({name: content[name] for name in Facts.__dataclass_fields__}), strict=True)
        if (not isinstance(files, dict)
                or not all(isinstance(recorded, str) for recorded in files.values())):
            raise TypeError("files: not digests by name")
    except (OSError, KeyError, TypeError, AttributeError, *BROKEN_JSON) as error:
        raise UserError(f"{file}: not the record of a run ({type(error).__name__}: "
                        f"{_why(error)})") from None
    for name, recorded in files.items():
        if not is_known(name):
            raise UserError(f"{file}: names a file {name!r}, which no record has")
        if (folder / name).parent.is_symlink() and "/" in name:
            raise UserError(f"{(folder / name).parent}: a link, and a record has none; have it "
                            "exported again")
        try:
            digest_here = sha256_of(_plain(folder / name))
        except OSError as error:
            raise UserError(f"{folder / name}: missing from the record "
                            f"({error.strerror})") from None
        if digest_here != recorded:
            raise UserError(f"{folder / name}: changed since it was written: {RECORD} names the "
                            f"SHA-256 {recorded}, and it has {digest_here}")
    return KeptRun(facts, lambda name: folder / name if name in files else None, in_store=False,
                   names=lambda: list(files))


def set_tags(kept: KeptRun, tags: dict[str, str]) -> None:
    """Set tags on a run of the store; no more than a warning when that cannot be done."""
    mlflow_connection.attempt("the run gets no tags",
                         lambda: MlflowStore().set_tags(kept.facts.run_id, tags))


def _from_store(store: MlflowStore, run: Any) -> KeptRun:
    run_id = run.info.run_id
    if not run_id.isalnum():  # it names folders
        raise UserError(f"{run_id!r}: no run's id; the store is not in order")
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    stage = tags.get("stage") or str(run.info.run_name)
    curve: dict[int, dict[str, float]] = {}
    metrics = {}
    for shown in run.data.metrics:
        if mlflow_names.is_for_eyes(shown):
            continue
        name = mlflow_names.flat_metric(shown)
        images = mlflow_names.images_a_step(stage, run.data.params) if shown != name else 1
        for point in store.client.get_metric_history(run_id, shown):
            if point.step:
                step = point.step // images
                curve.setdefault(step, {"step": step})[name] = point.value
            else:
                metrics[name] = point.value
    facts = Facts(run_id, stage, run.info.status, run.info.start_time or 0, run.info.end_time or 0,
                  dict(run.data.params), tags, metrics, [curve[step] for step in sorted(curve)])
    return KeptRun(facts, lambda name: _stored_file(store, run, name), in_store=True,
                   names=lambda: [name.removeprefix(f"{KEPT.parent}/") for name in _listed(
                       store, run, KEPT.as_posix(), KEPT.as_posix())])


def _listed(store: MlflowStore, run: Any, folder: str | None, wanted: str) -> list[str]:
    """Return the names in the store of a run's files in a folder, in which `wanted` is looked for.

    Raises:
        UserError: the store's files cannot be reached, so that nothing is known.
    """
    try:
        return store.list_files(run, folder)
    except Exception as error:  # of the network, the disk, a cloud's own library, MLflow
        raise _unreadable(run, wanted, error) from None


def _unreadable(run: Any, wanted: str, error: Exception) -> UserError:
    return UserError(f"run {run.info.run_id[:12]}: its {wanted} cannot be read from "
                     f"{without_password(str(run.info.artifact_uri))} "
                     f"({mlflow_connection.reason(error)})")


def _stored_file(store: MlflowStore, run: Any, name: str) -> Path | None:
    """Return a file of the store; None where the store, when asked, has no such file.

    Raises:
        UserError: the store's files cannot be reached, so that nothing is known.
    """
    artifact = stored_name(name)
    if artifact not in _listed(store, run, artifact.rpartition("/")[0] or None, artifact):
        return None
    try:
        return store.download(run, artifact, largest_size(name))
    except Exception as error:  # of the network, the disk, a cloud's own library, MLflow
        raise _unreadable(run, artifact, error) from None


def _plain(file: Path) -> Path:
    """Return the file, if it is one: a link could lead anywhere, and a pipe or device has no
    end."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise UserError(f"{file}: not a plain file, and a record has nothing else; have it "
                        "exported again")
    return file


def _why(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def record_digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the contents of record.json, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
