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
    """A project in which each `alexnet` is a process of its own, found on the PATH as for a user."""

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
def weights(origin: Folder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the code makes as it is, and what it makes edited, each alone in a clone of its own."""
    plain = clone(origin, tmp_path_factory.mktemp("plain") / "clone")
    edited = clone(origin, tmp_path_factory.mktemp("edited") / "clone")
    edited.edit()
    made = {"plain": plain.train("one"), "edited": edited.train("one")}
    assert made["plain"] != made["edited"]
    for name, folder in (("plain", plain), ("edited", edited)):
        made[f"{name} code"] = code_digest(folder.folder)
    return made


@pytest.mark.parametrize("placement", ["one", "two"])
def test_two_clones_that_share_an_environment(
        origin: Folder, weights: dict[str, str], tmp_path: Path, placement: str) -> None:
    plain, edited = clone(origin, tmp_path / "plain"), clone(origin, tmp_path / "edited")
    edited.edit()
    assert plain.train(placement) == weights["plain"]
    assert edited.train(placement) == weights["edited"]
    for folder, name in ((plain, "plain"), (edited, "edited")):
        tags = folder.tags(weights[name])
        assert tags["code_digest"] == weights[f"{name} code"]
        assert tags["git_dirty"] == json.dumps(name == "edited")
        assert tags["interface"] == "1"
    edited.revert()  # the rerun takes the code from the record, not from the folder
    assert edited.rerun(edited.tags(weights["edited"])["run"])["verdict"] == "identical"


def test_a_worktree_runs_its_own_code(origin: Folder, weights: dict[str, str],
                                      tmp_path: Path) -> None:
    origin.run("git", "worktree", "add", "-q", "--detach", str(tmp_path / "worktree"))
    worktree = Folder.at(tmp_path / "worktree")
    shutil.copytree(origin.folder / "data", worktree.folder / "data", copy_function=os.link)
    worktree.edit()
    assert worktree.train("two") == weights["edited"]
    assert worktree.tags(weights["edited"])["code_digest"] == weights["edited code"]
    origin.run("git", "worktree", "remove", "--force", str(worktree.folder))


def test_a_subfolder_is_in_the_project(origin: Folder, weights: dict[str, str],
                                       tmp_path: Path) -> None:
    folder = clone(origin, tmp_path / "clone")
    folder.edit()
    done = subprocess.run(["alexnet", "train", "--placement", "one", "--set", LARGER_BATCH],
                          cwd=folder.folder / "docs", env=folder.environment, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert folder.metrics("train")["weights_digest"] == weights["edited"]
    assert not (folder.folder / "docs/metrics").exists()


def test_an_experiment_that_was_queued_runs_the_code_it_was_queued_with(
        origin: Folder, weights: dict[str, str], tmp_path: Path) -> None:
    folder = clone(origin, tmp_path / "clone")
    shutil.copytree(origin.folder / ".dvc/cache", folder.folder / ".dvc/cache",
                    copy_function=os.link, dirs_exist_ok=True)
    shutil.copy2(origin.folder / "dvc.lock", folder.folder)
    folder.edit()
    folder.run("dvc", "exp", "run", "--queue", "-S", LARGER_BATCH, "-S",
               "execution.placement=two", "train")
    folder.revert()
    folder.run("dvc", "queue", "start")
    folder.run("dvc", "queue", "logs", folder.run("dvc", "queue", "status").split()[4], "-f",
               status=None)
    shown = json.loads(folder.run("dvc", "exp", "show", "--json"))
    experiment = shown[0]["experiments"] or shown[1]["experiments"]
    data = experiment[0]["revs"][0]["data"]
    assert data["metrics"]["metrics/train.json"]["data"]["weights_digest"] == weights["edited"]
    tags = folder.tags(weights["edited"])
    assert tags["code_digest"] == weights["edited code"]
    assert folder.rerun(tags["run"])["verdict"] == "identical"
    # DVC's run cache has the pair of the edited code and its weights: the plain code's are others.
    folder.run("dvc", "exp", "run", "--temp", "-S", LARGER_BATCH, "train")
    assert folder.tags(weights["plain"])["code_digest"] == weights["plain code"]


def test_the_difference_of_code_is_seen(origin: Folder, weights: dict[str, str],
                                        tmp_path: Path) -> None:
    plain, edited = clone(origin, tmp_path / "plain"), clone(origin, tmp_path / "edited")
    edited.edit()
    plain.train("one")
    edited.train("two")
    record = tmp_path / "record"
    edited.run("alexnet", "export", "latest", str(record))
    assert RULE.as_posix() in plain.run("alexnet", "diff", "latest", str(record), status=None)
