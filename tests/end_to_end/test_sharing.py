"""DVC and the store: nothing is stored twice, a killed preparation goes on, another machine starts
at training."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.paths import STORE
from pipeline.config.stages import PREPARATION
from pipeline.data.store import Store
from pipeline.system.processes import kill_with_children
from tests.end_to_end.kill_and_resume import copy, outcome
from tests.end_to_end.project import Project
from tests.end_to_end.test_pipeline import ran
from tests.loaded import LONG


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


def clone(project: Project, folder: Path, *options: str) -> Project:
    """A clone with the remote that `shared` makes, and its data."""
    project.run("git", "clone", "-q", *options, f"file://{project.folder}", str(folder))
    cloned = Project.at(folder)
    cloned.run("dvc", "remote", "add", "--local", "--default", "shared",
               str(folder.with_name("remote")))
    cloned.run("dvc", "pull")
    return cloned


@pytest.fixture
def shared(reproduced: Project, tmp_path: Path) -> Project:
    """What `dvc repro` has left, committed and pushed to a remote."""
    project = copy(reproduced, tmp_path / "first")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "Reproduced")
    project.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    project.run("dvc", "push")
    return project


def test_another_machine_pulls_and_has_nothing_to_do(shared: Project, tmp_path: Path) -> None:
    second = clone(shared, tmp_path / "second")
    assert outcome(second) == outcome(shared)
    assert ran(second.run("dvc", "repro")) == []
    assert outcome(second) == outcome(shared)
    assert second.run("git", "status", "--porcelain") == ""
    for command in (("metrics", "show", "--json"),
                    ("plots", "show", "--json", "plots/learning.csv")):
        assert second.run("dvc", *command) == shared.run("dvc", *command) != "{}"
    Store(second.folder / STORE).verify()
    second.set(**{"train.seed": 2})
    assert ran(second.run("dvc", "repro", "--dry"))[:1] == ["train"]


def test_another_machine_pulls_the_store_and_starts_at_training(shared: Project,
                                                                tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "remote")
    shared.run("dvc", "push", *PREPARATION)
    shared.run("git", "clone", "-q", str(shared.folder), str(tmp_path / "second"))
    second = Project.at(tmp_path / "second")
    second.run("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    second.run("dvc", "pull", *PREPARATION)
    second.set(**{"train.seed": 2})
    assert ran(second.run("dvc", "repro", "--dry", "train")) == ["train"]
    Store(second.folder / STORE).verify()


def test_a_queue_of_a_shallow_clone_is_refused_before_it_trains(shared: Project,
                                                                tmp_path: Path) -> None:
    """DVC would train, say that it has run, and lose the experiment."""
    shallow = clone(shared, tmp_path / "shallow", "--depth", "1")
    shallow.run("dvc", "exp", "run", "--queue", "--name", "refused", "-S", "train.seed=2")
    said = shallow.run("dvc", "exp", "run", "--run-all", status=None)
    assert "a shallow clone, of which DVC loses queued experiments" in said
    assert "`git fetch --unshallow` there" in said
    assert "train:" not in said
    if LONG not in os.environ:
        return
    shallow.run("git", "fetch", "-q", "--unshallow")
    shallow.run("dvc", "exp", "run", "--queue", "--name", "kept", "-S", "train.seed=2")
    assert "train: 80 images" in shallow.run("dvc", "exp", "run", "--run-all")
    assert shallow.run("dvc", "exp", "list", "--name-only").split() == ["kept"]


def test_without_git_the_command_that_makes_a_repository_is_named(reproduced: Project,
                                                                  tmp_path: Path) -> None:
    """As in the folder of an unpacked archive of the code."""
    folder = tmp_path / "archive"
    folder.mkdir()
    reproduced.run("sh", "-c", f"git archive HEAD | tar x -C {folder}")
    (folder / ".venv").symlink_to(sys.prefix)
    project = Project.at(folder)
    said = project.run("make", "-o", "setup", "repro", status=2)
    assert "DVC needs git, and here: fatal: not a git repository" in said
    assert "git init && git add . && git commit" in said
    assert "ERROR" not in said  # of DVC
    project.run("sh", "-c", "git init -q && git add . && git commit -q -m 'As it came'")
    assert "Running stage 'download'" in project.run("dvc", "repro", "download")
