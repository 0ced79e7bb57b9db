"""`alexnet summary`, the last word of `make repro`: the errors, then what the stages measured, from
metrics/*.json, and whether this run is, to the bit, the stored one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.config import parameters
from pipeline.config.crops import SUFFIXES
from pipeline.config.paths import METRICS, PROVENANCE, REPORT, metrics_of
from pipeline.config.stages import NAMES
from pipeline.records.mlflow_connection import tracking_uri
from pipeline.report.intervals import interval
from pipeline.studies.gate.verdict import golden_verdict
from pipeline.system.errors import UserError, without_password
from pipeline.system.files import read_json
from pipeline.system.tables import print_table, terminal_table
from pipeline.system.terminal import cell
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED

DIGITS = 16  # of a digest of 64: enough to tell two runs apart by eye
CROPS = (*((words, end) for end, words in SUFFIXES.items()), ("centre crop", ""))
STYLES = {IDENTICAL: "bold green", DIFFERS: "bold red", NOT_COMPARED: "yellow"}
Metrics = dict[str, dict[str, Any]]


def metrics_here() -> Metrics:
    """Return the metrics of each stage that has left some.

    Raises:
        UserError: none has.
    """
    metrics = {stage: read_json(metrics_of(stage), stage)
               for stage in NAMES if metrics_of(stage).exists()}
    if not metrics:
        raise UserError(f"{METRICS}: no metrics yet; make them with `dvc repro`")
    return metrics


def other_runs(metrics: Metrics) -> dict[str, str]:
    """Return the stages whose metrics do not belong to the weights in metrics/train.json, and why.

    A stage of which nothing says where it belongs is left out.
    """
    if "train" not in metrics:
        return {stage: "of an earlier run: no training has finished since"
                for stage in ("evaluate", "report") if stage in metrics}
    weights = metrics["train"].get("weights_digest")
    marks = {}
    provenance = read_json(PROVENANCE, "train") if PROVENANCE.exists() else {}
    if provenance.get("weights_digest") == weights:
        for name, digest in provenance["data"].items():
            stage, _, key = name.partition(".")
            if metrics.get(stage, {}).get(key, digest) != digest:
                marks[stage] = "of other data than the training's"
    if metrics.get("evaluate", {}).get("weights_digest", weights) != weights:
        marks["evaluate"] = "of other weights than the training's"
    if "report" in metrics and REPORT.exists() and \
            str(weights) not in REPORT.read_text(encoding="utf-8", errors="replace"):
        marks["report"] = "of another run than the training's"
    return marks


def show(digests: bool = False, console: Console | None = None) -> None:
    """Print the errors, the other metrics, where the report and the MLflow store are, and the
    verdict against the golden.

    Args:
        digests: print them, too.

    Raises:
        UserError: no stage has left its metrics yet.
    """
    console = console or Console(highlight=False)
    metrics = metrics_here()
    marks = other_runs(metrics)
    _show_errors(metrics.get("evaluate", {}), marks.get("evaluate", ""), console)
    table = terminal_table()
    for heading in ("stage", "what"):
        table.add_column(heading, no_wrap=True)
    table.add_column("value", overflow="fold")
    for stage, values in metrics.items():
        rows = list(_rows(values, digests))
        if stage in marks:
            rows.append((marks[stage], ""))
        for number, (name, value) in enumerate(rows):
            style = "yellow" if stage in marks else ""
            table.add_row(stage if number == 0 else "", cell(name, style), cell(value, style))
    print_table(table, console)
    if REPORT.exists():
        console.print(f"report: {REPORT}", soft_wrap=True, highlight=False)
    console.print(f"MLflow: {without_password(tracking_uri())}; `alexnet ui` shows it",
                  soft_wrap=True, highlight=False)
    if "train" in metrics:
        try:
            verdict, line = golden_verdict(parameters.load())
        except UserError as error:
            verdict, line = NOT_COMPARED, f"{NOT_COMPARED} with a golden: {error}"
        console.print(Text(line, STYLES[verdict]), soft_wrap=True)


def _show_errors(evaluation: Mapping[str, Any], mark: str, console: Console) -> None:
    """Print top-1 and top-5 error with ten crops and with one, of an evaluation that has them."""
    table = terminal_table("error")
    for heading in ("top-1", "95 %", "top-5", "95 %"):
        table.add_column(heading, justify="right")
    for words, suffix in CROPS:
        values = [evaluation.get(f"top{top}_error{suffix}") for top in (1, 5)]
        if None not in values:
            table.add_row(words, *(text for value in values
                                   for text in _with_interval(value, evaluation.get("images"))))
    if table.rows:
        print_table(table, console)
        if mark:
            console.print(f"These errors are {mark}.", style="yellow", highlight=False)


def _with_interval(error: Any, images: int | None) -> tuple[str, str]:
    """Return an error, and its 95 % interval where the number of images is known."""
    spread = "{:.1f} to {:.1f}".format(*(100 * end for end in interval(error, images))) \
        if images else ""
    return f"[bold]{100 * error:.2f} %[/]", spread


def _rows(metrics: Mapping[str, Any], digests: bool) -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if name.endswith("_digest"):
            if digests:
                yield name, f"{value[:DIGITS]}..."
        elif name.startswith(("top1_error", "top5_error")):
            continue  # above
        elif "error" in name and isinstance(value, float):
            yield name, f"{100 * value:.2f} %"
        elif isinstance(value, float):
            yield name, f"{value:.6g}"
        elif isinstance(value, int):
            yield name, f"{value:,}"
        elif isinstance(value, str):
            yield name, value
