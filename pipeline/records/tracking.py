"""A stage's record, in MLflow.

`recorded(stage, parameters)` surrounds a stage and yields its `Record`. Each preparation stage and
each training is a run of its own; `evaluate` and `report` log into the run of the training whose
weights they saw, found by their digest. The store is mlflow.db in the project's folder, or any
server that MLFLOW_TRACKING_URI names. When it cannot be reached the stage goes on, and its record
is left in work/unsent: a folder with record.json and copies of the files it names, which
`send_unsent` sends later. Only the stage's main process comes here.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.parameters import Parameters
from pipeline.config.paths import LISTING, MEAN, PCA, STORE, WORK, metrics_of
from pipeline.config.presets import leaves
from pipeline.records import code_archive, environment, mlflow_pages, naming
from pipeline.system.errors import UserError, without_password
from pipeline.system.files import atomic_write, read_json, sha256_of, write_json
from pipeline.system.processes import alive
from pipeline.system.project import CODE, INTERFACE
from pipeline.system.terminal import say

EXPERIMENT = "alexnet"
UNSENT = WORK / "unsent"
# The sections of params.yaml that are a stage's parameters; train has all, mean and pca have none.
SECTIONS = {"download": ("dataset",), "resize": ("dataset", "resize", "store"), "mean": (),
            "pca": ()}
PREPARATION = tuple(SECTIONS)
# of whom
INPUTS = {"resize": ("download",), "mean": ("resize",), "pca": ("resize",), "train": PREPARATION}
JOINING = ("evaluate", "report")
WITH_TORCH = ("train", "evaluate")
LONGEST_TAG = 5000
IMPORTED = "imported_from"  # the tag of a run that was made elsewhere: its run id there
# One try more at a server that does not answer, not MLflow's seven, which take minutes.
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


@dataclass
class Record:
    """What is known of one execution of a stage. Facts that are no numbers are `tags`; `texts`
    become files.

    Attributes:
        started, ended: milliseconds since 1970, as MLflow counts; ended is 0 while it runs.
        params: `section.key` to value as JSON writes it.
        metrics: the stage's numbers, by the names of metrics/<stage>.json.
        curve: points {"step": ..., "time": ..., name: value, ...}, at the time they came.
        artifacts: {"name": in the store, "path", "sha256"} of each file.
    """

    stage: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    texts: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    sent: int = 0  # so many points of the curve MLflow has
    artifacts: list[dict[str, str]] = field(default_factory=list)
    weights_digest: str | None = None  # of the training that this stage belongs to
    run_id: str | None = None
    status: str = "RUNNING"
    ended: int = 0

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Take the stage's metrics: numbers become MLflow metrics, anything else a tag; a parameter
        is one already."""
        for name, value in metrics.items():
            if f"{self.stage}.{name}" in self.params:
                continue
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.metrics[name] = float(value)
            elif value is not None:
                self.tags[name] = str(value)
        self.weights_digest = metrics.get("weights_digest", self.weights_digest)

    def log_curve(self, points: Iterable[Mapping[str, float]]) -> None:
        """Take points of a learning curve, each with its `step` and any number of named values;
        each value once."""
        known = {(point["step"], name) for point in self.curve for name in point}
        for point in points:
            new = {name: value
                   for name, value in point.items() if (point["step"], name) not in known}
            if new:
                self.curve.append({"step": point["step"], **new, "time": now()})

    def artifact(self, path: Path, name: str | None = None) -> None:
        """Take a file that the stage made; it is sent when the stage has ended, as `name` if not
        under its path."""
        self.artifacts.append({"name": name or path.as_posix(), "path": path.as_posix(),
                               "sha256": sha256_of(path)})


@contextmanager
def recorded(stage: str, parameters: Parameters) -> Iterator[Record]:
    """Record the stage that runs inside; FAILED when it raises, KILLED when it is interrupted.

    Nothing that MLflow does or fails to do stops the stage. A run whose process was killed outright
    still stands as RUNNING; the next stage run in the same folder marks it KILLED.
    """
    with tracked(_begun(stage, parameters)) as record:
        yield record


@contextmanager
def tracked(record: Record, code: Path = CODE) -> Iterator[Record]:
    """As `recorded`, for a record made by the caller and the code under `code`."""
    tracker = Tracker(record)
    tracker.begin()
    try:
        yield record
    except BaseException as error:
        tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", code)
        raise
    tracker.end("FINISHED", code)


