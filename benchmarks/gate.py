"""How often the gate of `alexnet check` errs: false alarms on stored seeds, detection of planted
regressions.

    python -m benchmarks.gate GOLDEN [--json] [--seeds 1-5] [--plant NAME]

Plants each regression in the configured pipeline, as an error in the code would: the goldens know
nothing of it. Each training is of a seed of its own, so that bits do not tell; that is how another
machine sees it. The planted runs are kept in work/planted, so the command goes on where it stopped,
and judged as `alexnet golden assess` does. Of stored seeds the first update alone is run, too, and
its loss judged; also with the instructions of older processors, which stand in for another machine.
Run it where `dvc repro` has been: the data of the project are used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.harness import report
from pipeline.commands.options import JSON, seeds_option
from pipeline.config.parameters import load
from pipeline.config.paths import DOWNLOAD, MEAN, METRICS, PCA, STORE, WORK
from pipeline.data.moments import Moments
from pipeline.data.statistics import mean_digest, mean_image
from pipeline.data.store import MOMENTS
from pipeline.studies import run_sets
from pipeline.studies.gate import assessment, golden
from pipeline.studies.gate.checking import check
from pipeline.studies.run_sets import Run, RunSet
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.terminal import say
from pipeline.training.execution import process_count, resolve
from pipeline.training.launcher import describe_exit, launch

KEPT = WORK / "planted"
SHIFT = 16  # grey levels
# What `alexnet train` and `evaluate` are given in place of what is configured.
PLANTED = {"bias learning rate halved": ["recipe.bias_lr=0.01"],
           "no normalisation": ["network.normalization=false"], "mean image shifted": [],
           "one crop in place of ten": [], "nothing": []}
ELSEWHERE = {"cpu": "another machine, in name only"}  # of the same decoder
OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
FIRST_LOSSES = 5  # seeds


@click.command(help=__doc__)
@click.argument("file", metavar="GOLDEN", type=click.Path(path_type=Path, dir_okay=False))
@seeds_option("[default: 101-105]")
@click.option("--plant", "names", multiple=True, type=click.Choice(list(PLANTED)),
              help="Only this; may be repeated.")
@JSON
def main(file: Path, seeds: tuple[int, ...] | None, names: tuple[str, ...], as_json: bool) -> None:
    stored = run_sets.read(file)
    rows = assessment.false_alarms(stored)
    started = time.perf_counter()
    check([stored.runs[0]], stored.environment | ELSEWHERE, [stored])
    seconds = time.perf_counter() - started
    for name in names or tuple(PLANTED):
        planted = RunSet(name, stored.configuration, stored.configuration_digest,
                         stored.environment, _runs(name, seeds or tuple(range(101, 106))))
        found = assessment.detection(stored, planted)
        rows += [*found, _whole(stored, planted)]
        if name != "one crop in place of ten":  # training knows nothing of it
            rows.append(_first_losses(name, stored, {}))
    if not names:
        rows.append(_first_losses("nothing", stored, OLDER))
    rates = {f"{row['sample']}, {row['runs']} together: {row['what']}": row["rate"] for row in rows}
    shown = [{**row, "interval": str(row["interval"] or "")} for row in rows]
    report(shown, rates | {"seconds to judge a run": seconds}, 1, as_json)


def _whole(stored: RunSet, planted: RunSet) -> dict[str, Any]:
    """As `alexnet check` on another machine with this decoder, which holds pixels and mean image to
    the bit besides."""
    falls = sum(check([run], stored.environment | ELSEWHERE, [stored]).status == 1
                for run in planted.runs)
    return _row("detected by the whole check", planted.name, falls, len(planted.runs))


def _first_losses(name: str, stored: RunSet, variables: dict[str, str]) -> dict[str, Any]:
    """As the whole check on another machine, of runs whose seeds are stored and whose metrics are
    as good."""
    falls, runs = 0, stored.runs[:FIRST_LOSSES]
    for run in runs:
        say(f"planted: {name}, first update of seed {run.seed}")
        entry = _first_entry(name, run.seed, variables)
        falls += check([replace(run, trace=run_sets.trace_lines([entry]))],
                       stored.environment | ELSEWHERE, [stored]).status == 1
    return _row("detected by the first loss", f"{name}, older instructions" if variables else name,
                falls, len(runs))


def _row(what: str, name: str, falls: int, of: int) -> dict[str, Any]:
    return {"what": what, "sample": name, "runs": 1, "falls": falls, "of": of, "rate": falls / of,
            "interval": None}


def _runs(name: str, seeds: Sequence[int]) -> list[Run]:
    if name == "one crop in place of ten":  # what it changes is in the metrics already
        return [_one_crop(run) for run in _runs("nothing", seeds)]
    base = load()
    file = (KEPT / name.replace(" ", "-")
            / f"{run_sets.environment_key(golden.environment_here(base))}.json")
    made = list(run_sets.read(file).runs) if file.exists() else []
    for seed in seeds:
        if seed not in [run.seed for run in made]:
            say(f"planted: {name}, seed {seed}")
            made.append(_run(name, seed))
            run_sets.write(RunSet(name.replace(" ", "-"), {}, "", golden.environment_here(base),
                                  made), KEPT)
    return [run for run in made if run.seed in seeds]


def _one_crop(run: Run) -> Run:
    metrics = dict(run.metrics)
    metrics["evaluate"] = {key: metrics["evaluate"].get(key.removesuffix("_10crop"), value)
                           for key, value in metrics["evaluate"].items()} | {"distance_10crop": 0.0}
    return Run(run.seed, metrics)


def _run(name: str, seed: int) -> Run:
    """The stages from the mean image on, by their commands."""
    folder, shifted = _folder(name)
    options = [part for change in _changes(name, seed) for part in ("--set", change)]
    for stage in ("train", "evaluate"):
        # by the code here, in a folder that is no project
        done = subprocess.run([sys.executable, "-m", "pipeline.commands.main", stage, *options],
                              cwd=folder, check=False,
                              env=os.environ | {"PYTHONPATH": str(Path.cwd())})
        if done.returncode:
            raise UserError(f"{name}, seed {seed}: {stage} failed, as told above")
    run = run_sets.run_of(lambda path: (folder / path).read_bytes(), seed, {"planted": name},
                          with_trace=False)
    run.metrics["mean"]["mean_digest"] = shifted or run.metrics["mean"]["mean_digest"]
    return Run(run.seed, run.metrics, record=run.record)


def _first_entry(name: str, seed: int, variables: dict[str, str]) -> dict[str, Any]:
    """Of the trace of that training."""
    folder, _ = _folder(name)
    training = folder.resolve() / "training"
    parameters = resolve(load(overrides=_changes(name, seed)))
    write_json(training / "parameters.json", parameters.model_dump(mode="json"))
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"} | variables
    if status := launch(training, process_count(parameters.execution), environment, stop=1,
                        here=folder):
        raise UserError(f"{name}, seed {seed}: {describe_exit(status)}")
    return dict(json.loads((training / "trace.jsonl").read_text(encoding="utf-8").splitlines()[0]))


def _changes(name: str, seed: int) -> list[str]:
    return [*PLANTED[name], f"train.seed={seed}"]


def _folder(name: str) -> tuple[Path, str | None]:
    """A new one that borrows the project's data; and the digest of the mean image where that is
    shifted."""
    folder = KEPT / "run"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    for path in (DOWNLOAD, PCA, *STORE.iterdir()):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).symlink_to(path.resolve())
    shutil.copy("params.yaml", folder)
    shutil.copytree(METRICS, folder / METRICS)
    shutil.copy(MEAN, folder / MEAN)
    if name == "mean image shifted":
        # or training would refuse a mean that is not the store's
        moments = _shifted(Moments.load(STORE / MOMENTS))
        moments.save(folder / STORE / MOMENTS)
        shifted = mean_image(moments)
        np.save(folder / MEAN, shifted)
        return folder, mean_digest(shifted)
    return folder, None


def _shifted(moments: Moments) -> Moments:
    """Those of the same images, brighter: another mean, the same colour components."""
    channels, pixels = moments.sums.sum(axis=(0, 1)), moments.count * moments.pixels
    products = moments.products + SHIFT * (channels[:, None]
                                           + channels[None, :]) + SHIFT**2 * pixels
    return Moments(moments.count, moments.sums + SHIFT * moments.count, products)


if __name__ == "__main__":
    main()
