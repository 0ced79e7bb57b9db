"""What the stages found, from metrics/*.json, as one table: `alexnet summary`, the last word of
`make repro`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.config.paths import METRICS, REPORT, metrics_of
from pipeline.config.stages import NAMES
from pipeline.records.mlflow_store import tracking_uri
from pipeline.system.errors import UserError, without_password
from pipeline.system.files import read_json
from pipeline.system.terminal import cell

DIGITS = 16  # of a digest of 64: enough to tell two runs apart by eye


def found() -> dict[str, dict[str, Any]]:
    """The metrics of each stage that has left some.

    Raises:
        UserError: none has.
    """
    metrics = {stage: read_json(metrics_of(stage), stage)
               for stage in NAMES if metrics_of(stage).exists()}
    if not metrics:
        raise UserError(f"{METRICS}: no metrics yet; make them with `dvc repro`")
    return metrics


def show(console: Console | None = None) -> None:
    """Print the table, and where the report and the MLflow store are.

    Raises:
        UserError: no stage has left its metrics yet.
    """
    console = console or Console()
    table = Table("stage", "what", "value", box=box.SIMPLE_HEAD)
    for stage, metrics in found().items():
        for number, (name, value) in enumerate(_rows(metrics)):
            table.add_row(stage if number == 0 else "", cell(name), cell(value))
    if not console.is_terminal:  # a table as wide as it needs to be: a pipe has no edge to wrap at
        console.width = max(console.width, console.measure(table).maximum)
    console.print(table)
    if REPORT.exists():
        console.print(f"report: {REPORT.resolve()}", soft_wrap=True, highlight=False)
    console.print(f"MLflow: {without_password(tracking_uri())}", soft_wrap=True, highlight=False)


def _rows(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if name.endswith("_digest"):
            yield name, f"{value[:DIGITS]}..."
        elif "error" in name and isinstance(value, float):
            yield name, f"{100 * value:.2f} %"
        elif isinstance(value, float):
            yield name, f"{value:.6g}"
        elif isinstance(value, int):
            yield name, f"{value:,}"
        elif isinstance(value, str):
            yield name, value