def send_unsent() -> tuple[list[Path], list[Path]]:
    """Send the records in work/unsent, the oldest first, and delete each that has arrived.

    A record that was sent in part before is completed, never sent twice. Returns the folders sent,
    and those kept.
    """
    sent: list[Path] = []
    folders = [folder for folder in sorted((project() / UNSENT).glob("*/"))
               if not folder.name.startswith(".")]
    for folder in folders:
        try:
            record = Record(**read_json(folder / "record.json", "sync"))
            for artifact in record.artifacts:
                artifact["path"] = (folder / artifact["name"]).as_posix()
                if sha256_of(Path(artifact["path"])) != artifact["sha256"]:
                    raise UserError(f"{artifact['name']} has changed")
        except (UserError, TypeError, KeyError, OSError) as error:
            say(f"{folder}: damaged, left as it is ({error})")
            continue
        if not Tracker(record).send():
            break  # the others would wait for the same store
        shutil.rmtree(folder)
        sent.append(folder)
    return sent, [folder for folder in folders if folder not in sent]


def project() -> Path:
    """The folder of the store: the current one; the project's own when DVC runs an experiment in a
    temporary copy."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or mlflow.db in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project() / 'mlflow.db'}"


def experiment_name() -> str:
    """MLFLOW_EXPERIMENT_NAME, or alexnet."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def client() -> Any:
    """MLflow's client of the store; that of a database has its tables looked at, or made, at
    once."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient  # seconds: not before it is needed

    # The tables it creates; errors with tracebacks, which are told in a line where they are caught.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # every try; the last is told by who asked
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri())


def is_server(uri: str) -> bool:
    """Whether MLflow's server answers there, and not a database."""
    return uri.startswith(("http://", "https://"))


def connected() -> Tracker:
    """A tracker without a record, to look for runs with. Raises UserError when the store cannot be
    reached."""
    tracker = Tracker(Record("none", 0, {}, {}, {}))
    try:
        tracker.open()
    except Exception as error:  # of the network, the database, the disk, MLflow
        raise UserError(f"{_unusable(error)}; see to MLFLOW_TRACKING_URI") from None
    return tracker


