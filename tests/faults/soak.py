"""An hour of training with kills at random instants, beside the same training undisturbed: same
weights, flat memory.

    python -m tests.faults.soak --minutes 60 --seed 1

Both are the real command, `alexnet train`, each in a copy of the project with a tiny sample, in one
process of one thread. One gets SIGKILL, SIGINT or SIGTERM at random instants, each time is checked
to end by the convention, and is given again; the other runs through. Memory and file descriptors of
both are sampled every few seconds, from the first checkpoint after a start on. So that the hour is
an hour, and leaves the machine to others, both are held back (SIGSTOP, SIGCONT) to an even pace.

Memory is told twice: resident, which the kernel shrinks when others press for room, and the part of
it that is no file's (RssAnon), which only the process gives back: that is the one that a leak makes
grow.

Prints a line a kill, then a summary as JSON; exits 1 if the weights or traces differ, or something
has grown.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import click
import psutil

from pipeline.config.stages import PREPARATION
from pipeline.system.processes import kill_with_children
from pipeline.system.terminal import say
from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project

WORKLOAD = {"execution.placement": "one", "execution.checkpoint_every": 20,
            "train.validate_every": 40, "train.trace_every": 10}
IMAGES, BATCH = 39, 8  # of the tiny sample, one of whose pictures is broken
SECONDS_BETWEEN_KILLS = 60.0  # on average
SECONDS_BETWEEN_SAMPLES = 5.0
SECONDS_TO_END = 600.0  # on a machine that has much else to do
STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}
GROWTH = 1.02  # of one median over another that still is flat


def heard() -> None:
    """In a child: Ctrl-C is not ignored, as it is where a shell has started this in the
    background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def listens(process: int) -> bool:
    """Whether it has begun to handle SIGTERM, the last of them: before, it ends by the signal
    itself."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


@dataclass
class Sample:
    """Of one moment: seconds since the soak began, whether the process has come to training yet,
    and what it holds."""

    at: float
    trains: bool
    resident: int  # bytes
    anonymous: int  # bytes of those that are no file's
    descriptors: int


HELD: dict[str, Callable[[Sample], float]] = {
    "resident_mb": lambda one: one.resident / 1e6, "anonymous_mb": lambda one: one.anonymous / 1e6,
    "descriptors": lambda one: one.descriptors}


@dataclass
class Run:
    """A training that is paced, sampled and perhaps killed."""

    project: Project
    steps: int
    began: float
    child: Popen[str] | None = None
    first: int = 0  # the update from which it went on
    held: bool = False
    samples: list[Sample] = field(default_factory=list)
    starts: int = 0

    def start(self) -> None:
        self.child = Popen(["alexnet", "train"], cwd=self.project.folder,
                           env=self.project.environment, text=True,
                           stdout=(self.project.folder / "said.txt").open("a"),
                           stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heard)
        self.held, self.starts = False, self.starts + 1
        self.first = self.step

    @property
    def step(self) -> int:
        """Of the newest checkpoint; all when the training has ended."""
        if (self.project.folder / "metrics" / "train.json").exists():
            return self.steps
        files = sorted(self.project.folder.glob("work/checkpoints/*/step-*.safetensors"))
        return int(files[-1].stem.removeprefix("step-")) if files else 0

    def hold_back(self, share: float) -> None:
        """Let it run only while it is behind this share of its updates."""
        assert self.child is not None
        ahead = self.step > share * self.steps
        if self.child.poll() is None and ahead != self.held:
            self.held = ahead
            self.child.send_signal(signal.SIGSTOP if ahead else signal.SIGCONT)

    def sample(self) -> None:
        assert self.child is not None
        now = time.monotonic()
        try:
            process = psutil.Process(self.child.pid)
            everyone = [process, *process.children(recursive=True)]
            memory = [one.memory_info() for one in everyone]
            self.samples.append(Sample(now - self.began, self.step > self.first,
                                       sum(one.rss for one in memory),
                                       sum(one.rss - one.shared for one in memory),
                                       sum(one.num_fds() for one in everyone)))
        except psutil.Error:  # it has just ended
            return

    def kill(self, number: signal.Signals) -> int:
        """Send the signal; returns the exit status."""
        assert self.child is not None
        self.child.send_signal(number)
        self.child.send_signal(signal.SIGCONT)
        return self.child.wait(SECONDS_TO_END)


def grown(samples: Sequence[Sample]) -> dict[str, float]:
    """Of processes that train: the medians of the first and the last quarter of the samples, the
    most, and the slope from the first quarter's end on, an hour."""
    training = [one for one in samples if one.trains]
    quarter = len(training) // 4
    first, rest, last = training[:quarter], training[quarter:], training[-quarter:]
    told: dict[str, float] = {"samples": len(training)}
    for name, of in HELD.items():
        slope = statistics.linear_regression([one.at / 3600 for one in rest],
                                             [of(one) for one in rest]).slope
        told |= {f"{name}_first_quarter": round(statistics.median(map(of, first)), 1),
                 f"{name}_last_quarter": round(statistics.median(map(of, last)), 1),
                 f"{name}_most": round(max(map(of, training)), 1),
                 f"{name}_slope_an_hour": round(slope, 2)}
    return told


