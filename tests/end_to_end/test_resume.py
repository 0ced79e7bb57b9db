"""A real training, every process of it killed in the middle, and the same command given again."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from pipeline.system.processes import kill_with_children
from tests.end_to_end.kill_and_resume import copy, difference, outcome
from tests.end_to_end.project import Project

TRAIN = ("alexnet", "train", "--set", "train.epochs=5", "--set", "train.trace_every=3")
SECONDS = 120.0


def test_a_training_killed_twice_ends_with_the_bits_of_one_that_was_not(reproduced: Project,
                                                                        tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    project.set(**{"execution.placement": "two"})
    project.run(*TRAIN)
    uninterrupted = outcome(project)
    last = ""
    for step in (4, 12):
        for name in ("models/model.safetensors", "models/trace.jsonl", "plots/learning.csv",
                     "metrics/train.json"):
            (project.folder / name).unlink(missing_ok=True)
        child = project.start(*TRAIN)
        latest = time.monotonic() + SECONDS
        while not list(project.folder.glob(f"work/checkpoints/*/step-{step:08d}.safetensors")):
            assert child.poll() is None, f"it ended before the checkpoint of step {step}"
            assert time.monotonic() < latest
            time.sleep(0.002)
        assert kill_with_children(child)
        assert child.stdout is not None
        said = child.stdout.read()  # ends when no process of the run holds it any more
        assert ("going on from the checkpoint" in said) == bool(last), said
        assert difference(uninterrupted, outcome(project)) != "identical"
        last = said
    assert "going on from the checkpoint of step 1" in project.run(*TRAIN)  # 10 or later
    assert difference(uninterrupted, outcome(project)) == "identical"
    assert not list((project.folder / "work" / "checkpoints").iterdir())
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        newest = [(status, parent) for status, parent in store.execute(
            "SELECT status, (SELECT value FROM tags WHERE key = 'mlflow.parentRunId' AND "
            "tags.run_uuid = runs.run_uuid) FROM runs ORDER BY start_time DESC LIMIT 3")]
        [last_run] = store.execute("SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1"
                                   ).fetchone()
    # each killed one stands under the one that went on from it
    assert [status for status, _ in newest] == ["FINISHED", "KILLED", "KILLED"]
    assert [bool(parent) for _, parent in newest] == [False, True, True]
    assert newest[1][1] == last_run


def test_a_training_ends_where_its_error_is_low_enough(reproduced: Project,
                                                       tmp_path: Path) -> None:
    """It is the beginning of the training that goes to its end, whatever processes train it."""
    project = copy(reproduced, tmp_path / "copy")
    settings = ("alexnet", "train", "--set", "train.epochs=6", "--set", "train.trace_every=4",
                "--set", "recipe.weight_lr=0.001")

    def trained(*more: str) -> tuple[list[list[float]], list[str], int]:
        project.run(*settings, *more)
        _, *lines = (project.folder / "plots" / "learning.csv").read_text().splitlines()
        return ([[float(cell) for cell in line.split(",")] for line in lines],
                (project.folder / "models" / "trace.jsonl").read_text().splitlines(),
                project.metrics("train")["steps"])

    whole, whole_trace, whole_steps = trained()
    lowest = min(range(1, len(whole) - 1), key=lambda epoch: whole[epoch][3])
    assert min(point[3] for point in whole[:lowest]) > whole[lowest][3]
    stop = ("--set", f"train.stop_below={whole[lowest][3]}")
    curve, trace, steps = trained(*stop)
    assert curve == whole[:lowest + 1]
    assert steps == curve[-1][0] < whole_steps
    assert set(trace[:-1]) < set(whole_trace)
    assert json.loads(trace[-1])["step"] == steps
    assert trained(*stop, "--set", "execution.placement=two")[:1] == (curve,)
    assert trained("--set", "train.stop_below=0.0001")[0] == whole


def test_one_changed_byte_is_a_difference(reproduced: Project, tmp_path: Path) -> None:
    before = outcome(reproduced)
    project = copy(reproduced, tmp_path / "copy")
    assert difference(before, outcome(project)) == "identical"
    file = project.folder / "models" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # another name for DVC's cached file
    file.write_bytes(bytes(content))
    assert difference(before, outcome(project)) == "differs: models/model.safetensors"


def test_what_a_kill_leaves_of_dvcs_own_files_is_mended(reproduced: Project,
                                                        tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    before = outcome(project)
    (project.folder / "dvc.lock").write_text("")
    assert "dvc.lock" in project.run("dvc", "repro", status=255)
    assert project.run("alexnet", "mend") == "dvc.lock: was cut off by a kill; removed\n"
    project.run("dvc", "repro")
    assert difference(before, outcome(project)) == "identical"
