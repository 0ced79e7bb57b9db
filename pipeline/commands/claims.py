"""`alexnet claims`, the ledger, and `alexnet claims run`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.group import command, group
from pipeline.commands.options import JSON, UserPath, seeds_option
from pipeline.system.errors import UserError
from pipeline.system.terminal import cell, duration, printable, say

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.studies.claims.evidence import LedgerRow

SCALE = ("sample", "imagenette", "cifar10", "imagenet")


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

    book = ledger.load()
    rows = [evidence.row(claim, ledger.Results(book, one)) for claim in book.claims
            for one in (claim.scales if claim.measure else ["imagenet"]) if scale in (None, one)]
    _tell(rows, as_json)


@command("run", short_help="Run what claims need; the cost is told first.",
         reads="experiments/claims.yaml, params.yaml; the data set of the scale",
         leaves="experiments/results/<scale>/..., runs in MLflow's store, DVC experiments",
         takes="minutes to days: it is told first, and asked for (--estimate tells it alone)")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--scale", type=click.Choice(SCALE), metavar="SCALE", required=True,
              help=f"The data set, and with it the size of the net: {', '.join(SCALE)}.")
@seeds_option("[default: from 1, as many as the scale has]")
@click.option("--location", type=UserPath(exists=True, file_okay=False),
              help="The data set's folder: the archives of the scale's source, or train/<class>/* "
                   "and val/<class>/*.")
@click.option("--yes", is_flag=True, help="Do not ask; for unattended runs.")
@click.option("--estimate", is_flag=True, help="Tell the cost, run nothing.")
@JSON
def run(names: tuple[str, ...], scale: str, seeds: tuple[int, ...] | None, location: Path | None,
        yes: bool, estimate: bool, as_json: bool) -> None:
    """Run what the claims NAME... need at a scale, or `all` that can be run there.

    The cost is told first. What is kept already is not run again: given again, an interrupted
    command goes on.
    """
    from pipeline.report import figure_1
    from pipeline.studies.claims import evidence, ledger, running

    book = ledger.load().at(scale, location)
    chosen = ([claim for claim in book.claims if claim.measure and scale in claim.scales]
              if names == ("all",) else [book.claim(name) for name in names])
    running.cleared(chosen, scale)
    results = ledger.Results(book, scale)
    seeds = seeds or tuple(range(1, book.scales[scale].seeds + 1))  # type: ignore[index]
    wanted = running.missing(book, results, chosen, seeds)
    if wanted:
        costs = running.estimate(book, results, wanted)
        for name, (count, seconds) in costs.items():
            click.echo(printable(f"{name}: {count} run{'s' * (count > 1)} of {duration(seconds)}"),
                       err=True)
        total = duration(sum(count * seconds for count, seconds in costs.values()))
        say(f"{len(wanted)} run{'s' * (len(wanted) > 1)}, about {total} if the machine stays as "
            "busy as it is, estimated for one process, without the preparation of the data; claims "
            "on epochs run their best configurations on the other seeds besides")
        if estimate:
            return
        if not yes and not sys.stdin.isatty():
            raise UserError("nobody is there to ask; give --yes to run it")
        if not yes and not click.confirm("Run?", err=True):
            return
        running.run(book, results, chosen, seeds, figure_1.write)
    _tell([evidence.row(claim, results) for claim in chosen], as_json)


claims.add_command(run)


def _tell(rows: list[LedgerRow], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        _show(rows)


def _show(rows: list[LedgerRow]) -> None:
    """Rows with evidence; of a claim without any, one row for all scales."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pipeline.studies.claims.evidence import NOT_RUN

    colours = {"agrees": "green", "disagrees": "red"}
    cells: list[dict[str, Text]] = []
    notes: dict[str, int] = {}  # printed once each, below the table
    shown: dict[str, list[LedgerRow]] = {}
    for row in rows:
        shown.setdefault(row.claim.name, []).append(row)
    for ones in shown.values():
        run = [row for row in ones if row.verdict != NOT_RUN]
        for row in run or ones[:1]:
            claim, verdict = row.claim, row.verdict if run else "not yet run"
            note = f" ({notes.setdefault(row.note, len(notes) + 1)})" if row.note else ""
            told = {"claim": claim.name, "section": claim.section, "paper": _number(claim.paper),
                    "2012 log": _number(claim.log), "ours": _number(row.ours),
                    "95 % interval": f"{_number(row.interval[0])} to {_number(row.interval[1])}"
                    if row.interval else "", "seeds": str(len(row.numbers) or ""), "data": row.scale
                    if run or not claim.measure else ", ".join(one.scale for one in ones)}
            cells.append({name: cell(text) for name, text in told.items()} | {
                "verdict": cell(verdict, colours.get(verdict.split()[0], "")) + cell(note)})
    # a pipe has no edge to wrap at
    console = (Console() if sys.stdout.isatty() else Console(width=240))
    unbounded = console.options.update(max_width=1000)
    names = [name for name in cells[0] if any(one[name] for one in cells)] if cells else ["claim"]
    spared = [name for name in ("data", "section", "2012 log", "95 % interval", "seeds")
              if name in names]
    while True:  # a narrow terminal does without some columns
        table = Table(box=box.SIMPLE_HEAD)
        for name in names:
            table.add_column(name, no_wrap=True)
        for one in cells:
            table.add_row(*(one[name] for name in names))
        if not spared or console.measure(table, options=unbounded).maximum <= console.width:
            break
        names.remove(spared.pop(0))
    console.print(table)
    for note, number in notes.items():
        console.print(printable(f"({number}) {note}"), markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
