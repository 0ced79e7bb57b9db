"""Surrounds a stage, and sends its record to MLflow's store when it starts and when it ends.

When the store cannot be reached the stage goes on, and its record is left in work/unsent. Only the
stage's main process comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.parameters import Parameters
from pipeline.config.stages import stage_of
from pipeline.records import environment, unsent
from pipeline.records.mlflow_connection import attempt
from pipeline.records.mlflow_store import MlflowStore
from pipeline.records.record import Record, begin_record, now
from pipeline.system.project import CODE
from pipeline.system.terminal import say


@contextmanager
def recorded(stage: str, parameters: Parameters) -> Iterator[Record]:
    """Record the stage that runs inside; FAILED when it raises, KILLED when it is interrupted.

    Nothing that MLflow does or fails to do stops the stage. A run whose process was killed outright
    still stands as RUNNING; the next stage run in the same folder marks it KILLED.
    """
    with recorded_as(begin_record(stage, parameters)) as record:
        yield record


@contextmanager
def recorded_as(record: Record, code: Path = CODE) -> Iterator[Record]:
    """Do as `recorded`, for a record made by the caller and the code under `code`."""
    recorder = Recorder(record)
    recorder.begin()
    try:
        yield record
    except BaseException as error:
        recorder.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", code)
        raise
    recorder.end("FINISHED", code)


class Recorder:
    """Sends a record to the store: when its stage starts, so that others see it run, and when it
    ends. After the first failure nothing more is tried."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.store: MlflowStore | None = None
        self.reached = True

    def begin(self) -> None:
        """Create the run, unless the stage joins one when it ends."""
        if not stage_of(self.record.stage).joins:
            self._attempt(lambda store: store.begin(self.record))

    def end(self, status: str, code: Path) -> None:
        """Send what is known now, with this status; keep it in work/unsent where that fails."""
        record = self.record
        record.status, record.ended = status, now()
        if environment.code_digest(code) != record.tags["code_digest"]:
            record.tags["code_changed"] = "true"
            say(f"warning: source files changed while {record.stage} ran; its record is marked "
                "code_changed")
        self._attempt(lambda store: store.end(record), record.size())
        if not self.reached:
            try:
                unsent.keep(record)
            except OSError as error:
                say(f"warning: the record of {record.stage} is lost: {error}")

    def _attempt(self, action: Callable[[MlflowStore], None], size: int = 0) -> None:
        def act() -> None:
            self.store = self.store or MlflowStore()
            action(self.store)

        self.reached = self.reached and attempt(f"{self.record.stage} goes on without it",
                                               act, size)
