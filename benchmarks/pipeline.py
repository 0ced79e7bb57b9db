"""What the pipeline costs beside its work: `dvc repro` with nothing to do, each stage's overhead,
`alexnet --help`.

    python -m benchmarks.pipeline [--json] [--rounds N]

In a copy of this project with a sample of 60 pictures. A stage's overhead is the time of its
command less that of its own `run`: interpreter, imports, checks, record in MLflow. The peer of `dvc
repro` is DVC itself on as many stages that only depend on each other; that of `alexnet --help` is a
Python that imports click.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.harness import interleaved, ratio, report
from pipeline.config.stages import NAMES as STAGES
from tests.end_to_end.project import Project

DVC = (sys.executable, "-m", "dvc")
TIMED = """
import importlib, sys, time
from pipeline.config import parameters
from pipeline.stages import runner
module = importlib.import_module("pipeline.stages." + sys.argv[1])
inner = module.run
def run(read):
    start = time.perf_counter()
    found = inner(read)
    print("own seconds", time.perf_counter() - start)
    return found
module.run = run
runner.run(sys.argv[1], parameters.load())
"""


def bare_pipeline(folder: Path) -> None:
    """As many stages, each with a dependency and an output of a few bytes."""
    (folder / "0").write_text("0")
    stages = "".join(f"  s{n}:\n    cmd: cp {n} {n + 1}\n    deps: ['{n}']\n    outs: ['{n + 1}']\n"
                     for n in range(len(STAGES)))
    (folder / "dvc.yaml").write_text("stages:\n" + stages)
    for command in (["git", "init", "-q"], [*DVC, "init", "-q"], [*DVC, "repro", "-q"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def command(folder: Path, *words: str) -> Callable[[], Any]:
    return lambda: subprocess.run(words, cwd=folder, check=True, capture_output=True)


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--rounds", default=5, show_default=True)
def main(as_json: bool, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        bare = Path(made) / "bare"
        bare.mkdir()
        bare_pipeline(bare)
        (Path(made) / "project").mkdir()
        project = Project(Path(made) / "project")
        project.run("dvc", "repro")
        project.run("dvc", "repro")
        seconds = interleaved({
            "dvc repro, nothing to do": lambda: project.run("dvc", "repro"),
            "DVC alone, as many stages, nothing to do": command(bare, *DVC, "repro"),
            "alexnet --help": lambda: project.run("alexnet", "--help"),
            "python -c 'import click'": command(bare, sys.executable, "-c", "import click")},
                              rounds)
        rows: list[dict[str, Any]] = [{"what": name, "s": statistics.median(times),
                                       "of it, the stage's own work": None}
                                      for name, times in seconds.items()]
        for name in STAGES:
            start = time.perf_counter()
            said = project.run(sys.executable, "-c", TIMED, name)
            whole = time.perf_counter() - start
            found = re.search(r"own seconds ([\d.]+)", said)
            assert found, said
            rows.append({"what": f"alexnet {name}", "s": whole,
                         "of it, the stage's own work": float(found[1])})
    report(rows, {"dvc repro with nothing to do / DVC alone": ratio(
        seconds["dvc repro, nothing to do"], seconds["DVC alone, as many stages, nothing to do"]),
                  "alexnet --help / import click": ratio(seconds["alexnet --help"],
                                                         seconds["python -c 'import click'"])},
           1, as_json)


if __name__ == "__main__":
    main()
