"""Kills `dvc repro` at random instants, lets it go on, and compares all that it leaves with an
uninterrupted run.

    python -m tests.end_to_end.kill_and_resume --kills 50 --seed 1
    python -m tests.end_to_end.kill_and_resume --kills 20 --after download --until pca

Each time, in a fresh copy of the project with a tiny sample, `dvc repro` is started, SIGKILL goes
to every process of it, and `dvc repro` is given again, with nothing cleaned up in between; only
where DVC refuses a file of its own that the kill cut off does `alexnet mend` come first, and the
line says so. The instants are spread over the whole run: one at random in each of as many equal
parts of it as there are kills. Prints a line for each kill, and exits 1 if anything differs or any
process outlived its kill. `--until pca` kills the preparation alone, of more pictures; with
`--after download` those are drawn once, before the kills.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from pipeline.system.processes import kill_children, kill_with_children
from pipeline.system.terminal import progress, say
from tests.end_to_end.project import Project

WORKLOAD = {"train.epochs": 8, "train.micro_batches": 2, "train.trace_every": 1,
            "execution.checkpoint_every": 2, "execution.placement": "two"}
PREPARATION = {"dataset.sample.train_images": 2600, "dataset.sample.val_images": 500,
               "execution.workers": 2}
LEFT = ("data", "metrics", "models", "plots", "report")  # all that the stages leave
LOCK = "dvc.lock"


@dataclass(frozen=True)
class Kill:
    """One kill and what became of it."""

    instant: float  # seconds after the start
    stage: str
    found: str  # finished shards, the newest checkpoint, and files that were half written
    verdict: str

    @property
    def good(self) -> bool:
        return self.verdict == "identical"


def outcome(project: Project) -> dict[str, str]:
    """The SHA-256 of every file that the stages left, and of DVC's own record of them; without what
    this machine has noted of their proofs."""
    files = [file for name in LEFT for file in (project.folder / name).rglob("*")
             if file.is_file() and ".store-proofs" not in file.parts]
    found = {file.relative_to(project.folder).as_posix(): file.read_bytes()
             for file in sorted(files)}
    # in the order in which they ran
    stages = yaml.safe_load((project.folder / LOCK).read_text())["stages"]
    found[LOCK] = json.dumps(stages, sort_keys=True).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def difference(reference: dict[str, str], outcome: dict[str, str]) -> str:
    """"identical", or the files that are not."""
    names = sorted(name for name in reference.keys() | outcome.keys()
                   if reference.get(name) != outcome.get(name))
    return f"differs: {', '.join(names)}" if names else "identical"


def killed(project: Project, until: str, seconds: float) -> tuple[str, str] | None:
    """Start `dvc repro` and kill it then; the stage and the state it was in. None: it had
    finished."""
    child = project.start("dvc", "repro", until)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        alive = kill_with_children(child)
    assert child.stdout is not None
    printed = child.stdout.read()  # ends when no process of the run holds it any more
    if not alive:
        assert child.returncode == 0, printed
        return None
    running = [line.split("'")[1] for line in printed.splitlines()
               if line.startswith("Running stage '")]
    return running[-1] if running else "before the first stage", _found(project.folder)


def _found(folder: Path) -> str:
    shards = len(list(folder.glob("work/resize/*/records/*.json")))
    checkpoints = sorted(folder.glob("work/checkpoints/*/step-*.safetensors"))
    halves = sorted(file.name for file in folder.rglob(".*.part") if ".dvc" not in file.parts)
    return ", ".join([*([f"{shards} shards"] if shards else []),
                      *(file.stem for file in checkpoints[-1:]), *halves])


def copy(project: Project, folder: Path) -> Project:
    """The same project in another folder."""
    shutil.copytree(project.folder, folder, symlinks=True)
    return Project.at(folder)


def one(base: Project, folder: Path, until: str, instant: float, reference: dict[str, str],
        draw: random.Random) -> Kill:
    """Kill at the instant, or, if the run has finished by then, at a random one before it; go on;
    compare."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        project = copy(base, folder)
        hit = killed(project, until, instant)
        if hit:
            break
        instant = draw.uniform(0.0, instant)
    else:
        return Kill(instant, "none", "", "never killed")
    status, printed = _repro(project, until)
    mended = project.run("alexnet", "mend") if status else ""
    if mended:
        status, printed = _repro(project, until)
    verdict = (f"exit status {status}: {printed}" if status
               else difference(reference, outcome(project)))
    if verdict == "identical":
        shutil.rmtree(folder)
    return Kill(instant, hit[0], " ".join([hit[1], *mended.splitlines()]), verdict)


def _repro(project: Project, until: str) -> tuple[int, str]:
    child = project.start("dvc", "repro", until)
    printed = child.communicate()[0]
    return child.returncode, printed


@click.command()
@click.option("--kills", default=50, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Of the instants.")
@click.option("--until", default="report", show_default=True, help="The last stage that is run.")
@click.option("--after", help="The last stage that is run before, once for all.  [default: none]")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1),
              help="Runs at the same time.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False),
              help="Where the copies go; those that differ stay.  [default: a temporary folder]")
def main(kills: int, seed: int, until: str, after: str | None, jobs: int,
         folder: Path | None) -> None:
    """Kill `dvc repro` at random instants; exit 1 if any resumed run differs from the uninterrupted
    one."""
    os.environ["PYTHONUNBUFFERED"] = "1"  # what was printed before the kill is not lost
    folder = (folder or Path(tempfile.mkdtemp(prefix="alexnet-kills-"))).resolve()
    try:
        done = _all(folder, until, after, kills, seed, jobs)
    except BaseException:  # Ctrl-C does not reach the runs, each in a session of its own
        kill_children(os.getpid(), itself=False)
        raise
    good = sum(kill.good for kill in done)
    print(f"{good} of {kills} killed runs ended with the uninterrupted run's bits")
    if good == kills:
        shutil.rmtree(folder)
    else:
        say(f"the others are in {folder}")
    sys.exit(int(good != kills))


def _all(folder: Path, until: str, after: str | None, kills: int, seed: int,
         jobs: int) -> list[Kill]:
    base = Project(folder / "base")
    base.set(**WORKLOAD if until in ("train", "evaluate", "report") else PREPARATION)
    if after:
        base.run("dvc", "repro", after)
    draw = random.Random(seed)
    pool = ThreadPoolExecutor(jobs)
    try:
        references = list(pool.map(lambda k: _uninterrupted(base, until, folder / f"reference-{k}"),
                                   range(jobs)))
        seconds, reference = max(taken for taken, _ in references), references[0][1]
        assert all(found == reference for _, found in references), "two uninterrupted runs differ"
        say(f"uninterrupted: {seconds:.1f} s, {len(reference)} files")
        instants = [seconds * (k + draw.random()) / kills for k in range(kills)]
        draw.shuffle(instants)
        done: list[Kill] = []
        with progress("kills", kills, "kills") as told:
            for kill in pool.map(lambda k: one(base, folder / f"kill-{k}", until, instants[k],
                                               reference, random.Random(seed * kills + k)),
                                 range(kills)):
                done.append(kill)
                print(f"{len(done):3} {kill.instant:6.2f} s  {kill.stage:22}  {kill.verdict}  "
                      f"{kill.found}", flush=True)
                told(1)
        return done
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _uninterrupted(base: Project, until: str, folder: Path) -> tuple[float, dict[str, str]]:
    project, started = copy(base, folder), time.monotonic()
    project.run("dvc", "repro", until)
    return time.monotonic() - started, outcome(project)


if __name__ == "__main__":
    main()
