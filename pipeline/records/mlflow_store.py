"""The MLflow store: what is written to it and found in it.

Each preparation stage and each training is a run of its own; `evaluate` and `report` log into the
run of the training whose weights they saw, found by their digest.
"""

from __future__ import annotations

import atexit
import getpass
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.config.stages import stage_of
from pipeline.records import bounds, database, mlflow_names, mlflow_pages
from pipeline.records.mlflow_connection import (
    bounded,
    check_address,
    client,
    describe_failure,
    experiment_name,
    is_server,
    tracking_uri,
)
from pipeline.records.record import IMPORTED, Record
from pipeline.records.record_files import files_tag
from pipeline.system.errors import UserError
from pipeline.system.processes import alive
from pipeline.system.project import home_folder

LONGEST_TAG = 5000


def connect() -> MlflowStore:
    """Return the store, to look for runs in.

    Raises:
        UserError: it cannot be reached.
    """
    try:
        return bounded(MlflowStore)
    except Exception as error:  # of the network, the database, the disk, MLflow
        raise UserError(f"{describe_failure(error)}; correct MLFLOW_TRACKING_URI") from None


class MlflowStore:
    """A connection to the store and its experiment, which are made if they are not there.

    Every method raises whatever MLflow raises.
    """

    def __init__(self) -> None:
        self.client = client()
        name = experiment_name()
        experiment = self.client.get_experiment_by_name(name)
        if not experiment:  # a server has a place of its own for files; a database has none
            place = (None if is_server(tracking_uri())
                     else (home_folder() / database.ARTIFACTS).as_uri())
            experiment = self.client.get_experiment(self.client.create_experiment(name, place))
        self.experiment: str = experiment.experiment_id
        for tag, value in mlflow_pages.experiment_tags().items():
            if experiment.tags.get(tag) != value and (tag not in experiment.tags
                                                      or mlflow_pages.is_view(tag)):
                self.client.set_experiment_tag(self.experiment, tag, value)

    def probe(self) -> None:
        """Write a run and a file, read them back, and remove the run.

        Raises:
            UserError: what is read is not what was written.
            Exception: whatever MLflow raises.
        """
        tags = {"stage": "doctor", "record": uuid.uuid4().hex}
        run = self.client.create_run(self.experiment, tags=tags, run_name="doctor")
        run_id = run.info.run_id
        try:
            self._check_address(run)
            self.client.log_text(run_id, tags["record"], "doctor/file.txt")
            [there] = self.find(f"tags.record = '{tags['record']}'") or [None]
            copy = self.download(run, "doctor/file.txt", 1 << 20)
            if there is None or copy.read_text(encoding="utf-8") != tags["record"]:
                raise UserError("what was written is not what is read")
        finally:
            self._remove(run)

    def find(self, condition: str, limit: int = 1) -> list[Any]:
        """Return the newest runs of the experiment for which MLflow's filter holds."""
        return list(self.client.search_runs([self.experiment], condition, max_results=limit,
                                            order_by=["start_time DESC"]))

    def list_files(self, run: Any, folder: str | None) -> list[str]:
        """Return the names of a run's files in a folder of them, None for the topmost one."""
        repository = self._repository(run)
        return [entry.path for entry in bounded(lambda: repository.list_artifacts(folder))]

    def download(self, run: Any, name: str, largest: int) -> Path:
        """Return a file of a run: of a server a copy, of at most `largest` bytes, which is there
        until this process ends."""
        repository = self._repository(run)
        if not is_server(tracking_uri()):
            return Path(repository.download_artifacts(name))
        folder = Path(tempfile.mkdtemp(prefix="alexnet-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(bounds.download(folder, largest, lambda: repository.download_artifacts(
            name, str(folder))))

    def _repository(self, run: Any) -> Any:
        """Return what reads a run's files. MLflow's client asks for models, too, which servers
        before 3.0 do not know."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        check_address(str(run.info.artifact_uri))
        return get_artifact_repository(run.info.artifact_uri, tracking_uri=tracking_uri())

    def begin(self, record: Record) -> None:
        """Create the run of a stage that starts, and mark as killed what died here before."""
        self._mark_killed(record)
        self._link_inputs(record)
        self._create(record)

    def end(self, record: Record) -> None:
        """Write what is known when a stage has ended, into the run that `begin` created, or that of
        the training which the stage joins."""
        if stage_of(record.stage).joins:
            self._join(record)
        else:
            self._complete(record)

    def send(self, record: Record) -> None:
        """Write the whole of a record that has ended, into the run that has a part of it if there
        is one."""
        record.sent = 0  # the store need not be the one that had them
        if not stage_of(record.stage).joins:
            self._find_or_create(record)
        self.end(record)

    def send_curve(self, record: Record) -> None:
        """Write the points that MLflow does not have yet. Sent twice they would count once: each
        has its own time."""
        self._log_points(record, record.curve[record.sent:])
        record.sent = len(record.curve)

    def set_tags(self, run_id: str | None, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        for some in _portions([*tags.items()], 100):
            self.client.log_batch(run_id,
                                  tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in some])

    def nest(self, run_id: str, parent: str) -> None:
        """Have a run stand under another one in MLflow's list."""
        self.client.set_tag(run_id, "mlflow.parentRunId", parent)

    def _mark_killed(self, record: Record) -> None:
        """Mark as killed what was begun here by processes that are no more."""
        for run in self.find("attributes.status = 'RUNNING'", limit=100):
            tags = run.data.tags
            if (all(tags.get(name) == record.tags[name]
                    for name in ("process.host", "process.folder"))
                    and not alive(tags.get("process.id", ""))):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _link_inputs(self, record: Record) -> None:
        """Name the runs that made the data which go in, here or where DVC's cache has them from."""
        for source in stage_of(record.stage).recorded:
            for name in [name for name in record.tags if name.startswith(f"{source}.")]:
                digest = name.removeprefix(f"{source}.")
                runs = self.find(f"tags.stage = '{source}' and "
                                 f"tags.`{digest}` = '{record.tags[name]}'")
                if runs:
                    record.tags[f"prepared_by.{source}"] = runs[0].info.run_id

    def _find_or_create(self, record: Record) -> None:
        runs = self.find(f"tags.record = '{record.tags['record']}'")
        if runs:
            record.run_id = runs[0].info.run_id
        else:
            self._link_inputs(record)
            self._create(record)

    def _create(self, record: Record) -> None:
        """Create a run with what is known when a stage starts."""
        from mlflow.entities import Param

        standard = {"mlflow.user": _user(), "mlflow.source.name": f"alexnet {record.stage}",
                    "mlflow.source.type": "LOCAL",
                    "mlflow.source.git.commit": record.tags["git_commit"],
                    "record": record.tags["record"]}
        name = (record.tags.get("mlflow.runName")
                or mlflow_names.run_name(record.stage, record.params))
        run = self.client.create_run(self.experiment, record.started, tags=standard, run_name=name)
        record.run_id = run_id = run.info.run_id
        self._check_address(run)
        for some in _portions([*record.params.items()], 100):
            self.client.log_batch(run_id, params=[Param(*pair) for pair in some])
        about = mlflow_pages.description(record.stage, record.params, record.tags, self.experiment,
                                         run_id, tuple(record.texts))
        self.set_tags(run_id, record.tags | {"mlflow.note.content": about})
        self.client.log_inputs(run_id, mlflow_pages.data_sets(record.stage, record.params,
                                                              record.tags))
        self._write_texts(record, "")

    def _remove(self, run: Any) -> None:
        """Remove a run: of a server into its trash, of a database for good, with its files."""
        run_id = run.info.run_id
        self.client.delete_run(run_id)
        if is_server(tracking_uri()):
            return
        self.client._tracking_client.store._hard_delete_run(run_id)
        files = Path(url2pathname(urlsplit(run.info.artifact_uri).path)).parent
        if files.name == run_id:
            shutil.rmtree(files, ignore_errors=True)

    def _check_address(self, run: Any) -> None:
        if is_server(tracking_uri()):
            check_address(str(run.info.artifact_uri))

    def _complete(self, record: Record, prefix: str = "") -> None:
        """Write what is known when a stage has ended; `prefix` keeps the tags of a joining stage
        apart from the training's."""
        from mlflow.entities import Metric

        self.send_curve(record)
        if errors := mlflow_names.shown_errors(record.stage, record.metrics):
            self.client.log_batch(record.run_id, metrics=[Metric(name, value, record.ended, 0)
                                                          for name, value in errors.items()])
        drawn = {name for point in record.curve for name in point}
        self._log_points(record, [{"step": 0, "time": record.ended,
                                   **{name: value for name, value in record.metrics.items()
                                      if name not in drawn}}])
        tags = record.tags | files_tag(record, with_texts=not prefix)
        self.set_tags(record.run_id, {prefix + name: value for name, value in tags.items()
                                      if not prefix or not name.startswith("mlflow.")})
        for artifact in record.artifacts:
            self._upload(record, Path(artifact["path"]), artifact["name"])
        if not prefix:
            self.client.set_terminated(record.run_id, record.status, record.ended)

    def _join(self, record: Record) -> None:
        """Write into the newest training with these weights; into a new run where there is none."""
        digest = record.weights_digest
        runs = (self.find(f"tags.stage = 'train' and tags.weights_digest = '{digest}'", limit=100)
                if digest else [])
        runs = [run for run in runs if IMPORTED not in run.data.tags]
        if not runs:
            self._find_or_create(record)
            self._complete(record)
            return
        record.run_id = runs[0].info.run_id
        training = runs[0].data.tags
        record.tags = {name: value
                       for name, value in record.tags.items() if training.get(name) != value}
        record.tags["status"] = record.status
        self._write_texts(record, f"{record.stage}/")
        self._complete(record, prefix=f"{record.stage}.")
        note = training.get("mlflow.note.content", "")
        line = mlflow_pages.addition(record.stage, record.metrics, self.experiment,
                                     str(record.run_id))
        self.set_tags(record.run_id, {"mlflow.note.content": mlflow_pages.with_line(note, line)})

    def _log_points(self, record: Record, points: Sequence[Mapping[str, float]]) -> None:
        from mlflow.entities import Metric

        images = mlflow_names.images_a_step(record.stage, record.params)
        values = [Metric(mlflow_names.metric(record.stage, name), value,
                         int(point.get("time", record.ended)), int(point["step"]) * images)
                  for point in points
                  for name, value in point.items() if name not in ("step", "time")]
        for some in _portions(values, 1000):
            self.client.log_batch(record.run_id, metrics=some)

    def _upload(self, record: Record, path: Path, name: str) -> None:
        """Write a file under this name. MLflow keeps a file's own last name, so another one takes a
        link of that name."""
        folder, _, last = name.rpartition("/")
        if path.name == last:
            self.client.log_artifact(record.run_id, str(path), folder or None)
            return
        with tempfile.TemporaryDirectory() as place:
            link = Path(place) / last
            link.symlink_to(path.resolve())
            self.client.log_artifact(record.run_id, str(link), folder or None)

    def _write_texts(self, record: Record, folder: str) -> None:
        for name, text in record.texts.items():
            self.client.log_text(record.run_id, text, folder + name)


def _portions(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield as many at a time as MLflow takes in one call."""
    for start in range(0, len(items), size):
        yield items[start: start + size]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
