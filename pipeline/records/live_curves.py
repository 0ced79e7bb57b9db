"""The curves of a training in MLflow while it goes on: every few seconds, what its files have
gained.

`follow_curves(record, folder)` surrounds the training. A thread of the stage's own process reads
what the first training process appends in `folder`, and sends it in one batch; the training itself
neither waits for MLflow nor knows of it. A training that was killed and goes on is a new run: it
shows the whole curve, and the killed one goes under it.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.records.mlflow_connection import attempt, bounded
from pipeline.records.mlflow_store import MlflowStore
from pipeline.records.record import Record
from pipeline.system.terminal import say

SECONDS = 5.0
LONGEST_PAUSE = 300.0  # between two tries at a store that does not answer
ATTEMPT = "mlflow-run"  # in the folder: the run that works there, or did before it was killed


@contextmanager
def follow_curves(record: Record, folder: Path) -> Iterator[None]:
    """Follow learning.jsonl and trace.jsonl of this folder within the block; what was not sent is
    left to the record."""
    if record.run_id is None:  # the store cannot be reached, and that was told
        yield
        return
    attempt("the attempt that was killed stands apart", lambda: _take_over(record, folder))
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(record, folder, stop), name="curves in MLflow",
                              daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _take_over(record: Record, folder: Path) -> None:
    """Have the run that was killed here stand under this one, in MLflow's list."""
    file = folder / ATTEMPT
    before = file.read_text(encoding="utf-8") if file.exists() else str(record.run_id)
    file.write_text(str(record.run_id), encoding="utf-8")
    if before != record.run_id:
        MlflowStore().nest(before, str(record.run_id))


def _follow(record: Record, folder: Path, stop: threading.Event) -> None:
    files: list[tuple[Growing, Callable[[Mapping[str, Any]], dict[str, float]]]] = [
        (Growing(folder / "learning.jsonl"), dict), (Growing(folder / "trace.jsonl"), curve_point)]
    store: MlflowStore | None = None
    pause = SECONDS
    while True:
        ended = stop.wait(pause)
        for file, point in files:
            record.log_curve(point(json.loads(line)) for line in file.lines())
        if ended:
            return
        try:
            store = store or bounded(MlflowStore)
            bounded(functools.partial(store.send_curve, record))
            pause = SECONDS
        except Exception as error:
            # of the network, the database, MLflow: tried again, and at the end of the stage
            if pause == SECONDS:
                say(f"warning: MLflow does not take the curve ({type(error).__name__}); it is "
                    "tried again")
            pause = min(2 * pause, LONGEST_PAUSE)


def curve_point(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return a point of the curve from an entry of the trace: the loss of that one update."""
    return {"step": entry["step"]} | ({} if entry["loss"] is None
                                      else {"batch_loss": float.fromhex(entry["loss"])})


class Growing:
    """A file of lines that another process appends to, and may replace by a shorter one."""

    def __init__(self, path: Path) -> None:
        self.path, self.inode, self.offset = path, 0, 0

    def lines(self) -> list[str]:
        """Return the lines that are new and whole; all of them where the file has been replaced."""
        try:
            with self.path.open("rb") as stream:
                status = self.path.stat()
                if status.st_ino != self.inode or status.st_size < self.offset:
                    self.inode, self.offset = status.st_ino, 0
                stream.seek(self.offset)
                whole, newline, _ = stream.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.offset += len(whole) + len(newline)
        return whole.decode().split("\n") if whole else []
