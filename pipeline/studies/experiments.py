"""Runs of other parameters than the project's, as DVC experiments: `dvc exp show` lists them, `dvc
exp apply` has them.

Each is made by `dvc exp run --temp`, in a temporary copy beside which the project can be worked in;
what the data stages made once comes from DVC's cache. The training keeps its checkpoints in the
project, so an experiment that was killed goes on where it stopped when it is started again.
`performed()` yields an `Experiment`, which reads what the run left.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.parameters import FILE, Parameters
from pipeline.config.paths import WORK
from pipeline.config.safe_yaml import flatten, read_sections
from pipeline.records import environment
from pipeline.system.dvc import cached_file, dvc_command, dvc_environment, run_dvc
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock
from pipeline.system.git import git_output, git_text
from pipeline.system.processes import run_child
from pipeline.system.project import home_folder
from pipeline.system.terminal import say


@dataclass(frozen=True)
class Experiment:
    """A finished one: its name, its commit, and how long it took."""

    name: str
    commit: str
    seconds: float

    def read(self, path: Path) -> bytes:
        """A file that the run left: from git, or from DVC's cache.

        Raises:
            UserError: neither has it.
        """
        found = git_output("show", f"{self.commit}:{path.as_posix()}")
        return found if found is not None else cached_file(self.md5(path), path).read_bytes()

    def md5(self, path: Path) -> str:
        """Of an output, by which DVC's cache has it."""
        lock = yaml.safe_load(git_output("show", f"{self.commit}:dvc.lock") or b"{}")
        for stage in lock.get("stages", {}).values():
            for out in stage.get("outs", ()):
                if out["path"] == path.as_posix():
                    return str(out["md5"])
        raise UserError(f"{path}: the experiment {self.name} has no such output")

    def record(self) -> dict[str, Any]:
        """Where the run is from, for the file that keeps its metrics."""
        git = environment.git_state()
        return {"experiment": self.name, "commit": self.commit, "git_commit": git.commit,
                "git_dirty": git.dirty, "code_digest": environment.code_digest(),
                "seconds": round(self.seconds, 1)}


def performed(name: str, wanted: Parameters) -> Experiment:
    """Run the pipeline up to `evaluate` with these parameters, as the experiment `name`; an old one
    of it gives way.

    Raises:
        UserError: no git repository, or a stage failed; what it said stands above.
    """
    if git_output("rev-parse", "--verify", "HEAD") is None:
        raise UserError("DVC experiments need a git repository with a commit: git init && git add "
                        "-A && git commit")
    run_dvc("exp", "remove", name)
    settings = [part for key, value in changes(wanted).items()
                for part in ("-S", setting(key, value))]
    started = time.monotonic()
    say(f"experiment {name}")
    command = dvc_command("exp", "run", "--temp", "--name", name, *settings, "evaluate")
    if run_child(command, dvc_environment(), output=2):
        raise UserError(f"the experiment {name} failed, for the reason above; the same command "
                        "goes on with it")
    commit = git_text("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").split()
    if not commit:
        raise UserError(f"the experiment {name} is not in git: `dvc exp show` does not list it")
    return Experiment(name, commit[0], time.monotonic() - started)


def changes(wanted: Parameters, file: Path = FILE) -> dict[str, Any]:
    """`section.key` to value, where the wanted parameters are not those of the file."""
    here = flatten(read_sections(file))
    found = flatten(wanted.model_dump(mode="json"))
    location = found["dataset.location"]
    if location:  # of a copy in another folder
        found["dataset.location"] = str((home_folder() / Path(location).expanduser())
                                        .resolve())
    return {key: value for key, value in found.items() if here.get(key, "missing") != value}


def setting(key: str, value: Any) -> str:
    """`key=value` as `dvc exp run -S` takes it, in Hydra's grammar."""
    if isinstance(value, str):
        escaped = value.replace("'", r"\'")
        if "\\" in value:
            raise UserError(f"{key}: {value}: DVC does not take a backslash")
        return f"{key}='{escaped}'"
    return (
        f"{key}={'null' if value is None else str(value).lower() if isinstance(value, bool) else repr(value)}")


def one_at_a_time() -> contextlib.AbstractContextManager[None]:
    """Two commands that run experiments would wait for each other's locks and leave each other's
    results."""
    return exclusive_lock(WORK / "experiments.lock", "another command that runs experiments")

