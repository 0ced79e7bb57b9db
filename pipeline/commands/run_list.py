"""`alexnet runs`: the recorded trainings as a table, the best first, and what differs between
them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline.config.paths import metrics_of
from pipeline.records import mlflow_connection, mlflow_names, mlflow_store
from pipeline.records.mlflow_names import plain
from pipeline.records.record import IMPORTED
from pipeline.system.errors import UserError, without_password
from pipeline.system.files import read_json
from pipeline.system.tables import print_table, terminal_table
from pipeline.system.terminal import cell

if TYPE_CHECKING:
    from rich.text import Text

ERRORS = ("top1_error_10crop", "top5_error_10crop", "top1_error", "top5_error")
NINE = ("top1_error_9crop", "top5_error_9crop")  # in place of the first two, of nets on CIFAR-10
MOST = 1000  # runs that are looked at
ID_LETTERS = 8
SHORT_DIGEST = 12  # of a parameter that is a digest
LEFT_OUT = ("dataset.location", "dataset.origin", "train.validate_every", "train.trace_every")
FINISHED = ("FINISHED", "RUNNING")


@dataclass(frozen=True)
class ListedRun:
    """A training in MLflow's store.

    Attributes:
        started: milliseconds since 1970.
        errors: fractions, under the names of metrics/evaluate.json; those that it has.
        params: `section.key` to value, as JSON writes it.
        here: whether its weights are those in models/.
        imported: whether it was made elsewhere.
    """

    run_id: str
    name: str
    status: str
    started: int
    errors: dict[str, float]
    params: dict[str, str]
    here: bool
    imported: bool


def listed(limit: int, unfinished: bool = False) -> list[ListedRun]:
    """Return the recorded trainings, the lowest error first, those without errors last.

    Args:
        limit: of the newest trainings, so many.
        unfinished: take those that failed or were killed, too.

    Raises:
        UserError: the store cannot be reached, or has no training.
    """
    runs = (mlflow_store.connect().find("tags.stage = 'train'", MOST)
            if mlflow_connection.exists() else [])
    trainings = [_listed(run) for run in runs if unfinished or run.info.status in FINISHED][:limit]
    if not trainings:
        raise UserError(f"no training is recorded in "
                        f"{without_password(mlflow_connection.tracking_uri())}; `dvc repro` makes "
                        "one")
    return sorted(trainings, key=lambda run: (
        *(2.0 if error is None else error for error in _several(run)),
        *(run.errors.get(name, 2.0) for name in ERRORS[2:]), -run.started))


def _several(run: ListedRun) -> list[float | None]:
    """Return the top-1 and the top-5 error of several crops, of ten or of nine."""
    return [run.errors.get(ten, run.errors.get(nine))
            for ten, nine in zip(ERRORS[:2], NINE, strict=True)]


def _listed(run: Any) -> ListedRun:
    file = metrics_of("train")
    weights = read_json(file, "train").get("weights_digest") if file.exists() else None
    metrics = {name: run.data.metrics.get(mlflow_names.metric("evaluate", name))
               for name in (*ERRORS, *NINE)}
    tags = run.data.tags
    return ListedRun(run.info.run_id, run.info.run_name or "", run.info.status,
                     run.info.start_time or 0,
                     {name: value for name, value in metrics.items() if value is not None},
                     dict(run.data.params), bool(weights) and tags.get("weights_digest") == weights,
                     IMPORTED in tags)


def differing(runs: Sequence[ListedRun]) -> list[dict[str, str]]:
    """Return, of each run, the parameters whose value is not the same in all of them."""
    names = dict.fromkeys(name for run in runs for name in run.params)
    varied = [name for name in names if name not in LEFT_OUT
              if len({plain(run.params.get(name, "")) for run in runs}) > 1]
    return [{name: plain(run.params[name]) for name in varied if name in run.params}
            for run in runs]


def as_json(runs: Sequence[ListedRun]) -> list[dict[str, Any]]:
    """Return plain values: ids, names, times in milliseconds, errors as fractions."""
    return [{"run_id": run.run_id, "name": run.name, "status": run.status, "started": run.started,
             **{name: run.errors.get(name) for name in ERRORS},
             **{name: run.errors[name] for name in NINE if name in run.errors}, "differs": values,
             "here": run.here, "imported": run.imported}
            for run, values in zip(runs, differing(runs), strict=True)]


def show(runs: Sequence[ListedRun], console: Console | None = None) -> None:
    """Print the table; it fits 80 columns."""
    table = terminal_table()
    for heading in ("top-1", "top-5"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("run", "began (UTC)"):
        table.add_column(heading, no_wrap=True)
    values = differing(runs)
    if any(values):
        table.add_column("what differs", overflow="fold")
    implied = set.intersection(*(mlflow_names.by_recipe(run.params) for run in runs))
    for run, own in zip(runs, values, strict=True):
        cells: list[Text | str] = [*_errors(run), cell(run.run_id[:ID_LETTERS] + "*" * run.here),
                 time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.started / 1000))]
        words = [_words(name, value) for name, value in own.items() if name not in implied]
        words += ["imported"] * run.imported
        table.add_row(*cells, *([cell(", ".join(words))] if any(values) else []))
    print_table(table, console)
    console = console or Console(highlight=False)
    nine = any(name in run.errors for run in runs for name in NINE)
    lines = [f"Errors are those of ten crops{' (on CIFAR-10 nine)' * nine} on the validation "
             "images."]
    lines += ["* These weights are in models/."] if any(run.here for run in runs) else []
    lines += [] if any(values) or len(runs) < 2 else ["All have the same parameters."]
    console.print("\n".join(lines), style="dim", highlight=False)


def _errors(run: ListedRun) -> tuple[str, ...]:
    if run.status != "FINISHED":
        return run.status.lower(), ""
    return tuple("–" if value is None else f"{100 * value:.2f} %" for value in _several(run))


def _words(name: str, value: str) -> str:
    short = value[:SHORT_DIGEST] if len(value) == 64 and value.isalnum() else value
    return f"{'recipe' if name == 'recipe.name' else name.rpartition('.')[2]} {short}"

