"""Runs the pipeline by other parameters than the project's, as DVC experiments: `dvc exp show`
lists them, `dvc exp apply` takes one over.

Each is made by `dvc exp run --temp`, in a temporary copy beside which the project can be worked in;
what the data stages made once comes from DVC's cache. The training keeps its checkpoints in the
project, so an experiment that was killed goes on where it stopped when it is started again.
`run_experiment()` returns an `Experiment`, which reads what the run left.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.parameters import FILE, Parameters
from pipeline.config.paths import WORK
from pipeline.config.safe_yaml import flatten, read_sections
from pipeline.records import environment
from pipeline.system.dvc import (
    cached_file,
    check_repository,
    dvc_command,
    dvc_environment,
    is_shallow,
    run_dvc,
)
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock
from pipeline.system.git import GitError, git_text, run_git
from pipeline.system.processes import run_child
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

NO_SUCH_FILE = ("does not exist in", "exists on disk, but not in")  # in what git says of a commit


@dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
        name: as `dvc exp show` lists it.
        commit: in git.
        seconds: that it took.
    """

    name: str
    commit: str
    seconds: float

    def read(self, path: Path) -> bytes:
        """Return a file that the run left: from git, or from DVC's cache.

        Raises:
            UserError: neither has it.
        """
        content = self._committed(path)
        return content if content is not None else cached_file(self.md5(path), path).read_bytes()

    def _committed(self, path: Path) -> bytes | None:
        """Return a file of the commit; None where the commit has no such file.

        Raises:
            UserError: git does not answer, so that nothing is known.
        """
        try:
            return run_git("show", f"{self.commit}:{path.as_posix()}")
        except GitError as error:
            if any(words in str(error) for words in NO_SUCH_FILE):
                return None
            raise UserError(f"the experiment {self.name}: {path} cannot be read from git: "
                            f"{error}") from None

    def md5(self, path: Path) -> str:
        """Return the MD5 of an output, by which DVC's cache has it; raise UserError where the run
        has no such output."""
        lock = yaml.safe_load(self._committed(Path("dvc.lock")) or b"{}")
        for stage in lock.get("stages", {}).values():
            for out in stage.get("outs", ()):
                if out["path"] == path.as_posix():
                    return str(out["md5"])
        raise UserError(f"{path}: the experiment {self.name} has no such output")

    def record(self) -> dict[str, Any]:
        """Return where the run is from, for the file that keeps its metrics."""
        git = environment.git_state()
        return {"experiment": self.name, "commit": self.commit, "git_commit": git.commit,
                "git_dirty": git.dirty, "code_digest": environment.code_digest(),
                "seconds": round(self.seconds, 1)}


def run_experiment(name: str, wanted: Parameters, again: bool = False) -> Experiment:
    """Run the pipeline up to `evaluate` with these parameters, as the experiment `name`.

    Args:
        name: an older experiment of this name is removed.
        wanted: the parameters.
        again: run every stage, though DVC has its outputs.

    Raises:
        UserError: no git repository, or a stage failed; its output stands above.
    """
    check_repository()
    if not run_git("rev-parse", "--verify", "--quiet", "HEAD"):
        raise UserError("DVC experiments need a commit: git add -A && git commit")
    if is_shallow():
        raise UserError("a shallow clone, in which DVC loses experiments; git fetch --unshallow")
    run_dvc("exp", "remove", name)
    settings = [part for key, value in changes(wanted).items()
                for part in ("-S", setting(key, value))]
    started = time.monotonic()
    say(f"experiment {name}")
    command = dvc_command("exp", "run", "--temp", *["--force"] * again, "--name", name, *settings,
                          "evaluate")
    if run_child(command, dvc_environment(), output=2):
        raise UserError(f"the experiment {name} failed, for the reason above; the same command "
                        "goes on with it")
    commit = git_text("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").split()
    if not commit:
        raise UserError(f"the experiment {name} is not in git: `dvc exp show` does not list it")
    return Experiment(name, commit[0], time.monotonic() - started)


def changes(wanted: Parameters, file: Path = FILE) -> dict[str, Any]:
    """Return `section.key` to value where the wanted parameters are not those of the file."""
    here, values = flatten(read_sections(file)), flatten(wanted.model_dump(mode="json"))
    location = values["dataset.location"]
    if location:  # of a copy in another folder
        values["dataset.location"] = str((home_folder() / Path(location).expanduser()).resolve())
    return {key: value for key, value in values.items() if here.get(key, "missing") != value}


def setting(key: str, value: Any) -> str:
    """Return `key=value` as `dvc exp run -S` takes it, in Hydra's grammar."""
    if not isinstance(value, str):
        return f"{key}={json.dumps(value)}"
    if "\\" in value:
        raise UserError(f"{key}: {value}: DVC does not take a backslash")
    escaped = value.replace("'", r"\'")
    return f"{key}='{escaped}'"


def one_at_a_time() -> contextlib.AbstractContextManager[None]:
    """Hold the lock of commands that run experiments: two of them would wait for each other's locks
    and remove each other's results."""
    return exclusive_lock(WORK / "experiments.lock", "another command that runs experiments")
