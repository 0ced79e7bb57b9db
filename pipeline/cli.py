"""The `alexnet` command: one subcommand a stage, and a few that look at the whole.

Everything heavy is imported inside the commands, so that `alexnet --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline import run_commands
from pipeline.claims.commands import claims
from pipeline.errors import UserError
from pipeline.gate.commands import check, golden_group
from pipeline.options import JSON, parameter_options

STAGES = {
    "download": "Fetch or make the data set, verify it, list it with checksums.",
    "resize": "Decode, resize the shorter side to 256, crop the centre; write the image store.",
    "mean": "The mean image of the training set.",
    "pca": "The principal components of colour of the training set.",
    "train": "Train the network.",
    "evaluate": "Centre-crop and ten-crop errors on the validation set.",
    "report": "One page with figures and the paper's numbers beside ours.",
}
# Options of single stages: shorthand for `--set execution.KEY=VALUE`, with help where it belongs.
EXECUTION_OPTIONS = {
    "resize": [click.option("--workers", help="Worker processes: a number or auto."),
               click.option("--scheduler", metavar="ADDRESS",
                            help="A Dask cluster whose workers do it instead, as tcp://node1:8786.")],
    "train": [click.option("--placement", help="one process with both columns, two (one column each), or auto."),
              click.option("--device", help="cpu, cuda or auto."),
              click.option("--threads", help="Threads of each training process."),
              click.option("--deterministic", help="true; or false: faster algorithms, other bits each time.")],
    "evaluate": [click.option("--device", help="cpu, cuda or auto.")],
}


class Commands(click.Group):
    """Prints a UserError as one plain message and exits 1; Ctrl-C exits 130."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.secho("interrupted; the same command goes on where it stopped", fg="yellow", err=True)
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="alexnet-harness")
def main() -> None:
    """AlexNet as it was in 2012, and reruns that are identical to the bit.

    `dvc repro` runs all stages that have something to do; each stage is also a command here. Run them in the
    project's top folder, where params.yaml is.
    """


def _add_stage(name: str, summary: str) -> None:
    def command(file: Path, overrides: tuple[str, ...], verify: bool = False, dry_run: bool = False,
                **execution: str | None) -> None:
        from pipeline import parameters, recomputation, stage

        if verify:
            return {"mean": recomputation.verify_mean, "pca": recomputation.verify_pca}[name]()
        more = [f"execution.{key}={value}" for key, value in execution.items() if value is not None]
        read = parameters.load(file, [*overrides, *more])
        if dry_run:
            from pipeline.sources import planning

            click.echo(planning.told(read))
        else:
            stage.run(name, read)

    command.__doc__ = summary
    command = parameter_options(command)
    if name == "download":
        command = click.option("--dry-run", is_flag=True, help="Only tell what would be fetched, its size, the disk "
                               "that it and the image store need, and what is free.")(command)
    if name in ("mean", "pca"):
        command = click.option("--verify", is_flag=True, help="Make nothing: check what is there against every stored "
                                                              "pixel, slowly and by other means.")(command)
    for option in EXECUTION_OPTIONS.get(name, []):
        command = option(command)
    main.command(name)(command)


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)
for _command in (*run_commands.COMMANDS, check, golden_group, claims):
    main.add_command(_command)


@main.command()
@parameter_options
@click.option("--classes", type=click.IntRange(1, 1_000_000),
              help="Units of the output layer.  [default: the data set's]")
@JSON
def describe(file: Path, overrides: tuple[str, ...], classes: int | None, as_json: bool) -> None:
    """The layer table of the configured net: kernels, shapes, parameters, multiply-adds."""
    import json

    from pipeline import describe as describing
    from pipeline import parameters

    read = parameters.load(file, overrides)
    told = describing.described(read, classes or _classes(read.dataset.source))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        describing.show(told)


def _classes(source: str) -> int:
    """How many classes the data set has: by the listing if it is there, else by its name."""
    from pipeline.files import read_json
    from pipeline.paths import LISTING

    if LISTING.exists():
        return len(read_json(LISTING, made_by="download")["classes"])
    return 10 if source in ("sample", "imagenette", "cifar10") else 1000


@main.command()
def summary() -> None:
    """The metrics of all stages in one table, and where the report and the MLflow store are."""
    from pipeline import summary as summing

    summing.show()


@main.command()
def mend() -> None:
    """Remove files of DVC's own that a killed `dvc repro` left half written; `make repro` does this first."""
    from pipeline import mend as mending

    for file in mending.mend():
        click.echo(f"{file}: was cut off by a kill; removed")


@main.command()
@click.argument("name")
@click.option("--location", type=click.Path(path_type=Path),
              help="The folder with the data set's files, or for them.  [default: archives]")
@click.option("--params", "file", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True,
              help="The parameters to rewrite.")
def configure(name: str, location: Path | None, file: Path) -> None:
    """Rewrite params.yaml for another data set: sample, imagenette, cifar10, imagenet2012 or imagenet2010.

    Only the keys that the preset names change, and they are printed; comments stay. `alexnet configure sample` goes
    back.
    """
    from pipeline import configure as configuring

    changed = configuring.configure(name, location, file)
    for key, (old, new) in changed.items():
        click.echo(f"{key}: {'null' if old is None else old} -> {'null' if new is None else new}")
    if not changed:
        click.echo(f"{file} stands as {name} has it already")


@main.command()
@parameter_options
@click.option("--axes", metavar="AXES", help="Only these axes, separated by commas.  [default: all]")
@click.option("--require", metavar="AXES",
              help="The axes that must be identical, separated by commas; none for none.  [default: all but threads, "
                   "cores, device and mode-off]")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as a page, too.")
@JSON
def matrix(file: Path, overrides: tuple[str, ...], axes: str | None, require: str | None, html: Path | None,
           as_json: bool) -> None:
    """Does this machine reproduce? A small workload, run again along every axis of change, compared bit by bit.

    \b
    For each stage (resize, mean, pca, train, evaluate) and each axis, the result is identical to that of the
    reference run, or differs, and then the first difference is told. Exit code 1: a required axis differs.
    The workload is the configured network and recipe, 1/16 as wide, on 60 generated pictures; --set changes it
    (--set execution.device=cuda for a reference run on the GPU). It takes some minutes.
    """
    from pipeline import matrix as matrices

    sys.exit(matrices.command(file, overrides, axes, require, html, as_json))


if __name__ == "__main__":
    main()
