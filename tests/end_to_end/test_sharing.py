"""DVC and the store: nothing is stored twice, a killed preparation goes on, another machine starts
at training."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.config.paths import STORE
from pipeline.config.stages import PREPARATION
from pipeline.data.store import Store
from pipeline.system.processes import kill_with_children
from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project
from tests.end_to_end.test_pipeline import ran


def test_nothing_is_stored_twice(reproduced: Project) -> None:
    """Every file that a stage left is one with that in DVC's cache."""
    assert {"train-00000.npy", "index.parquet", "mean.npy"} <= {
        file.name for file in (reproduced.folder / "data").rglob("*")}
    assert reproduced.stored_twice == []  # type: ignore[attr-defined]


def test_a_preparation_killed_under_dvc_goes_on_at_its_shard(reproduced: Project,
                                                             tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    project.set(**{"resize.order_seed": 5})
    child = project.start("dvc", "repro", "pca")
    latest = time.monotonic() + 60
    while not list(project.folder.glob("work/resize/*/records/*.json")):
        assert child.poll() is None
        assert time.monotonic() < latest
        time.sleep(0.002)
    kill_with_children(child)
    child.communicate()
    assert not (project.folder / "data/store").exists()  # DVC had removed it
    assert "shards are done already, in " in project.run("dvc", "repro", "pca")
    assert project.metrics("resize")["images"] == 59
    for stage in ("mean", "pca"):  # which no order decides
        assert project.metrics(stage) == reproduced.metrics(stage)


def test_another_machine_pulls_the_store_and_starts_at_training(reproduced: Project,
                                                                tmp_path: Path) -> None:
    first = copy(reproduced, tmp_path / "first")
    first.run("git", "add", "dvc.lock", "metrics")
    first.run("git", "commit", "-q", "-m", "Prepared")
    first.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    first.run("dvc", "push", *PREPARATION)

    first.run("git", "clone", "-q", str(first.folder), str(tmp_path / "second"))
    second = Project.at(tmp_path / "second")
    second.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    second.run("dvc", "pull", *PREPARATION)
    assert ran(second.run("dvc", "repro", "--dry", "train")) == ["train"]
    Store(second.folder / STORE).verify()
