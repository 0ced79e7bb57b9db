"""The commands of the stages: one each, with the options that a stage has by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pipeline.commands.group import Command
from pipeline.commands.options import RunName, UserPath, parameter_options
from pipeline.config.stages import STAGES, Stage

EXECUTION = {  # short for --set execution.KEY=VALUE
    "workers": click.option("--workers", metavar="[auto|N]", help="Processes; auto: one a core."),
    "scheduler": click.option("--scheduler", metavar="ADDRESS",
                              help="A Dask cluster whose workers do it instead, as "
                                   "tcp://node1:8786."),
    "placement": click.option("--placement", metavar="[auto|one|two]",
                              help="one: a process with both columns; two: a process for each; "
                                   "auto: two where it helps."),
    "device": click.option("--device", metavar="[auto|cpu|cuda]",
                           help="auto: the GPU where there is one."),
    "threads": click.option("--threads", metavar="N",
                            help="Of each training process; more may change last bits."),
    "deterministic": click.option("--deterministic", metavar="[true|false]",
                                  help="false: faster algorithms, other bits each time.")}
OPTIONS: dict[str, Any] = EXECUTION | {
    "dry-run": click.option("--dry-run", is_flag=True,
                            help="Only tell what would be fetched, its size, the disk that it and "
                                 "the image store need, and what is free."),
    "json": click.option("--json", "as_json", is_flag=True, help="Print JSON, with --dry-run."),
    "weights": click.option("--weights", type=UserPath(dir_okay=False), metavar="FILE",
                            help="Test these weights instead, a .safetensors file or torchvision's "
                                 ".pth; print the errors, leave nothing."),
    "verify": click.option("--verify", is_flag=True,
                           help="Make nothing: check what is there against every stored pixel, "
                                "slowly and by other means."),
    "runs": click.argument("runs", nargs=-1, metavar="[RUN]...", type=RunName()),
    "output": click.option("--output", type=UserPath(file_okay=False),
                           metavar="DIR",
                           help="The folder of the page of RUNs.  [default: report/comparison]")}


def _command(stage: Stage) -> click.Command:
    def run(file: Path, overrides: tuple[str, ...], verify: bool = False, dry_run: bool = False,
            as_json: bool = False, runs: tuple[str, ...] = (), output: Path | None = None,
            weights: Path | None = None, **execution: str | None) -> None:
        from pipeline.config import parameters
        from pipeline.data import verification
        from pipeline.stages import runner

        if runs or output:
            return _side_by_side(runs, output)
        if verify:
            return {"mean": verification.verify_mean, "pca": verification.verify_pca}[stage.name]()
        read = parameters.load(file, overrides, {key: value for key, value in execution.items()
                                                 if value is not None})
        if weights:
            from pipeline.stages import evaluate

            click.echo(json.dumps(evaluate.errors_of(read, weights), indent=2))
        elif dry_run:
            from pipeline.data.sources import fetching

            click.echo(json.dumps(fetching.dry_run_json(read), indent=2) if as_json
                       else fetching.dry_run(read))
        elif as_json:
            raise click.UsageError("--json goes with --dry-run; the stage itself leaves "
                                   "metrics/download.json")
        else:
            runner.run(stage.name, read)

    for option in (parameter_options, *(OPTIONS[name] for name in reversed(stage.options))):
        run = option(run)
    run.__doc__ = f"{stage.summary}\n\n{stage.more}"
    return click.command(stage.name, cls=Command, short_help=stage.summary, reads=stage.reads,
                         leaves=f"{stage.leaves}; a record in MLflow's store",
                         takes=stage.takes)(run)


def _side_by_side(runs: tuple[str, ...], output: Path | None) -> None:
    from pipeline.report import comparison

    if not runs:
        raise click.UsageError("--output goes with RUNs; the stage itself leaves report/index.html")
    click.echo(comparison.recorded(runs, output or comparison.FOLDER))


COMMANDS = tuple(_command(stage) for stage in STAGES)
