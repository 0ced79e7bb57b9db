"""The commands that prove something to whoever was not there: verify and audit."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from pipeline.commands.group import command
from pipeline.commands.options import JSON, RunName
from pipeline.commands.runs import RUN_READ
from pipeline.config.stages import NAMES
from pipeline.system.importing import first_import
from pipeline.system.terminal import printable, wrapped

if TYPE_CHECKING:
    from pipeline.studies.rerun.audit import AuditResult


@command(short_help="Is what is committed true? Every stage made again.",
         reads="the last commit, dvc.lock, what the stages left here; DVC's cache with --cached",
         leaves="experiments/verified.json, which the report shows; work/verify while it goes on",
         takes="as long as all stages; twice the space of the data set while it goes on")
@click.option("--cached", multiple=True, type=click.Choice(NAMES), metavar="STAGE",
              help="Take what STAGE makes from here or from DVC's cache, by its hash in dvc.lock. "
                   "May be repeated.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N",
              help="Train only the first N updates, and compare the trace; what the stages after "
                   "it read is taken as with --cached.")
@JSON
def verify(cached: tuple[str, ...], steps: int | None, as_json: bool) -> None:
    """Make every stage again from what is committed, and compare with what is here and in dvc.lock.

    Code, params.yaml and dvc.lock of the last commit are exported into work/verify, and all stages
    run there from scratch. A hash in dvc.lock, a metrics file or a picture of the report that a
    stage does not make is named.

    Exit code: 0 everything is identical, 1 something differs, 2 something was not compared.
    """
    from dataclasses import asdict

    from pipeline.system.tables import print_table, terminal_table
    from pipeline.system.terminal import cell
    from pipeline.system.verdicts import exit_status

    with first_import("torch"):
        from pipeline.studies.rerun.verification import note, verify

    verdicts = verify(cached, steps)
    words = [*(f"--cached {stage}" for stage in cached), *([f"--steps {steps}"] if steps else [])]
    note(verdicts, " ".join(["alexnet verify", *words]))
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        table = terminal_table("stage", "verdict", "detail")
        for verdict in verdicts:
            table.add_row(verdict.stage, verdict.verdict, cell(verdict.detail))
        print_table(table)
    sys.exit(exit_status(verdict.verdict for verdict in verdicts))


@command(short_help="Is a long run true? Parts of it trained again.",
         reads=f"{RUN_READ}, with its kept checkpoints; data/ or DVC's cache or the recorded "
               "source",
         leaves="work/reruns while it goes on; a tag audit_verdict",
         takes="seconds, and the share of the training that is trained again; an evaluation")
@click.argument("run", type=RunName())
@click.option("--from", "start", type=click.IntRange(min=0), metavar="STEP",
              help="Train again from the last kept checkpoint up to this step.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", default=50,
              help="With --from: to the first traced step N later.  [default: 50]")
@click.option("--intervals", type=click.IntRange(min=1), metavar="K",
              help="Train K intervals between kept checkpoints again, chosen at random, and the "
                   "last one.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S",
              help="Of the choice.  [default: one that nobody can foresee]")
@click.option("--anyway", is_flag=True,
              help="Train and compare even where the environment is another.")
@click.option("--trust", is_flag=True,
              help="Run the code of a record from elsewhere, though it is not the code here.")
@JSON
def audit(run: str, start: int | None, steps: int, intervals: int | None, seed: int | None,
          anyway: bool, trust: bool, as_json: bool) -> None:
    """Hold the record of a RUN together, and train parts of it again from its kept checkpoints.

    A training keeps checkpoints where execution.keep_every says so. The chain of the trace, the
    checkpoints, the final weights, the learning curve and the initial weights must fit together;
    the intervals must come out equal to the bit; the final weights are evaluated again. Without
    --from and --intervals all intervals are trained again. docs/verification.md says what K
    intervals prove.

    Exit code: 0 it holds, 1 it fails, 2 not compared (the environment is another, the data cannot
    be had, the record has no chain).
    """
    with first_import("torch"):
        from pipeline.studies.rerun.audit import audit as audited

    if start is not None and intervals is not None:
        raise click.UsageError("--from and --intervals exclude each other")
    result = audited(run, start, steps, intervals, seed, anyway, trust)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        _show(result)
    sys.exit({"holds": 0, "fails": 1}.get(result.verdict, 2))


def _show(result: AuditResult) -> None:
    from pipeline.system.tables import print_table, terminal_table
    from pipeline.system.terminal import cell

    table = terminal_table("what", "verdict", "detail")
    for check in result.checks:
        table.add_row(check.check, check.verdict, cell(check.detail))
    for each in result.intervals:
        table.add_row(f"steps {each.first + 1} to {each.last}", each.verdict, cell(each.detail))
    print_table(table)
    chosen = "" if result.seed is None else f", chosen by seed {result.seed}"
    click.echo(wrapped(printable(f"{result.verdict}: {result.recomputed} of {result.steps} steps "
                                 f"trained again{chosen}"), sys.stdout))


COMMANDS = (verify, audit)
