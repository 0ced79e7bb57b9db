"""The commands about runs: summary, runs, rerun, diff, export, import, sync, ensemble, ui.

RUN is the id of a run in MLflow, or the beginning of one, or `latest`, or a folder made by `alexnet
export`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.group import command
from pipeline.commands.options import JSON, RunName, UserPath, from_start
from pipeline.config.crops import SUFFIXES, suffix_of
from pipeline.system.errors import UserError
from pipeline.system.importing import first_import
from pipeline.system.terminal import message_lines, printable, wrapped

if TYPE_CHECKING:
    from pipeline.studies.rerun.replay import RerunResult

RUN_READ = ("MLflow's store (MLFLOW_TRACKING_URI, or mlflow.db here), or a folder made by "
            "`alexnet export`")


@command(short_help="The errors and all metrics, and where the results are.",
         reads="metrics/*.json", leaves="nothing", takes="2 seconds")
@click.option("--all", "digests", is_flag=True, help="Also every digest.")
@JSON
def summary(digests: bool, as_json: bool) -> None:
    """The errors, then the metrics of all stages, and where the report and the MLflow store are.

    Metrics that belong to other weights or other data than those of the last training are marked.
    """
    from pipeline.commands import summary as summaries

    if as_json:
        click.echo(json.dumps(summaries.metrics_here(), indent=2))
    else:
        summaries.show(digests)


@command(short_help="The recorded trainings in a table, best first.",
         reads="MLflow's store (MLFLOW_TRACKING_URI, or mlflow.db here)", leaves="nothing",
         takes="3 seconds")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=20,
              help="Only the N newest trainings.  [default: 20]")
@click.option("--all", "unfinished", is_flag=True,
              help="Also trainings that failed or were killed.")
@JSON
def runs(limit: int, unfinished: bool, as_json: bool) -> None:
    """The recorded trainings in a table: their errors, the lowest first, and what differs between
    them.

    The ids in it are what other commands take as RUN: `alexnet rerun RUN`, `alexnet diff RUN RUN`,
    `alexnet report RUN RUN`.
    """
    from pipeline.commands import run_list

    trainings = run_list.listed(limit, unfinished)
    if as_json:
        click.echo(json.dumps(run_list.as_json(trainings), indent=2))
    else:
        run_list.show(trainings)


@command(short_help="Train a recorded run again; compare bit for bit.",
         reads=f"{RUN_READ}; data/ or DVC's cache or the recorded source",
         leaves="work/reruns, a run in MLflow's store tagged rerun_of",
         takes="as long as the run did, or its first --steps; and a minute where its data are made "
               "again")
@click.argument("run", type=RunName())
@click.option("--steps", type=click.IntRange(min=1), metavar="N",
              help="Rerun only the first N updates.")
@click.option("--anyway", is_flag=True,
              help="Run and compare even where the environment is another.")
@click.option("--trust", is_flag=True,
              help="Run the code of a record from elsewhere, though it is not the code here.")
@JSON
def rerun(run: str, steps: int | None, anyway: bool, trust: bool, as_json: bool) -> None:
    """Train a recorded RUN again and compare, bit for bit.

    RUN is the id of a run, its beginning, `latest`, or a folder made by `alexnet export`. Its code,
    parameters and data are restored in work/reruns, and that code is run. Code from elsewhere (a
    folder, an imported run) that is not the code here is only run with --trust: it may do all that
    you may.

    Exit code: 0 identical, 1 differs, 2 not compared (the environment is another, or the data
    cannot be had).
    """
    from pipeline.system.verdicts import EXIT_STATUS

    with first_import("torch"):
        from pipeline.studies.rerun import replay

    outcome = replay.rerun(run, steps, anyway, trust)
    if as_json:
        click.echo(json.dumps(outcome.as_json(), indent=2))
    else:
        reason = message_lines(_reason(outcome, steps))
        click.echo(wrapped(f"{outcome.verdict}: {reason}", sys.stdout))
        for name, (was, here) in outcome.environment.items() if outcome.rerun else ():
            click.echo(printable(f"  environment, {name}: {was} -> {here}"))
        if outcome.environment and not outcome.rerun:
            click.echo("`--anyway` runs it here all the same")
    sys.exit(EXIT_STATUS[outcome.verdict])


def _reason(outcome: RerunResult, steps: int | None) -> str:
    """Return what the verdict rests on: the steps compared, where they part, or why not."""
    comparison, traced = outcome.comparison, outcome.traced
    if outcome.verdict == "not compared":
        return "; ".join(outcome.reasons)
    if outcome.verdict == "differs":
        return f"from {comparison.first}"
    reason = (f"{comparison.steps} of {traced} traced steps, to step {comparison.last}, are equal "
              "to the bit")
    if steps and comparison.steps < traced:
        few = "only this step was" if comparison.steps == 1 else "only these steps were"
        reason += f". With --steps {steps} {few} compared; a larger number compares more"
    return reason


@command(short_help="Where two runs part, and what their records say of why.",
         reads=RUN_READ, leaves="nothing", takes="3 seconds")
@click.argument("a", type=RunName())
@click.argument("b", type=RunName())
@JSON
def diff(a: str, b: str, as_json: bool) -> None:
    """Where two recorded runs A and B part: the first step and tensor, and what their records say
    of why.

    Exit code, as of diff(1): 0 when their traces are equal, 1 when they part, 2 when they have no
    step in common.
    """
    from pipeline.records import differences, kept_runs

    runs = [kept_runs.find(name) for name in (a, b)]
    traces = differences.common_steps(*(run.trace() for run in runs))
    comparison = differences.compare_traces(*traces)
    apart, unknown = differences.record_differences(*runs), differences.not_compared(*runs)
    ends = [run.trace()[-1]["step"] for run in runs]
    if as_json:
        click.echo(json.dumps({"a": runs[0].facts.run_id, "b": runs[1].facts.run_id,
                               "identical": bool(traces[0]) and comparison.first is None,
                               "last_steps": ends, **comparison.as_json(), "records": apart,
                               "not_compared": unknown},
                              indent=2))
    else:
        _tell(comparison, ends, apart, unknown)
    sys.exit(1 if comparison.first else 0 if comparison.steps else 2)


def _tell(comparison: Any, ends: list[int], apart: dict[str, Any],
          unknown: dict[str, str]) -> None:
    if not comparison.steps:
        click.echo("their traces have no step in common")
    elif comparison.first:
        before = comparison.steps - 1
        equal = (f"{before} traced step{'s' * (before != 1)} before it "
                 f"{'are' if before != 1 else 'is'} equal")
        click.echo(wrapped(printable(f"they part at {comparison.first}; {equal}"), sys.stdout))
    else:
        click.echo(f"equal in all {comparison.steps} traced steps that both have, to step "
                   f"{comparison.last}"
                   + (f"; they end at {ends[0]} and {ends[1]}" if ends[0] != ends[1] else ""))
    for topic, pairs in apart.items():
        verdict = f" not compared: {unknown[topic]}" if topic in unknown else " identical"
        click.echo(printable(f"{topic}:{'' if pairs else verdict}"))
        for name, (left, right) in pairs.items():
            values = [_short(value, topic) for value in (left, right)]
            click.echo(printable(
                f"  {name}: "
                f"{' -> '.join(values if values[0] != values[1] else map(str, (left, right)))}"))


def _short(value: Any, topic: str) -> str:
    """Return a value as a person reads it; --json has every digit."""
    from pipeline.records.mlflow_names import plain

    if isinstance(value, float):
        return f"{value:.6g}"
    text = "none" if value is None else str(value)
    if topic == "parameters":
        return plain(text)
    return f"{text[:12]}..." if len(text) == 64 and text.isalnum() else text


@command(short_help="Write the record of a run as a folder that travels.",
         reads=RUN_READ, leaves="FOLDER, with the SHA-256 of every file in it",
         takes="3 seconds; more with --weights")
@click.argument("run", type=RunName())
@click.argument("folder", required=False, type=UserPath())
@click.option("--weights", is_flag=True, help="With weights and predictions, which can be large.")
def export(run: str, folder: Path | None, weights: bool) -> None:
    """Write the record of a RUN into a new FOLDER that travels: all that a rerun elsewhere needs.

    Without a FOLDER it is called record-ID, after the run. It holds no pictures.
    """
    from pipeline.records import exchange, kept_runs

    kept = kept_runs.find(run)
    folder = folder or from_start(f"record-{kept.name}")
    click.echo(exchange.export_record(kept, folder, weights))


@command("import", short_help="Bring such a folder into MLflow's store.",
         reads="FOLDER, every file of it checked", leaves="a run in MLflow's store, once",
         takes="3 seconds")
@click.argument("folder", type=UserPath())
def import_(folder: Path) -> None:
    """Check the record in FOLDER and put it into MLflow's store as a run tagged imported_from."""
    from pipeline.records import exchange

    run_id, new = exchange.import_record(folder)
    click.echo(run_id)
    click.echo(f"{folder}: imported" if new else f"{folder}: is there already", err=True)


