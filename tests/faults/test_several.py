"""Two pipelines in one clone, and locks of processes that are no more."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project
from tests.faults.harness import Bench

TRAIN = ("train", "--placement", "one")
TRAINED = ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json")


def test_two_trainings_in_one_folder(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    first = bench.start(*TRAIN)
    first.until(bench.checkpoints)
    first.until(lambda: first.send(signal.SIGSTOP) is None)
    for other in (TRAIN, (*TRAIN, "--set", "train.seed=2")):
        bench.run(*other).refused("another `alexnet train` is running here")
    first.send(signal.SIGCONT)
    first.end().done()
    bench.assert_right(*TRAINED)
    outcome("the second: status 1, the folder is named; the first is not disturbed")


def test_a_stale_lock(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    first = bench.start(*TRAIN)
    first.until(bench.checkpoints)
    first.send(signal.SIGKILL)
    first.end()
    assert list(bench.folder.glob("work/checkpoints/*/lock"))
    assert (bench.folder / "work/locks/train").exists()
    bench.run(*TRAIN).done("going on from the checkpoint")
    bench.assert_right(*TRAINED)
    outcome("there is none: the kernel lets go of a killed process's lock, whatever files lie "
            "there")


@pytest.mark.long
def test_two_dvc_repro_in_one_clone(reproduced: Project, tmp_path: Path,
                                    outcome: Callable[[str], None]) -> None:
    project = copy(reproduced, tmp_path / "copy")
    metrics = project.metrics("train")
    both = [project.start("dvc", "repro", "--force", "train") for _ in range(2)]
    said = [one.communicate(timeout=300)[0] for one in both]
    statuses = sorted(one.returncode for one in both)
    assert statuses[0] == 0, said
    for one, text in zip(both, said, strict=True):
        if one.returncode:
            assert "lock" in text or "is running here" in text, text
    assert project.metrics("train") == metrics
    project.run("dvc", "repro")
    assert "up to date" in project.run("dvc", "status")
    outcome(f"statuses {statuses}: DVC's lock or ours refuses the second, or lets it wait; the "
            "same weights")


@pytest.mark.long
def test_a_stale_lock_of_dvcs(reproduced: Project, tmp_path: Path,
                              outcome: Callable[[str], None]) -> None:
    project = copy(reproduced, tmp_path / "copy")
    stale = project.folder / ".dvc/tmp/rwlock"
    stale.parent.mkdir(parents=True, exist_ok=True)
    gone = {"pid": 4194000, "cmd": "dvc repro"}
    stale.write_text(json.dumps({"write": {str(project.folder / "data/mean.npy"): gone},
                                 "read": {}}))
    project.run("dvc", "repro", "--force", "mean")
    project.run("dvc", "repro")
    outcome("DVC sees that its process is gone and goes on")