def _unusable(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    return without_password(f"MLflow's store {tracking_uri()} cannot be used "
                            f"({type(error).__name__}: {first_line[:200]})")


def flat(parameters: Parameters, sections: Iterable[str]) -> dict[str, str]:
    """`section.key` to value, as JSON writes it; the recipe's switches as they take effect, never
    null."""
    values = parameters.model_dump(mode="json", include=set(sections))
    if "recipe" in values:
        values["recipe"] |= asdict(parameters.the_recipe())
    return {name: naming.as_text(value) for name, value in leaves(values)}


def process_tags() -> dict[str, str]:
    """Who makes a record. By its `record` an unsent one is found again in the store."""
    return {"process.host": platform.node(), "process.folder": str(project()),
            "process.id": str(os.getpid()), "record": uuid.uuid4().hex}


def environment_tags(found: Mapping[str, str]) -> dict[str, str]:
    """What of the fingerprint is to be seen and searched at once; the whole is in
    environment.json."""
    told = json.dumps(found, indent=2)
    return {"environment_digest": hashlib.sha256(told.encode()).hexdigest(),
            "lock_digest": found["lock_digest"],
            **{f"environment.{name}": found[name] for name in ("torch", "pillow", "cpu", "gpu")
               if name in found}}


def _begun(stage: str, parameters: Parameters) -> Record:
    found = environment.fingerprint(with_torch=stage in WITH_TORCH)
    if stage == "train":
        found["threads"] = str(parameters.execution.threads)
    git = environment.git_state()
    tags = {"stage": stage, "interface": INTERFACE,
            "code_digest": environment.code_digest(), "git_commit": git.commit,
            "git_dirty": json.dumps(git.dirty)} | environment_tags(found) | process_tags()
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = os.environ["DVC_EXP_NAME"]
    texts = {"environment.json": json.dumps(found, indent=2),
             "parameters.json": parameters.model_dump_json(indent=2)}
    if git.dirty:
        texts["code.diff"] = git.diff
    sections = SECTIONS.get(stage, tuple(Parameters.model_fields))
    tags["mlflow.runName"] = naming.run_name(stage, flat(parameters, ("dataset", *sections)))
    for made_by in INPUTS.get(stage, ()):
        tags |= {f"{made_by}.{name}": value for name, value in data_digests(made_by).items()}
        tags |= {f"images.{split}": str(count)
                 for split, count in _images().items() if made_by == "resize"}
    record = Record(stage, now(), flat(parameters, sections), tags, texts,
                    weights_digest=_digests("train").get("weights_digest") if stage in JOINING
                    else None)
    if stage == "train":
        file = WORK / "code" / f"{tags['code_digest'][:16]}.tar.gz"
        with atomic_write(file) as stream:
            stream.write(code_archive.taken())
        record.artifact(file, code_archive.ARCHIVE)
    return record


def data_digests(stage: str, folder: Path = Path()) -> dict[str, str]:
    """Of what a preparation stage left, as its metrics name it; none where it is not there.

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


def _images() -> dict[str, int]:
    """How many images the store here has, by split."""
    try:
        return dict(read_json(STORE / "store.json", "resize")["images"])
    except (UserError, KeyError, TypeError, ValueError):
        return {}


def _digests(stage: str) -> dict[str, str]:
    """Those in metrics/<stage>.json; none where the stage has not run."""
    try:
        metrics = read_json(metrics_of(stage), stage)
    except UserError:
        return {}
    return {name: value for name, value in metrics.items() if name.endswith("_digest")
            and isinstance(value, str)}


class Tracker:
    """Sends a record to MLflow: at its beginning, so that others see it run, and at its end; or all
    at once."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.reached = True
        self.client: Any = None
        self.experiment: str | None = None

    def begin(self) -> None:
        """Make the run, unless the stage joins one when it ends."""
        if self.record.stage not in JOINING:
            self.attempt(self.open, self._bury_the_dead, self._link_preparation, self._create)

    def end(self, status: str, code: Path = CODE) -> None:
        """Send what is known at the end, with this status; keep it in work/unsent where that cannot
        be done."""
        record = self.record
        record.status, record.ended = status, now()
        if environment.code_digest(code) != record.tags["code_digest"]:
            record.tags["code_changed"] = "true"
            say(f"warning: source files changed while {record.stage} ran; its record is marked "
                "code_changed")
        self.attempt(self._join if record.stage in JOINING else lambda: self._complete(prefix=""))
        if not self.reached:
            try:
                self._keep()
            except OSError as error:
                say(f"warning: the record of {record.stage} is lost: {error}")

    def send(self) -> bool:
        """The whole of a record that has ended, into the run that has a part of it if there is
        one."""
        record = self.record
        record.sent = 0  # the store need not be the one that had them
        if record.stage in JOINING:
            self.attempt(self._join)
        else:
            self.attempt(self.open, self._find_or_create, lambda: self._complete(prefix=""))
        return self.reached

    def _keep(self) -> None:
        """In work/unsent, whole or not at all: the record and copies of its files, which the next
        run replaces."""
        record = self.record
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(record.started / 1000))
        folder = (
            project() / UNSENT
            / f"{moment}.{record.started % 1000:03}-{record.stage}-{record.tags['record'][:8]}")
        part = project() / UNSENT / f".{folder.name}.part"
        for artifact in record.artifacts:
            target = part / artifact["name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact["path"], target)
        write_json(part / "record.json", asdict(record))
        os.rename(part, folder)
        say(f"the record of {record.stage} is kept in {folder}; `alexnet sync` sends it")

    def attempt(self, *actions: Callable[[], None]) -> None:
        """Do these, or warn, once, that MLflow cannot be had; after that nothing more is tried."""
        try:
            for action in actions if self.reached else ():
                action()
        except Exception as error:
            # of the network, the database, the disk, MLflow: a record must not stop a run
            self.reached = False
            say(f"warning: {_unusable(error)}; {self.record.stage} goes on without it")

    def open(self) -> None:
        """Reach the store and its experiment, and make them if they are not there."""
        self.client = client()
        name = experiment_name()
        found = self.client.get_experiment_by_name(name)
        if not found:  # a server has a place of its own for files; a database has none
            place = None if is_server(tracking_uri()) else (project() / "mlartifacts").as_uri()
            found = self.client.get_experiment(self.client.create_experiment(name, place))
        self.experiment = found.experiment_id
        for tag, value in mlflow_pages.experiment_tags().items():
            if tag not in found.tags:
                self.client.set_experiment_tag(self.experiment, tag, value)

    def _link_preparation(self) -> None:
        """Name the runs that made the data that go in, in this folder or where DVC's cache has it
        from."""
        tags = self.record.tags
        for stage in INPUTS.get(self.record.stage, ()):
            for name in [name for name in tags if name.startswith(f"{stage}.")]:
                digest = name.removeprefix(f"{stage}.")
                runs = self.find(f"tags.stage = '{stage}' and tags.`{digest}` = '{tags[name]}'")
                tags |= {f"prepared_by.{stage}": runs[0].info.run_id} if runs else {}

    def _find_or_create(self) -> None:
        runs = self.find(f"tags.record = '{self.record.tags['record']}'")
        if runs:
            self.record.run_id = runs[0].info.run_id
        else:
            self._link_preparation()
            self._create()

    def _create(self) -> None:
        """A new run, with what is known at a stage's beginning."""
        record = self.record
        standard = {"mlflow.user": _user(),
                    "mlflow.source.name": f"alexnet {record.stage}", "mlflow.source.type": "LOCAL",
                    "mlflow.source.git.commit": record.tags["git_commit"],
                    "record": record.tags["record"]}
        name = record.tags.get("mlflow.runName") or naming.run_name(record.stage, record.params)
        run = self.client.create_run(self.experiment, record.started, tags=standard, run_name=name)
        record.run_id = run.info.run_id
        about = mlflow_pages.description(record.stage, record.params, record.tags,
                                         str(self.experiment), run.info.run_id, tuple(record.texts))
        self.log(tags=record.tags | {"mlflow.note.content": about}, params=record.params)
        self.client.log_inputs(record.run_id,
                               mlflow_pages.data_sets(record.stage, record.params, record.tags))
        self._write(record.texts, "")

    def _complete(self, prefix: str) -> None:
        """What is known at a stage's end; `prefix` keeps the facts of a joining stage apart from
        the training's."""
        record = self.record
        self.send_curve()
        drawn = {name for point in record.curve for name in point}
        self._send({"step": 0, "time": record.ended,
                    **{name: value for name, value in record.metrics.items() if name not in drawn}})
        self.log(tags={prefix + name: value for name, value in record.tags.items()
                       if not prefix or not name.startswith("mlflow.")})
        for artifact in record.artifacts:
            self._upload(Path(artifact["path"]), artifact["name"])
        if not prefix:
            self.client.set_terminated(record.run_id, record.status, record.ended)

    def send_curve(self) -> None:
        """The points that MLflow does not have yet. Sent twice they would count once: each has its
        own time."""
        self._send(*self.record.curve[self.record.sent:])
        self.record.sent = len(self.record.curve)

    def _send(self, *points: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        stage, images = self.record.stage, naming.images_a_step(self.record.stage,
                                                                self.record.params)
        values = [Metric(naming.metric(stage, name), value,
                         int(point.get("time", self.record.ended)), int(point["step"]) * images)
                  for point in points
                  for name, value in point.items() if name not in ("step", "time")]
        for some in _portions(values, 1000):
            self.client.log_batch(self.record.run_id, metrics=some)

    def _upload(self, path: Path, name: str) -> None:
        """A file, under this name: MLflow keeps a file's own last name, so another one takes a link
        of that name."""
        folder, _, last = name.rpartition("/")
        if path.name == last:
            self.client.log_artifact(self.record.run_id, str(path), folder or None)
            return
        with tempfile.TemporaryDirectory() as place:
            named = Path(place) / last
            named.symlink_to(path.resolve())
            self.client.log_artifact(self.record.run_id, str(named), folder or None)

    def _join(self) -> None:
        """Into the newest training with these weights; into a new run where the store has none."""
        record = self.record
        self.open()
        digest = record.weights_digest
        runs = (self.find(f"tags.stage = 'train' and tags.weights_digest = '{digest}'", limit=100)
                if digest else [])
        runs = [run for run in runs if IMPORTED not in run.data.tags]
        if not runs:
            self._find_or_create()
            self._complete(prefix="")
            return
        record.run_id = runs[0].info.run_id
        there = runs[0].data.tags  # what is the same is there
        record.tags = {name: value
                       for name, value in record.tags.items() if there.get(name) != value}
        record.tags["status"] = record.status
        self._write(record.texts, f"{record.stage}/")
        self._complete(prefix=f"{record.stage}.")
        note = there.get("mlflow.note.content", "")
        line = mlflow_pages.addition(record.stage, record.metrics, str(self.experiment),
                                     record.run_id)
        if line not in note:
            self.log(tags={"mlflow.note.content": f"{line}\n\n{note}".strip()})

    def _bury_the_dead(self) -> None:
        """Mark as killed what was begun here by processes that are no more."""
        here = self.record.tags
        for run in self.find("attributes.status = 'RUNNING'", limit=100):
            there = run.data.tags
            if all(there.get(name) == here[name] for name in ("process.host", "process.folder")) \
                    and not alive(there.get("process.id", "")):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def find(self, condition: str, limit: int = 1) -> Any:
        """The newest runs of the experiment for which this holds."""
        return self.client.search_runs([self.experiment], condition, max_results=limit,
                                       order_by=["start_time DESC"])

    def log(self, tags: Mapping[str, str], params: Mapping[str, str] | None = None) -> None:
        """Tags and parameters, to the run."""
        from mlflow.entities import Param, RunTag

        for some in _portions([*(params or {}).items()], 100):
            self.client.log_batch(self.record.run_id, params=[Param(*pair) for pair in some])
        for more in _portions([*tags.items()], 100):
            self.client.log_batch(self.record.run_id,
                                  tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in more])

    def _write(self, texts: Mapping[str, str], folder: str) -> None:
        for name, text in texts.items():
            self.client.log_text(self.record.run_id, text, folder + name)


def _portions(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """As many at a time as MLflow takes in one call."""
    for start in range(0, len(items), size):
        yield items[start: start + size]


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
