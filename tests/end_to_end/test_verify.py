"""`alexnet verify` by the real command: what is committed is true; an edited hash, a metrics file
changed by hand and a picture of another run are named, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.stages import NAMES
from pipeline.studies.rerun.verification import dvc_hash
from tests.end_to_end import kill_and_resume
from tests.end_to_end.project import Project
from tests.end_to_end.test_rerun import state


@pytest.fixture
def committed(reproduced: Project, tmp_path: Path) -> Project:
    """A project whose user has committed dvc.lock and the metrics."""
    project = kill_and_resume.copy(reproduced, tmp_path / "project")
    commit(project)
    return project


def commit(project: Project) -> None:
    project.run("git", "add", "-f", "dvc.lock", "metrics", "plots", "experiments")
    project.run("git", "commit", "-q", "-m", "Results")


def verified(project: Project, *options: str, status: int) -> dict[str, Any]:
    """The rows of `alexnet verify --json`, by stage."""
    said = project.run("alexnet", "verify", *options, "--json", status=status)
    rows = json.loads(said[said.rindex("\n[\n"):])
    assert [row["stage"] for row in rows] == list(NAMES)
    return {row["stage"]: row for row in rows}


def test_what_is_planted_is_named_and_nothing_else(committed: Project) -> None:
    lock = committed.folder / "dvc.lock"
    right = dvc_hash(committed.folder / "data/mean.png")
    text = lock.read_text()
    assert text.count(right) == 1
    lock.write_text(text.replace(right, "f" * 32))
    commit(committed)
    metrics = committed.folder / "metrics/evaluate.json"
    values = committed.metrics("evaluate")
    metrics.write_text(json.dumps(values | {"top1_error": values["top1_error"] - 0.05}, indent=2))
    picture = committed.folder / "report/figures/kernels.png"
    picture.unlink()  # another name for DVC's cached file
    shutil.copy(committed.folder / "report/figures/mean.png", picture)
    before = state(committed)
    rows = verified(committed, status=1)
    assert {name: row["verdict"] for name, row in rows.items()} == {
        name: "differs" if name in ("mean", "evaluate", "report") else "identical"
        for name in NAMES}
    assert rows["mean"]["detail"] == (f"data/mean.png: dvc.lock names {'f' * 32}, and made again "
                                      f"it has {right}")
    assert re.fullmatch(r"metrics/evaluate\.json: the file here is not what the stage makes "
                        r"\(line \d+: \"top1_error\": .*\)", rows["evaluate"]["detail"])
    assert re.fullmatch(r"report/figures/kernels\.png: the file here is not what the stage makes "
                        r"\(byte \d+\)", rows["report"]["detail"])
    after = state(committed)
    assert after.keys() - before.keys() == {"experiments/verified.json"}
    assert {name: after[name] for name in before} == before
    noted = json.loads((committed.folder / "experiments/verified.json").read_text())
    assert noted["command"] == "alexnet verify"
    assert [row["verdict"] for row in noted["stages"]] == [row["verdict"] for row in rows.values()]


def test_stages_are_taken_from_the_cache_and_the_beginning_of_a_training_is_compared(
        committed: Project) -> None:
    """Here from the cache itself: what is taken is not here. One entry of the trace is changed."""
    for name in ("data/store", "data/download"):
        shutil.rmtree(committed.folder / name)
    options = [word for name in NAMES if name != "train" for word in ("--cached", name)]
    rows = verified(committed, *options, "--steps", "5", status=2)
    assert {name: row["verdict"] for name, row in rows.items()} == {
        name: "identical" if name == "train" else "not compared" for name in NAMES}
    assert rows["train"]["detail"] == ("the first 5 steps are equal; taken from here or from DVC's "
                                       "cache, as dvc.lock names it")
    assert "taken from here or from DVC's cache" in rows["resize"]["detail"]
    trace = committed.folder / "models/trace.jsonl"
    lines = trace.read_text().splitlines(keepends=True)
    trace.unlink()
    lines[2] = lines[2].replace('"loss": "0x1', '"loss": "0x2')
    trace.write_text("".join(lines))
    rows = verified(committed, *options, "--steps", "5", status=1)
    assert re.match(r"models/trace\.jsonl: step 4: loss", rows["train"]["detail"])


def test_hashes_are_those_of_dvc(reproduced: Project) -> None:
    lock = yaml.safe_load((reproduced.folder / "dvc.lock").read_text())["stages"]
    for stage in lock.values():
        for row in (*stage["deps"], *stage["outs"]):
            assert dvc_hash(reproduced.folder / row["path"]) == row["md5"], row["path"]
    assert dvc_hash(reproduced.folder / "nothing") == ""
