"""`alexnet ports`: what people call AlexNet, side by side; `ports run`; `ports export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.claims import LOCATION, confirmed, print_plan, print_rows
from pipeline.commands.group import command, group
from pipeline.commands.options import JSON, UserPath, seeds_option
from pipeline.system.errors import UserError
from pipeline.system.terminal import say

if TYPE_CHECKING:
    from pipeline.studies.ports.table import PortRow

PORTS = ("caffe", "caffenet", "torchvision", "one-weird-trick")  # as alexnet.ports
SCALES = ("sample", "imagenette", "imagenet")
HOURS = 3.0


@group(invoke_without_command=True,
       short_help="What people call AlexNet, side by side.",
       reads="experiments/claims.yaml, experiments/results, experiments/ports-speed.json",
       leaves="nothing", takes="3 seconds")
@JSON
@click.pass_context
def ports(context: click.Context, as_json: bool) -> None:
    """The recipes and the ports: size, speed, accuracy as published, errors here, the verdict on
    the difference from the original.

    `alexnet describe --recipe PORT --against source` has all in which a port differs, with its
    sources; docs/ports.md says which AlexNet a paper used.
    """
    if context.invoked_subcommand:
        return
    from pipeline.studies.ports import table

    rows = table.rows()
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        _show(rows, table.speed().machine)


@command("run", short_help="Train ports, and what lies between source and them.",
         reads="experiments/claims.yaml, params.yaml; the data set of the scale",
         leaves="experiments/results/<scale>/..., runs in MLflow's store, DVC experiments",
         takes="hours: it is given first, and asked for (--estimate gives it alone)")
@click.argument("names", nargs=-1, required=True, metavar="PORT...")
@click.option("--scale", type=click.Choice(SCALES), metavar="SCALE", default="imagenette",
              show_default=True, help=f"The data set: {', '.join(SCALES)}.")
@seeds_option("Not more than these.  [default: from 1, as many as the scale has]")
@LOCATION
@click.option("--whole", is_flag=True, help="The ports themselves, without the steps to them.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=HOURS,
              show_default=True, help="Begin no run that is not expected to end within these.")
@click.option("--yes", is_flag=True, help="Do not ask; for unattended runs.")
@click.option("--estimate", is_flag=True, help="Give the cost and the power, run nothing.")
@JSON
def run(names: tuple[str, ...], scale: str, seeds: tuple[int, ...] | None, location: Path | None,
        whole: bool, hours: float, yes: bool, estimate: bool, as_json: bool) -> None:
    """Train PORT..., or `all`, and each step from `source` to them, one difference after the other.

    Each step is held against the one before on the same seeds, by the rules of `alexnet claims`:
    seeds are added until the verdict is final. What is kept is not run again: given again, an
    interrupted command, or one whose hours are over, goes on.
    """
    from pipeline.report import waterfall_figure
    from pipeline.studies.claims import evidence, ledger, running
    from pipeline.studies.claims.results import Results
    from pipeline.studies.ports import waterfall

    chosen: Any = PORTS if names == ("all",) else tuple(dict.fromkeys(names))
    if unknown := [name for name in chosen if name not in PORTS]:
        raise UserError(f"no port is called {unknown[0]}; there are {', '.join(PORTS)}")
    book = waterfall.with_all(ledger.load().at(scale, location))
    claims = waterfall.chosen(book, chosen, whole)
    work = running.Work(Results(book, scale), claims,
                        seeds or tuple(range(1, book.scales[scale].seeds + 1)), hours=hours)
    print_plan(work)
    if work.missing():
        if estimate or not confirmed(yes):
            return
        running.run(work, lambda claim, evidence: ())
    for file in waterfall_figure.write(work.evidence):
        say(f"ports: {file}")
    print_rows([evidence.row(claim, work.evidence) for claim in claims], as_json)


@command("export", short_help="Trained weights as a state dict of torchvision's.",
         reads="models/model.safetensors, data/store (the order of its classes)",
         leaves="FILE, for torchvision.models.alexnet().load_state_dict", takes="seconds")
@click.argument("file", type=UserPath(dir_okay=False), metavar="FILE")
@click.option("--weights", type=UserPath(dir_okay=False), metavar="WEIGHTS",
              help="Others of this project.  [default: models/model.safetensors]")
def export(file: Path, weights: Path | None) -> None:
    """Write trained weights as torchvision's alexnet has them, outputs in the order of the sorted
    keys of the classes.

    The net must be of its architecture, one-weird-trick, at any width and with any recipe: what
    torchvision computes of the same pictures is the same only by the recipe torchvision.
    """
    from pipeline.config.paths import WEIGHTS
    from pipeline.training.exporting import export_torchvision

    export_torchvision(weights or WEIGHTS, file)


for _command in (run, export):
    ports.add_command(_command)


def _show(rows: list[PortRow], machine: str) -> None:
    """Print two tables, of what the nets are and of what is known of their accuracy."""
    from rich.console import Console

    from pipeline.system.tables import print_table, terminal_table
    from pipeline.system.terminal import cell

    console = Console(highlight=False)
    sizes = terminal_table()
    sizes.add_column("recipe", no_wrap=True)
    for heading in ("parameters", "MACs", "images/s", "top-1, %", "top-5, %"):
        sizes.add_column(heading, justify="right", no_wrap=True)
    about = terminal_table("recipe")
    about.add_column("what it is", max_width=21)  # leaves room for the names of files
    about.add_column("its accuracy is that of")
    for row in rows:
        top1, top5, views, source = row.published
        speed = f"{row.images_per_second:.1f}" if row.images_per_second else ""
        sizes.add_row(row.recipe, f"{row.parameters:,}", f"{row.macs:,}", speed,
                      *("–" if accuracy is None else f"{accuracy:g}" for accuracy in (top1, top5)))
        about.add_row(row.recipe, cell(row.title), cell(f"{views}; {source}"))
        for each in row.ours:
            about.add_row("", "here, centre crop", cell(_ours(each)))
    print_table(sizes, console)
    console.print(f"Accuracies are as published. Images/s in training: {machine}", markup=False)
    print_table(about, console)
    if not any(row.ours for row in rows):
        console.print("None has been run here yet; `alexnet ports run` does.")


def _ours(each: Any) -> str:
    accuracy = f"{each.scale}: {100 * (1 - each.top1_error):.1f} % of {each.seeds} seeds"
    row = each.against_source
    if row is None:
        return accuracy
    low_high = f" ({row.interval[0]:+.1f} to {row.interval[1]:+.1f})" if row.interval else ""
    difference = f", {row.ours:+.1f} points of error{low_high}" if row.ours is not None else ""
    return f"{accuracy}{difference}, {row.words}"
