"""A stage's record, in MLflow.

`recorded(stage, parameters)` surrounds a stage and yields its `Record`. Each preparation stage and each training is a
run of its own; `evaluate` and `report` log into the run of the training whose weights they saw, found by their digest.
The store is mlflow.db in the project's folder, or any server that MLFLOW_TRACKING_URI names. When it cannot be reached
the stage goes on, and its record is left as JSON in work/unsent. Only the stage's main process comes here.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline import environment
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.parameters import Parameters
from pipeline.paths import WORK, metrics_of
from pipeline.progress import say

EXPERIMENT = "alexnet"
UNSENT = WORK / "unsent"
# The sections of params.yaml that are a stage's parameters; train has all, mean and pca have none.
SECTIONS = {"download": ("dataset",), "resize": ("dataset", "resize"), "mean": (), "pca": ()}
PREPARATION = tuple(SECTIONS)
JOINING = ("evaluate", "report")
WITH_TORCH = ("train", "evaluate")
LONGEST_TAG = 5000
# One try more at a server that does not answer, not MLflow's seven, which take minutes.
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


@dataclass
class Record:
    """What is known of one execution of a stage. Numbers in `metrics`, other facts in `tags`; `texts` become files."""

    stage: str
    started: int  # milliseconds since 1970, as MLflow counts
    params: dict[str, str]
    tags: dict[str, str]
    texts: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    artifacts: list[dict[str, str]] = field(default_factory=list)  # path and sha256 of each
    weights_digest: str | None = None  # of the training that this stage belongs to
    run_id: str | None = None
    status: str = "RUNNING"
    ended: int = 0

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Take the stage's metrics: numbers become MLflow metrics, anything else becomes a tag."""
        for name, value in metrics.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.metrics[name] = float(value)
            elif value is not None:
                self.tags[name] = str(value)
        self.weights_digest = metrics.get("weights_digest", self.weights_digest)

    def log_curve(self, points: Iterable[Mapping[str, float]]) -> None:
        """Take points of a learning curve, each with its `step` and any number of named values."""
        self.curve.extend(dict(point) for point in points)

    def artifact(self, path: Path) -> None:
        """Take a file that the stage made; it is sent when the stage has ended."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.artifacts.append({"path": path.as_posix(), "sha256": digest})


@contextmanager
def recorded(stage: str, parameters: Parameters) -> Iterator[Record]:
    """Record the stage that runs inside; FAILED when it raises, KILLED when it is interrupted.

    Nothing that MLflow does or fails to do stops the stage. A run whose process was killed outright still stands as
    RUNNING; the next stage run in the same folder marks it KILLED.
    """
    record = _begun(stage, parameters)
    tracker = _Tracker(record)
    tracker.begin()
    try:
        yield record
    except BaseException as error:
        tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.end("FINISHED")


def project() -> Path:
    """The folder of the store: the current one; the project's own when DVC runs an experiment in a temporary copy."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project() / 'mlflow.db'}"


def without_password(text: str) -> str:
    """The text, with no user and password left in the addresses it holds: fit for a log."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def flat(parameters: Parameters, sections: Iterable[str]) -> dict[str, str]:
    """`section.key` to value, as JSON writes it; the recipe's switches as they take effect, never null."""
    values = parameters.model_dump(mode="json", include=set(sections))
    if "recipe" in values:
        values["recipe"] |= asdict(parameters.the_recipe())
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in _leaves(values)}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _begun(stage: str, parameters: Parameters) -> Record:
    found = environment.fingerprint(with_torch=stage in WITH_TORCH)
    if stage == "train":
        found["threads"] = str(parameters.execution.threads)
    told = json.dumps(found, indent=2)
    git = environment.git_state()
    tags = {"stage": stage, "code_digest": environment.code_digest(), "git_commit": git.commit,
            "git_dirty": json.dumps(git.dirty), "lock_digest": found["lock_digest"],
            "environment_digest": hashlib.sha256(told.encode()).hexdigest(),
            "process.host": platform.node(), "process.folder": str(Path.cwd()), "process.id": str(os.getpid())}
    tags |= {f"environment.{name}": found[name] for name in ("torch", "pillow", "cpu", "gpu") if name in found}
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = os.environ["DVC_EXP_NAME"]
    if stage == "train":
        tags |= {f"{made_by}.{name}": value for made_by in PREPARATION for name, value in _digests(made_by).items()}
    texts = {"environment.json": told, "parameters.json": parameters.model_dump_json(indent=2)}
    if git.dirty:
        texts["code.diff"] = git.diff
    sections = SECTIONS.get(stage, tuple(Parameters.model_fields))
    return Record(stage, _now(), flat(parameters, sections), tags, texts,
                  weights_digest=_digests("train").get("weights_digest") if stage in JOINING else None)


def _digests(stage: str) -> dict[str, str]:
    """Those in metrics/<stage>.json; none where the stage has not run."""
    try:
        metrics = read_json(metrics_of(stage), stage)
    except UserError:
        return {}
    return {name: value for name, value in metrics.items() if name.endswith("_digest") and isinstance(value, str)}


