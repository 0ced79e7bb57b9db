"""`alexnet claims`, the ledger; `alexnet claims run`; `alexnet claims verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.group import command, group
from pipeline.commands.options import JSON, UserPath, seeds_option
from pipeline.system.errors import UserError
from pipeline.system.terminal import cell, duration, printable, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.studies.claims.evidence import LedgerRow
    from pipeline.studies.claims.running import Work

SCALE = ("sample", "imagenette", "cifar10", "imagenet")
LOCATION = click.option(
    "--location", type=UserPath(exists=True, file_okay=False),
    help="The data set's folder: the archives of the scale's source, or train/<class>/* and "
         "val/<class>/*.")
# columns that stand where there is room for them, the last of them first
SPARED = ("data", "section", "2012 log", "99 % interval", "seeds")


@group(invoke_without_command=True,
       short_help="The paper's numbers, ours, the verdicts; and their experiments.",
       reads="experiments/claims.yaml, experiments/results", leaves="nothing", takes="a second")
@click.option("--scale", type=click.Choice(SCALE), metavar="SCALE",
              help=f"Only what is run on this: {', '.join(SCALE)}.  [default: all]")
@JSON
@click.pass_context
def claims(context: click.Context, scale: str | None, as_json: bool) -> None:
    """The ledger: each claim of the paper, its number, that of the 2012 logs, ours, the verdict.

    The evidence is the runs in experiments/results; docs/claims.md says how a verdict is reached.
    """
    if context.invoked_subcommand:
        return
    from pipeline.studies.claims import evidence, ledger
    from pipeline.studies.claims.results import Results

    book = ledger.load()
    results = {name: Results(book, name) for name in book.scales}
    print_rows([row for claim in book.claims for place in claim.places if scale in (None, place)
            for row in evidence.rows(claim, results.get(place))], as_json)


@command("run", short_help="Run what claims need; the cost is given first.",
         reads="experiments/claims.yaml, params.yaml; the data set of the scale",
         leaves="experiments/results/<scale>/..., runs in MLflow's store, DVC experiments",
         takes="minutes to days: it is given first, and asked for (--estimate gives it alone)")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--scale", type=click.Choice(SCALE), metavar="SCALE", required=True,
              help=f"The data set, and with it the size of the net: {', '.join(SCALE)}.")
@seeds_option("Not more than these.  [default: from 1, as many as the scale has]")
@LOCATION
@click.option("--again", is_flag=True,
              help="Run anew on all of the seeds; what is kept gives way.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), metavar="HOURS",
              help="Begin no run that is not expected to end within these; the same command, given "
                   "again, goes on.")
@click.option("--yes", is_flag=True, help="Do not ask; for unattended runs.")
@click.option("--estimate", is_flag=True, help="Give the cost and the power, run nothing.")
@JSON
def run(names: tuple[str, ...], scale: str, seeds: tuple[int, ...] | None, location: Path | None,
        again: bool, hours: float | None, yes: bool, estimate: bool, as_json: bool) -> None:
    """Run what the claims NAME... need at a scale; a plan of experiments/claims.yaml stands for its
    claims, `all` for those that can be run there.

    What is kept, the cost and the power of each test are given first. Seeds are added one by one
    until the verdict is final, to the claim that fewest are likely to decide. What is kept on the
    same pictures, by the same configuration and arithmetic, is not run again: given again, an
    interrupted command goes on.
    """
    from pipeline.report import figure_1
    from pipeline.studies.claims import evidence, ledger, running
    from pipeline.studies.claims.results import Results

    book = ledger.load().at(scale, location)
    chosen = book.named(names, scale)
    running.check_runnable(chosen, scale)
    work = running.Work(Results(book, scale), chosen,
                        seeds or tuple(range(1, book.scales[scale].seeds + 1)), again, hours)
    print_plan(work)
    if work.missing():
        if estimate or not confirmed(yes):
            return
        running.run(work, figure_1.write)
    print_rows([evidence.row(claim, work.evidence) for claim in chosen], as_json)


def confirmed(yes: bool) -> bool:
    """Return whether the user wants what was planned to be run; `yes` says it beforehand.

    Raises:
        UserError: nobody is there to ask.
    """
    if not yes and not sys.stdin.isatty():
        raise UserError("nobody is there to ask; give --yes to run it")
    return yes or click.confirm("Run?", err=True)


@command("verify", short_help="Run one training of a claim's evidence again; compare.",
         reads="experiments/claims.yaml, experiments/results, the data set of the scale",
         leaves="a DVC experiment, a run in MLflow's store",
         takes="as long as the run did, data and all")
@click.argument("name", metavar="NAME")
@click.option("--seed", type=click.IntRange(min=0), required=True, help="Which of its runs.")
@click.option("--scale", type=click.Choice(SCALE), metavar="SCALE",
              help="Of the evidence.  [default: the first that has a run of the seed]")
@click.option("--configuration", metavar="CONFIGURATION",
              help="One of those that the claim compares.  [default: the first]")
@LOCATION
@JSON
def verify(name: str, seed: int, scale: str | None, configuration: str | None,
           location: Path | None, as_json: bool) -> None:
    """Run one of the trainings that a claim rests on again, and compare weights, losses and errors.

    NAME is a claim, or what `alexnet ports run` has run: a port as a whole, as port-caffe, or a
    step to it.

    Exit code: 0 identical, 1 differs, 2 not compared (other pixels or, with native arithmetic,
    another environment).
    """
    from pipeline.studies.claims import ledger, verification
    from pipeline.studies.claims.results import Results
    from pipeline.studies.ports import waterfall
    from pipeline.system.verdicts import EXIT_STATUS

    of_paper = ledger.load()
    book = waterfall.with_all(of_paper)
    claim = book.claim(name)
    compared = claim.configurations()
    if claim not in of_paper.claims:
        compared = compared[:1]  # of a port, or a step; not what it is held against
    kept = [place for place in claim.places if place in book.scales and scale in (None, place)
            and any(stored.run.seed == seed for each in compared
                    for stored in Results(book, place).stored(each))]
    if not kept:
        raise UserError(f"{name}: no run with seed {seed} is kept"
                        f"{f' at the scale {scale}' if scale else ''}, of {', '.join(compared)}; "
                        "experiments/results has what is")
    results = Results(book.at(kept[0], location), kept[0])
    verified = verification.verify(claim, results, verification.stored_run(
        claim, results, seed, configuration or (compared[0] if len(compared) == 1 else None)))
    if as_json:
        click.echo(json.dumps(verified.as_json(), indent=2))
    else:
        click.echo(printable(f"{verified.verdict}: {verified.configuration}, seed {seed}, "
                             f"{verified.scale}: {verified.detail}"))
        click.echo(printable(f"pictures: pixels_digest {verified.pixels_digest[:16]}, "
                             f"{verified.encoding}"))
    sys.exit(EXIT_STATUS[verified.verdict])


for _command in (run, verify):
    claims.add_command(_command)


def print_plan(work: Work) -> None:
    """Print what is kept and why, the cost of what is missing, and the power of the tests."""
    from pipeline.studies.claims import evidence, running
    from pipeline.studies.claims.ledger import Epochs

    for line in work.kept():
        say(line)
    for claim in work.claims:
        say(evidence.plan(claim, work.evidence, len(work.seeds)))
    first, most = work.missing(), work.at_most()
    if not first:
        say("nothing is to be run: every verdict is final, or all of the seeds are kept")
        return
    costs = running.estimate(work, most)
    for name, (count, seconds) in costs.items():
        click.echo(printable(f"{name}: at most {count} run{'s' * (count > 1)} of "
                             f"{duration(seconds)}"), err=True)
    total = duration(sum(count * seconds for count, seconds in costs.values()))
    open_ended = any(isinstance(claim.measure, Epochs) and any(
        len(side) > 1 for side in claim.measure.sides) for claim in work.claims)
    besides = "; which configurations go on, the first seed tells" if open_ended else ""
    say(f"{len(first)} run{'s' * (len(first) > 1)} first, at most {len(most)}, about {total}, if "
        "the machine stays as busy as it is, estimated for one process, without the preparation of "
        f"the data{besides}")


def print_rows(rows: list[LedgerRow], as_json: bool) -> None:
    """Print rows of the ledger, as a table or as JSON."""
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        _show(rows)


def _show(rows: list[LedgerRow]) -> None:
    """Print a table of the rows with evidence and, of a claim without any, of one row for all
    scales; and the notes below it."""
    from rich.console import Console

    from pipeline.system.tables import print_table

    notes: dict[str, int] = {}  # printed once each
    cells = [_cells(row, places, notes) for row, places in _merged(rows)]
    console = Console(highlight=False)
    table, spared = _fitting_table(cells, console)
    print_table(table, console)
    if spared:
        console.print(f"Not shown for want of room: {', '.join(spared)}; `--json` has them.",
                      style="dim")
    for note, number in notes.items():
        console.print(printable(f"({number}) {note}"), markup=False, highlight=False)


def _merged(rows: Sequence[LedgerRow]) -> list[tuple[LedgerRow, str]]:
    """Return the rows to print, each with the data that it is of, in words."""
    from pipeline.studies.claims.verdicts import NOT_RUN

    by_claim: dict[str, list[LedgerRow]] = {}
    for row in rows:
        by_claim.setdefault(row.claim.name, []).append(row)
    merged = []
    for same in by_claim.values():
        run = [row for row in same if row.verdict != NOT_RUN]
        merged += [(row, f"{row.scale}, {row.key.pictures:,}" if row.key else row.scale)
                   for row in run]
        if not run:
            merged.append((same[0], ", ".join(dict.fromkeys(row.scale for row in same))))
    return merged


def _cells(row: LedgerRow, places: str, notes: dict[str, int]) -> dict[str, Text]:
    colours = {"size": "green", "contradicted": "red"}
    claim, interval = row.claim, row.interval
    note = f" ({notes.setdefault(row.note, len(notes) + 1)})" if row.note else ""
    texts = {"claim": claim.name, "section": claim.section, "paper": _number(claim.paper),
             "2012 log": _number(claim.log), "ours": _number(row.ours),
             "99 % interval": f"{_number(interval[0])} to {_number(interval[1])}" if interval
             else "", "seeds": str(row.seeds or ""), "data": places}
    return {name: cell(text) for name, text in texts.items()} | {
        "verdict": cell(row.words, colours.get(row.words.split()[0], "")) + cell(note)}


def _fitting_table(cells: list[dict[str, Any]], console: Console) -> tuple[Table, list[str]]:
    """Return the table, on a narrow terminal without some of its columns, and the names of
    these."""
    names = [name for name in cells[0] if any(row[name] for row in cells)] if cells else ["claim"]
    shown = [name for name in names if name not in SPARED]
    for name in reversed(SPARED):
        wider = [each for each in names if each in (*shown, name)]
        if name in names and _fits(_table(wider, cells), console):
            shown = wider
    return _table(shown, cells), [name for name in names if name not in shown]


def _table(names: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> Table:
    from pipeline.system.tables import terminal_table

    table = terminal_table()
    for name in names:
        table.add_column(name, no_wrap=name != "verdict")  # goes on below
    for row in cells:
        table.add_row(*(row[name] for name in names))
    return table


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(max_width=1000)
    return console.measure(table, options=unbounded).maximum <= console.width


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
