"""The commands of the stages: one each, with the options that a stage has by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pipeline.commands.group import Command
from pipeline.commands.options import parameter_options


@dataclass(frozen=True)
class Stage:
    """What its help says, and its options: those that are shorthand for `--set
    execution.KEY=VALUE`, and others."""

    summary: str
    reads: str
    leaves: str
    takes: str
    execution: tuple[Any, ...] = ()
    options: tuple[Any, ...] = ()
    more: str = field(default="", kw_only=True)


DEVICE = click.option("--device", metavar="[auto|cpu|cuda]",
                      help="auto: the GPU where there is one.")
VERIFY = click.option("--verify", is_flag=True, help="Make nothing: check what is there against "
                                                     "every stored pixel, slowly and by other "
                                                     "means.")
STAGES = {
    "download": Stage(
        "Fetch or make the data set, verify it, list it.",
        "dataset.* of params.yaml; archives/ or the folder dataset.location; credentials from the "
        "environment",
        "data/download (the listing with checksums, the index of all pictures), "
        "metrics/download.json",
        "seconds for the sample; for ImageNet the download, and some minutes to verify 155 GB",
        options=(click.option("--dry-run", is_flag=True,
                              help="Only tell what would be fetched, its size, the disk that it "
                                   "and the image store need, and what is free."),
                 click.option("--json", "as_json", is_flag=True,
                              help="Print JSON, with --dry-run."))),
    "resize": Stage(
        "Decode, resize to 256, crop the centre: the image store.",
        "data/download and the pictures that it lists; dataset.*, resize.* and store.* of "
        "params.yaml",
        "data/store (pixels, index, quarantine, exact sums), metrics/resize.json",
        "seconds for the sample; about 1.2 core-hours and 262 GB for ImageNet (extrapolated, "
        "docs/preparation.md)",
        (click.option("--workers", metavar="[auto|N]", help="Processes; auto: one a core."),
         click.option("--scheduler", metavar="ADDRESS",
                      help="A Dask cluster whose workers do it instead, as tcp://node1:8786.")),
        more="The shorter side goes to 256 (resize.side), by a bicubic filter. A picture that "
             "cannot be decoded is quarantined, with its reason."),
    "mean": Stage(
        "The mean image of the training set.",
        "the sums in data/store (--verify: every pixel there)",
        "data/mean.npy, data/mean.png, metrics/mean.json (--verify: nothing)",
        "seconds, whatever the data set; --verify about a millisecond an image", options=(VERIFY,)),
    "pca": Stage(
        "The principal components of colour of the training set.",
        "the sums in data/store (--verify: every pixel there)",
        "data/pca.json, metrics/pca.json (--verify: nothing)",
        "seconds, whatever the data set; --verify about a millisecond an image", options=(VERIFY,)),
    "train": Stage(
        "Train the network; a stopped run goes on.",
        "data/store, data/mean.npy, data/pca.json; network.*, recipe.* and train.* of params.yaml",
        "models/model.safetensors, models/trace.jsonl, models/provenance.json, plots/learning.csv, "
        "metrics/train.json; checkpoints in work/checkpoints until it has ended",
        "1 to 2 minutes for the sample on two cores; days to weeks for ImageNet: docs/imagenet.md",
        (click.option("--placement",
                      metavar="[auto|one|two]", help="one: a process with both columns; two: a "
                                                     "process for each; auto: two where it helps."),
         DEVICE, click.option("--threads", metavar="N",
                              help="Of each training process; more may change last bits."),
         click.option("--deterministic", metavar="[true|false]",
                      help="false: faster algorithms, other bits each time.")),
        more="Ctrl-C or a kill loses little: the same command goes on from the last checkpoint. "
             "Under torchrun it trains on many devices or machines (docs/machines.md)."),
    "evaluate": Stage("Centre-crop and ten-crop errors on the validation set.",
                      "models/model.safetensors, data/store, data/mean.npy",
                      "metrics/evaluate.json, models/predictions.safetensors (of each image)",
                      "seconds for the sample; for ImageNet eleven forward passes for each of "
                      "50,000 images", (DEVICE,)),
    "report": Stage(
        "One page of a run, beside the paper; or RUNs side by side.",
        "what all stages left, the claims in experiments/; with RUNs: their records",
        "report/index.html, report/figures, metrics/report.json; with RUNs: report/comparison",
        "about 10 seconds for the sample",
        options=(click.argument("runs", nargs=-1, metavar="[RUN]..."), click.option(
            "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
            help="The folder of the page of RUNs.  [default: report/comparison]")),
        more="Without a RUN it is the last stage of the pipeline. A RUN is the id of a recorded "
             "one, the beginning of an id, `latest`, or a folder made by `alexnet export`; up to "
             "six stand side by side."),
}


def _command(name: str, stage: Stage) -> click.Command:
    def run(file: Path, overrides: tuple[str, ...], verify: bool = False, dry_run: bool = False,
            as_json: bool = False, runs: tuple[str, ...] = (), output: Path | None = None,
            **execution: str | None) -> None:
        from pipeline.config import parameters
        from pipeline.data import verification
        from pipeline.stages import runner as stages

        if runs or output:
            return _side_by_side(runs, output)
        if verify:
            return {"mean": verification.verify_mean, "pca": verification.verify_pca}[name]()
        more = [f"execution.{key}={value}" for key, value in execution.items() if value is not None]
        read = parameters.load(file, [*overrides, *more])
        if dry_run:
            from pipeline.data.sources import fetching

            click.echo(json.dumps(fetching.dry_run_json(read), indent=2) if as_json
                       else fetching.dry_run(read))
        elif as_json:
            raise click.UsageError("--json goes with --dry-run; the stage itself leaves "
                                   "metrics/download.json")
        else:
            stages.run(name, read)

    for option in (parameter_options, *reversed((*stage.execution, *stage.options))):
        run = option(run)
    run.__doc__ = f"{stage.summary}\n\n{stage.more}"
    return click.command(name, cls=Command, short_help=stage.summary, reads=stage.reads,
                         leaves=f"{stage.leaves}; a record in MLflow's store",
                         takes=stage.takes)(run)


def _side_by_side(runs: tuple[str, ...], output: Path | None) -> None:
    from pipeline.report import comparison

    if not runs:
        raise click.UsageError("--output goes with RUNs; the stage itself leaves report/index.html")
    click.echo(comparison.recorded(runs, output or comparison.FOLDER))


COMMANDS = tuple(_command(name, stage) for name, stage in STAGES.items())