@command(short_help="Send records that MLflow's store could not be reached for.",
         reads="work/unsent", leaves="runs in MLflow's store; removes what has arrived",
         takes="3 seconds and the transfer")
@JSON
def sync(as_json: bool) -> None:
    """Send the records in work/unsent, left when MLflow's store could not be reached."""
    from pipeline.records import unsent

    sent, kept = unsent.send_unsent()
    if as_json:
        click.echo(json.dumps({"sent": list(map(str, sent)), "kept": list(map(str, kept))},
                              indent=2))
    else:
        click.echo(f"{len(sent)} record{'s' * (len(sent) != 1)} sent, {len(kept)} kept")
    if kept:
        raise UserError(f"{kept[0].parent}: {len(kept)} could not be sent: "
                        f"{', '.join(each.name for each in kept[:3])}")


@command(short_help="Errors of several runs, their probabilities averaged.",
         reads=f"{RUN_READ}, with predictions; or files predictions.safetensors", leaves="nothing",
         takes="3 seconds")
@click.argument("runs", nargs=-1, required=True, type=RunName())
@JSON
def ensemble(runs: tuple[str, ...], as_json: bool) -> None:
    """Errors of several evaluated RUNS together, their softmax outputs averaged (section 6, Table
    2).

    A run is its id, the beginning of one, a folder made by `alexnet export --weights`, or a
    predictions.safetensors.
    """
    from pipeline.studies import ensemble as together

    result = together.ensemble(list(runs))
    end = suffix_of(result)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name, errors in (*((member["run"], member) for member in result["members"]),
                         ("together", result)):
        click.echo(printable(
            f"{name}: top-1 {errors['top1_error']:.2%}, top-5 {errors['top5_error']:.2%}; "
            f"{SUFFIXES[end]} {errors[f'top1_error{end}']:.2%}, {errors[f'top5_error{end}']:.2%}"))


@command(short_help="Open MLflow's pages at the trainings.",
         reads="MLflow's store: mlflow.db here, or what MLFLOW_TRACKING_URI names",
         leaves="nothing", takes="10 seconds to start; then it serves until Ctrl-C")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", default=5000,
              help="Of the pages, on this machine only.  [default: 5000]")
def ui(port: int) -> None:
    """Look at the runs in MLflow's pages, on the store that the stages record in.

    Two addresses are printed, of the list of trainings and of their curves. Where
    MLFLOW_TRACKING_URI names a server, they are that server's, and nothing is started.
    """
    from pipeline.commands import ui as pages

    pages.serve(port)


COMMANDS = (summary, runs, rerun, diff, export, import_, sync, ensemble, ui)
