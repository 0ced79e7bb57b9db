"""The commands of the gate: `alexnet check`, `alexnet golden record`, `alexnet golden assess`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pipeline.commands.group import command, group
from pipeline.commands.options import JSON, UserPath, parameter_options, seeds_option
from pipeline.system.errors import UserError
from pipeline.system.terminal import message_lines, printable, wrapped


@command(short_help="Do the metrics hold against the goldens?",
         reads="metrics/*.json, models/trace.jsonl, golden/, params.yaml", leaves="nothing",
         takes="3 seconds")
@parameter_options
@click.option("--sample", type=UserPath(dir_okay=False),
              help="Judge the runs in this file, as `golden record --output` leaves it, together.")
@JSON
def check(file: Path, overrides: tuple[str, ...], sample: Path | None, as_json: bool) -> None:
    """Do the metrics of the last `dvc repro` hold against the goldens?

    In the environment of a golden and with a seed that it has: to the bit, the trace included.
    Elsewhere, or with another seed: by a statistical test against the stored runs
    (docs/regression.md).

    Exit code: 0 they hold, 1 something fell, 2 no golden to judge by.
    """
    from pipeline.config import identity, parameters
    from pipeline.studies import run_sets
    from pipeline.studies.gate import checking, golden

    read = parameters.load(file, overrides)
    goldens = golden.of_configuration(read)
    if sample:
        given = run_sets.read(sample)
        if not identity.fits(given.configuration, identity.configuration(read)):
            raise UserError(f"{sample}: of another configuration than {file}")
        runs, here = given.runs, given.environment
    else:
        runs, here = [golden.run_here(read)], golden.environment_here(read)
    result = checking.check(runs, here, goldens) if goldens else checking.CheckResult(
        "cannot be judged", told=f"no golden of this configuration; {golden.nearest(read)}. "
                                 "`alexnet golden record` makes one")
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        for finding in result.findings:
            click.secho(wrapped(message_lines(finding), sys.stdout),
                        fg={"holds": None, "falls": "red", "rises": "green"}[finding.verdict])
        told = message_lines(f"{result.verdict}: {result.told}")
        click.secho(wrapped(told, sys.stdout), bold=True)
    sys.exit(result.status)


@group("golden", short_help="Stored metrics: record them, assess the gate.")
def golden_group() -> None:
    """The stored metrics in golden/ that `alexnet check` compares with."""


@command("record", short_help="Record runs as a golden of this environment.",
         reads="metrics/*.json, models/trace.jsonl, params.yaml",
         leaves="golden/<configuration>/<environment>.json",
         takes="a moment; with --seeds the pipeline once a seed, 2 to 3 minutes each on the sample")
@parameter_options
@seeds_option("Run these seeds, each as a DVC experiment, and record them all.  [default: the run "
              "that is here]")
@click.option("--replace", is_flag=True,
              help="Let stored runs give way: the change of bits is meant.")
@click.option("--reason", help="Why they are replaced; it stands in the file.")
@click.option("--output", type=UserPath(file_okay=False),
              help="Another folder than golden/, for `alexnet check --sample`.")
def record(file: Path, overrides: tuple[str, ...], seeds: tuple[int, ...] | None, replace: bool,
           reason: str | None, output: Path | None) -> None:
    """Record runs of the configured parameters as a golden of this environment; never silently.

    An interrupted `--seeds` goes on where it stopped. A stored run is replaced with --replace and
    --reason only, and then all runs of the file are: a golden holds runs of one code.
    """
    from pipeline.config import parameters
    from pipeline.studies.gate import golden, recording

    if replace != bool(reason):
        raise UserError("--replace and --reason go together: a golden that changes says why")
    read = parameters.load(file, overrides)
    runs = recording.runs_of(read, seeds) if seeds else [golden.run_here(read)]
    folder = output or golden.FOLDER
    kept = golden.record(read, runs, folder, reason)
    click.echo(printable(kept))


@command("assess", short_help="How often the statistical gate errs.",
         reads="FILE, and the samples --planted", leaves="nothing", takes="a second")
@click.argument("file", type=UserPath(dir_okay=False))
@click.option("--planted", multiple=True, type=UserPath(dir_okay=False),
              help="A sample of runs with a planted regression; may be repeated.")
@JSON
def assess(file: Path, planted: tuple[Path, ...], as_json: bool) -> None:
    """How often the statistical gate errs, measured on the runs of a golden FILE.

    False alarms: each stored run, and each set of some, judged by the rest. Detection: runs with a
    planted regression (made by `python -m benchmarks.gate`) judged by all.
    """
    from pipeline.studies import run_sets
    from pipeline.studies.gate import assessment

    rows = assessment.false_alarms(run_sets.read(file)) + [
        row for regression in planted
        for row in assessment.detection(run_sets.read(file), run_sets.read(regression))]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    assessment.show(rows)


for _command in (record, assess):
    golden_group.add_command(_command)
