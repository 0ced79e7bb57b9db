"""Do the curves in MLflow slow the training that they show? The stage `train` with the thread that
sends them, or not.

    python -m benchmarks.live [--json] [--rounds N] [--epochs N]

In a copy of this project with a sample of 60 pictures and one training process; every update is
traced, which is fifty times as often as usual. Besides the time of the training its processor time
is told, the thread's included, which other jobs on the machine change less.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.harness import ratio, report
from pipeline.config.stages import PREPARATION
from tests.end_to_end.project import Project

TIMED = """
import contextlib, sys, time
from pipeline.config import parameters
from pipeline.records import live_curves
from pipeline.stages import runner, train
if sys.argv[1] == "without":
    live_curves.follow_curves = lambda record, folder: contextlib.nullcontext()
inner = train.run
def run(read):
    start, used = time.perf_counter(), time.process_time()
    found = inner(read)
    print("took", time.perf_counter() - start, "used", time.process_time() - used)
    return found
train.run = run
runner.run("train", parameters.load())
"""


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--epochs", default=100, show_default=True)
def main(as_json: bool, rounds: int, epochs: int) -> None:
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    used: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as made:
        project = Project(Path(made))
        project.set(**{"train.epochs": epochs, "train.trace_every": 1, "train.validate_every": 5,
                       "execution.checkpoint_every": 100})
        for stage in PREPARATION:
            project.run("alexnet", stage)
        for _ in range(rounds):
            for name in seconds:
                found = re.search(r"took ([\d.]+) used ([\d.]+)",
                                  project.run(sys.executable, "-c", TIMED, name))
                assert found
                seconds[name].append(float(found[1]))
                used[name].append(float(found[2]))
    rows = [{"curves in MLflow": name, "training, s": statistics.median(seconds[name]),
             "processor time, s": statistics.median(used[name])} for name in seconds]
    report(rows, {"with / without": ratio(seconds["with"], seconds["without"]),
                  "with / without, processor time": ratio(used["with"], used["without"])},
           1, as_json)


if __name__ == "__main__":
    main()