def flat(undisturbed: dict[str, float], killed: dict[str, float]) -> bool:
    """The undisturbed training does not grow; and the killed one, whose processes are young and
    have yet to reach their size, ends with no more than that: what its starts find on the disk does
    not grow."""
    return all(told[f"{name}_last_quarter"] <= GROWTH * undisturbed[f"{name}_{quarter}_quarter"]
               for name in ("anonymous_mb", "descriptors")
               for told, quarter in ((undisturbed, "first"), (killed, "last")))


@click.command()
@click.option("--minutes", default=60.0, show_default=True, help="How long it goes on.")
@click.option("--steps", default=5000, show_default=True,
              help="Updates of the training, spread over that time.")
@click.option("--seed", default=1, show_default=True, help="Of the instants and the signals.")
@click.option("--between", default=SECONDS_BETWEEN_KILLS, show_default=True,
              help="Seconds between kills, on average.")
def main(minutes: float, steps: int, seed: int, between: float) -> None:
    """Train for so long with kills; exit 1 if it does not end as the undisturbed training does."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    place = Path(tempfile.mkdtemp(prefix="alexnet-soak-"))
    say(f"in {place}, which stays if anything is not as it should be")
    base = Project(place / "undisturbed")
    base.set(**WORKLOAD, **{"train.epochs": steps * BATCH / IMAGES})
    for stage in PREPARATION:
        base.run("alexnet", stage)
    began = time.monotonic()
    runs = [Run(base, steps, began), Run(copy(base, place / "killed"), steps, began)]
    try:
        summary = _soak(*runs, minutes * 60, random.Random(seed), between)
    finally:
        for run in runs:
            if run.child is not None:
                run.child.send_signal(signal.SIGCONT)
                kill_with_children(run.child)
    print(json.dumps(summary, indent=2))
    if not (summary["identical"] and summary["flat"]):
        sys.exit(1)
    shutil.rmtree(place)


def _soak(undisturbed: Run, killed: Run, seconds: float, draw: random.Random,
          between: float) -> dict[str, Any]:
    signals: list[signal.Signals] = []
    for run in (undisturbed, killed):
        run.start()
    next_kill, next_sample = between, 0.0
    while any(run.child is not None and run.child.poll() is None for run in (undisturbed, killed)):
        time.sleep(0.2)
        now = time.monotonic() - killed.began
        for run in (undisturbed, killed):
            run.hold_back(now / seconds)
        if now >= next_sample:
            next_sample = now + SECONDS_BETWEEN_SAMPLES
            for run in (undisturbed, killed):
                run.sample()
        assert killed.child is not None
        if (now >= next_kill and killed.child.poll() is None and listens(killed.child.pid)
                and killed.step < killed.steps):
            next_kill = now + draw.expovariate(1 / between)
            number = draw.choice(list(STATUS))
            before, status = killed.step, killed.kill(number)
            if killed.step == killed.steps:
                continue  # it was ending just then
            assert status == STATUS[number], f"{number.name}: exit status {status}"
            signals.append(number)
            print(f"{len(signals):3} {now:7.1f} s  {number.name:7}  step {before} of "
                  f"{killed.steps}", flush=True)
            killed.start()
        if killed.step == killed.steps and killed.child.poll() not in (None, 0):
            killed.start()  # what had been left of its end
    said = (killed.project.folder / "said.txt").read_text()
    for run in (undisturbed, killed):
        assert run.child is not None
        assert run.child.returncode == 0, (run.project.folder / "said.txt").read_text()[-3000:]
    assert "Traceback" not in said, said[-3000:]
    ends = [run.project.metrics("train") for run in (undisturbed, killed)]
    found = {name: grown(run.samples)
             for name, run in (("undisturbed", undisturbed), ("killed", killed))}
    return {"minutes": round((time.monotonic() - killed.began) / 60, 1), "steps": killed.steps,
            "kills": {number.name: signals.count(number) for number in STATUS},
            "starts": killed.starts, "gone_on_from_a_checkpoint":
            said.count("going on from the checkpoint"), "identical": ends[0] == ends[1],
            "weights_digest": [end["weights_digest"] for end in ends],
            "trace_digest": [end["trace_digest"] for end in ends], "flat": flat(**found), **found}


if __name__ == "__main__":
    main()
