"""Which code runs, and which is recorded: always that of the folder the command stands in.

One environment serves all the folders here, as it does a user with several clones: its `alexnet` is
installed from the tree under test, and PYTHONPATH is not set. Each folder has a training code of
its own, told apart by the weights that it makes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.records.environment import code_digest
from tests.end_to_end.project import Project
from tests.end_to_end.test_rerun import last_json

RULE = Path("alexnet/schedule.py")  # the edit there doubles every learning rate
EDIT = ("return Rate(lr,", "return Rate(2 * lr,")
LARGER_BATCH = "train.batch=4"


class Folder(Project):
    """A project in which each `alexnet` is a process of its own, found on the PATH."""

    door = None

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != "PYTHONPATH"}

    def edit(self) -> None:
        file = self.folder / RULE
        text = file.read_text(encoding="utf-8")
        assert EDIT[0] in text
        file.write_text(text.replace(*EDIT), encoding="utf-8")

    def revert(self) -> None:
        self.run("git", "checkout", "--", RULE.as_posix())

    def train(self, placement: str) -> str:
        """The digest of the weights that this folder's code makes."""
        self.run("alexnet", "train", "--placement", placement, "--set", LARGER_BATCH)
        return str(self.metrics("train")["weights_digest"])

    def tags(self, weights: str) -> dict[str, str]:
        """Of the only training that ended with these weights, in the store of this folder."""
        with sqlite3.connect(self.folder / "mlflow.db") as store:
            [[run]] = store.execute(
                "select run_uuid from tags join runs using (run_uuid) where key = 'weights_digest' "
                "and value = ? and name not like 'rerun %'", (weights,)).fetchall()
            return {"run": run, **dict(store.execute(
                "select key, value from tags where run_uuid = ?", (run,)).fetchall())}

    def rerun(self, run: str) -> Any:
        return last_json(self.run("alexnet", "rerun", run, "--json"))


@pytest.fixture(scope="module")
def origin(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A project whose data are there; nobody trains in it."""
    folder = tmp_path_factory.mktemp("origin") / "project"
    shutil.copytree(reproduced.folder, folder, copy_function=os.link, ignore=shutil.ignore_patterns(
        "mlflow.db*", "mlartifacts", "__pycache__", "work", "models", "report", "exps"))
    project = Folder.at(folder)
    for name in ("params.yaml", "alexnet", "dvc.lock", "metrics", "plots"):
        apart(folder / name)
    return project


def apart(path: Path) -> None:
    """Make files that are links to another project's into copies."""
    for file in [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)


def clone(origin: Folder, folder: Path) -> Folder:
    """Another clone, with links to the data."""
    origin.run("git", "clone", "-q", str(origin.folder), str(folder))
    shutil.copytree(origin.folder / "data", folder / "data", copy_function=os.link)
    return Folder.at(folder)


@pytest.fixture(scope="module")
def plain(origin: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A clone with the code as it is, trained."""
    folder = clone(origin, tmp_path_factory.mktemp("plain") / "clone")
    folder.train("one")
    return folder


@pytest.fixture(scope="module")
def edited(origin: Folder, plain: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A clone with edited code, trained by one process; its weights are others."""
    folder = clone(origin, tmp_path_factory.mktemp("edited") / "clone")
    folder.edit()
    assert folder.train("one") != weights(plain)
    return folder


def weights(folder: Folder) -> str:
    return str(folder.metrics("train")["weights_digest"])


def test_clones_that_share_an_environment_train_and_record_their_own_code(
        plain: Folder, edited: Folder) -> None:
    for folder, dirty in ((plain, "false"), (edited, "true")):
        tags = folder.tags(weights(folder))
        assert tags["code_digest"] == code_digest(folder.folder)
        assert (tags["git_dirty"], tags["interface"]) == (dirty, "1")
    record = edited.folder.parent / "record"
    edited.run("alexnet", "export", "latest", str(record))
    assert RULE.as_posix() in plain.run("alexnet", "diff", "latest", str(record), status=None)


def test_the_children_of_a_training_run_the_code_that_is_recorded(
        origin: Folder, edited: Folder, tmp_path: Path) -> None:
    folder = clone(origin, tmp_path / "clone")
    folder.edit()
    assert folder.train("two") == weights(edited)
    tags = folder.tags(weights(edited))
    assert (tags["code_digest"], tags["git_dirty"]) == (code_digest(folder.folder), "true")
    folder.revert()  # a rerun takes the code from the record, not from the folder
    assert folder.rerun(tags["run"])["verdict"] == "identical"


def test_a_worktree_runs_its_own_code_from_any_of_its_folders(
        origin: Folder, edited: Folder, tmp_path: Path) -> None:
    origin.run("git", "worktree", "add", "-q", "--detach", str(tmp_path / "worktree"))
    worktree = Folder.at(tmp_path / "worktree")
    shutil.copytree(origin.folder / "data", worktree.folder / "data", copy_function=os.link)
    worktree.edit()
    subprocess.run(["alexnet", "train", "--placement", "one", "--set", LARGER_BATCH], check=True,
                   cwd=worktree.folder / "docs", env=worktree.environment, capture_output=True)
    assert weights(worktree) == weights(edited)
    assert worktree.tags(weights(edited))["code_digest"] == code_digest(worktree.folder)
    assert not (worktree.folder / "docs/metrics").exists()
    origin.run("git", "worktree", "remove", "--force", str(worktree.folder))


def test_an_experiment_that_was_queued_runs_the_code_it_was_queued_with(
        origin: Folder, plain: Folder, edited: Folder, tmp_path: Path) -> None:
    folder = clone(origin, tmp_path / "clone")
    shutil.copytree(origin.folder / ".dvc/cache", folder.folder / ".dvc/cache",
                    copy_function=os.link, dirs_exist_ok=True)
    shutil.copy2(origin.folder / "dvc.lock", folder.folder)
    folder.edit()
    queued_code = code_digest(folder.folder)
    folder.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", LARGER_BATCH, "-S",
               "execution.placement=two", "train")
    folder.revert()
    folder.run("dvc", "queue", "start")
    folder.run("dvc", "queue", "logs", "queued", "-f", status=None)
    commit = folder.run("git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/queued")
    metrics = json.loads(folder.run("git", "show", f"{commit.strip()}:metrics/train.json"))
    assert metrics["weights_digest"] == weights(edited)
    tags = folder.tags(weights(edited))
    assert tags["code_digest"] == queued_code
    assert folder.rerun(tags["run"])["verdict"] == "identical"
    # DVC's run cache has that pair; the code as it is now is no part of it.
    folder.run("dvc", "exp", "run", "--temp", "-S", LARGER_BATCH, "train")
    assert folder.tags(weights(plain))["code_digest"] == code_digest(folder.folder) != queued_code