class _Tracker:
    """Sends a record to MLflow: at its beginning, so that others see it run, and at its end."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.reached = True
        self.client: Any = None
        self.experiment: str | None = None

    def begin(self) -> None:
        if self.record.stage not in JOINING:
            self._attempt(self._open, self._bury_the_dead, lambda: self._create(self.record.stage))

    def end(self, status: str) -> None:
        record = self.record
        record.status, record.ended = status, _now()
        if environment.code_digest() != record.tags["code_digest"]:
            record.tags["code_changed"] = "true"
            say(f"warning: source files changed while {record.stage} ran; its record is marked code_changed")
        self._attempt(self._join if record.stage in JOINING else lambda: self._complete(prefix=""))
        if not self.reached:
            moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(record.started / 1000))
            file = project() / UNSENT / f"{moment}-{record.stage}-{os.getpid()}.json"
            write_json(file, asdict(record))
            say(f"the record of {record.stage} is kept in {file}")

    def _attempt(self, *actions: Callable[[], None]) -> None:
        """Do these, or warn, once, that MLflow cannot be had; after that nothing more is tried."""
        try:
            for action in actions if self.reached else ():
                action()
        except Exception as error:  # of the network, the database, the disk, MLflow: a record must not stop a run
            self.reached = False
            first_line = (str(error).splitlines() or [""])[0]
            say(without_password(f"warning: MLflow's store {tracking_uri()} cannot be used ({type(error).__name__}: "
                                 f"{first_line[:200]}); {self.record.stage} goes on without it"))

    def _open(self) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient  # seconds: not before it is needed

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # the tables it creates
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # every try; the last is told below
        self.client = MlflowClient(tracking_uri())
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self.client.get_experiment_by_name(name)
        ours = None if os.environ.get("MLFLOW_TRACKING_URI") else (project() / "mlartifacts").as_uri()
        self.experiment = found.experiment_id if found else self.client.create_experiment(name, ours)

    def _create(self, name: str) -> None:
        """A new run, with what is known at a stage's beginning."""
        record = self.record
        if record.stage == "train":
            for stage in PREPARATION:
                for digest, value in _digests(stage).items():
                    runs = self._find(f"tags.stage = '{stage}' and tags.`{digest}` = '{value}'")
                    record.tags |= {f"prepared_by.{stage}": runs[0].info.run_id} if runs else {}
        standard = {"mlflow.user": _user(), "mlflow.source.name": f"alexnet {name}", "mlflow.source.type": "LOCAL",
                    "mlflow.source.git.commit": record.tags["git_commit"]}
        run = self.client.create_run(self.experiment, record.started, tags=standard, run_name=name)
        record.run_id = run.info.run_id
        self._log(tags=record.tags, params=record.params)
        self._write(record.texts, "")

    def _complete(self, prefix: str) -> None:
        """What is known at a stage's end; `prefix` keeps the facts of a joining stage apart from the training's."""
        from mlflow.entities import Metric

        record = self.record
        now = record.ended
        points = [Metric(name, value, now, int(point["step"]))
                  for point in record.curve for name, value in point.items() if name != "step"]
        drawn = {point.key for point in points}
        points += [Metric(name, value, now, 0) for name, value in record.metrics.items() if name not in drawn]
        for some in _portions(points, 1000):
            self.client.log_batch(record.run_id, metrics=some)
        self._log(tags={prefix + name: value for name, value in record.tags.items()})
        for artifact in record.artifacts:
            folder = Path(artifact["path"]).parent.as_posix()
            self.client.log_artifact(record.run_id, artifact["path"], folder if folder != "." else None)
        if not prefix:
            self.client.set_terminated(record.run_id, record.status, record.ended)

    def _join(self) -> None:
        """Into the newest run with these weights; into a new one where the store has none."""
        record = self.record
        self._open()
        runs = self._find(f"tags.weights_digest = '{record.weights_digest}'") if record.weights_digest else []
        if not runs:
            self._create(record.stage)
            self._complete(prefix="")
            return
        record.run_id = runs[0].info.run_id
        record.tags["status"] = record.status
        self._write(record.texts, f"{record.stage}/")
        self._complete(prefix=f"{record.stage}.")

    def _bury_the_dead(self) -> None:
        """Mark as killed what was begun here by processes that are no more."""
        here = self.record.tags
        for run in self._find("attributes.status = 'RUNNING'", limit=100):
            there = run.data.tags
            if all(there.get(name) == here[name] for name in ("process.host", "process.folder")) \
                    and not _alive(int(there["process.id"])):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _find(self, condition: str, limit: int = 1) -> Any:
        return self.client.search_runs([self.experiment], condition, max_results=limit, order_by=["start_time DESC"])

    def _log(self, tags: Mapping[str, str], params: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Param, RunTag

        for some in _portions([*(params or {}).items()], 100):
            self.client.log_batch(self.record.run_id, params=[Param(*pair) for pair in some])
        for more in _portions([*tags.items()], 100):
            self.client.log_batch(self.record.run_id, tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in more])

    def _write(self, texts: Mapping[str, str], folder: str) -> None:
        for name, text in texts.items():
            self.client.log_text(self.record.run_id, text, folder + name)


def _portions(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """As many at a time as MLflow takes in one call."""
    for start in range(0, len(items), size):
        yield items[start: start + size]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there, but somebody else's
        pass
    return True


def _now() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
