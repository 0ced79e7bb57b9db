"""A copy of the project in a temporary folder, with a tiny sample, in which the real commands are
run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from tests.loaded import Door

ROOT = Path(__file__).resolve().parents[2]
TINY = {"dataset.sample.train_images": 40, "dataset.sample.val_images": 20,
        "resize.max_quarantined": 1, "network.width": 0.0625, "train.epochs": 2, "train.batch": 8,
        "train.validate_every": 1, "train.trace_every": 2, "execution.checkpoint_every": 2,
        "execution.workers": 1, "execution.placement": "one",
}
# In the environment of every command that these tests run; test_secrets.py looks for them in all
# that is left.
SECRETS = {name: f"planted-{number:03}-{name.lower()}" for number, name in enumerate((
    "HF_TOKEN", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "ALEXNET_DOWNLOAD_PASSWORD",
    "ALEXNET_DOWNLOAD_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY"))}
# a password with the characters that end one; not in this text
IN_ADDRESS = "/an@".join(("planted-in", "address"))


class Project:
    """The copy; `run` gives what a finished command printed; `start` begins one, which signals may
    be sent to."""

    door: ClassVar[Door | None] = None  # by which `run` has its `alexnet`, faster than from nothing

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                                cwd=ROOT, capture_output=True, text=True,
                                check=True).stdout.splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.set(**TINY)
        for command in (["init", "-q", "-b", "main"], ["add", "-A"],
                        ["commit", "-q", "-m", "A copy for a test"]):
            self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", *command)
        self.run("git", "remote", "add", "origin",
                 f"https://ann:{IN_ADDRESS}@example.org/project.git")

    @classmethod
    def at(cls, folder: Path) -> Project:
        """One that is in this folder already."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    @property
    def environment(self) -> dict[str, str]:
        """That of a user in the activated environment, in this copy."""
        tools = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        return kept | SECRETS | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
                                 "PYTHONPATH": str(self.folder),
                                 "DVC_NO_ANALYTICS": "1", "GIT_AUTHOR_NAME": "test",
                                 "GIT_AUTHOR_EMAIL": "test@localhost", "GIT_COMMITTER_NAME": "test",
                                 "GIT_COMMITTER_EMAIL": "test@localhost"}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """The command, begun, in a process group of its own."""
        return subprocess.Popen(command, cwd=self.folder, env=self.environment,
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True)

    def run(self, *command: str, status: int | None = 0) -> str:
        """What the command printed; it must exit with this status, unless that is None."""
        environment = self.environment
        if self.door:
            environment["PATH"] = f"{self.door.folder}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(command, cwd=self.folder, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400,
                              check=False)
        with self.folder.with_name(f"{self.folder.name}.said").open("a", encoding="utf-8") as said:
            said.write(done.stdout)
        assert status in (None, done.returncode), \
            f"{command} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def set(self, **values: Any) -> None:
        """Change parameters in params.yaml, lines and comments kept: set(**{"train.seed": 2})."""
        from ruamel.yaml import YAML

        yaml = YAML()
        tree = yaml.load(self.folder / "params.yaml")
        for key, value in values.items():
            *parents, last = key.split(".")
            section = tree
            for parent in parents:
                section = section[parent]
            section[last] = value
        yaml.dump(tree, self.folder / "params.yaml")

    def metrics(self, stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics" / f"{stage}.json").read_text())
        return found
