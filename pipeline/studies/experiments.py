"""Runs of other parameters than the project's, as DVC experiments: `dvc exp show` lists them, `dvc
exp apply` has them.

Each is made by `dvc exp run --temp`, in a temporary copy beside which the project can be worked in;
what the data stages made once comes from DVC's cache. The training keeps its checkpoints in the
project, so an experiment that was killed goes on where it stopped when it is started again.
`performed()` yields an `Experiment`, which reads what the run left.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.parameters import FILE, Parameters
from pipeline.config.parameters import read as read_parameters
from pipeline.config.paths import WORK
from pipeline.config.presets import leaves
from pipeline.records import environment, tracking
from pipeline.system.errors import UserError
from pipeline.system.locks import only_one
from pipeline.system.processes import run_to_the_end
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
        found = _git("show", f"{self.commit}:{path.as_posix()}")
        return found if found is not None else cached(self.md5(path), path).read_bytes()

    def md5(self, path: Path) -> str:
        """Of an output, by which DVC's cache has it."""
        lock = yaml.safe_load(_git("show", f"{self.commit}:dvc.lock") or b"{}")
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


def cached(md5: str, path: Path) -> Path:
    """The file of this digest in DVC's cache, not to be written to. Raises UserError where it is
    there no more."""
    file = Path(_dvc("cache", "dir").strip()) / "files/md5" / md5[:2] / md5[2:]
    if not file.is_file():
        raise UserError(f"{path}: DVC's cache has it no more (`dvc gc`?); delete its result and "
                        "run it again")
    return file


def performed(name: str, wanted: Parameters) -> Experiment:
    """Run the pipeline up to `evaluate` with these parameters, as the experiment `name`; an old one
    of it gives way.

    Raises:
        UserError: no git repository, or a stage failed; what it said stands above.
    """
    if _git("rev-parse", "--verify", "HEAD") is None:
        raise UserError("DVC experiments need a git repository with a commit: git init && git add "
                        "-A && git commit")
    subprocess.run(_command("exp", "remove", name), env=surroundings(), capture_output=True,
                   check=False)
    settings = [part for key, value in changes(wanted).items()
                for part in ("-S", setting(key, value))]
    started = time.monotonic()
    say(f"experiment {name}")
    command = _command("exp", "run", "--temp", "--name", name, *settings, "evaluate")
    if run_to_the_end(command, surroundings(), output=2):
        raise UserError(f"the experiment {name} failed, for the reason above; the same command "
                        "goes on with it")
    commit = (_git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}")
              or b"").decode().split()
    if not commit:
        raise UserError(f"the experiment {name} is not in git: `dvc exp show` does not list it")
    return Experiment(name, commit[0], time.monotonic() - started)


def changes(wanted: Parameters, file: Path = FILE) -> dict[str, Any]:
    """`section.key` to value, where the wanted parameters are not those of the file."""
    here = dict(leaves(read_parameters(file)))
    found = dict(leaves(wanted.model_dump(mode="json")))
    location = found["dataset.location"]
    if location:  # of a copy in another folder
        found["dataset.location"] = str((tracking.project() / Path(location).expanduser())
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


def surroundings() -> dict[str, str]:
    """The environment of DVC's processes: this environment's commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return dict(os.environ) | {"PATH": path, "DVC_NO_ANALYTICS": "true"}


def one_at_a_time() -> contextlib.AbstractContextManager[None]:
    """Two commands that run experiments would wait for each other's locks and leave each other's
    results."""
    return only_one(WORK / "experiments.lock", "another command that runs experiments")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def _dvc(*arguments: str) -> str:
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, env=surroundings(),
                          check=False)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _git(*arguments: str) -> bytes | None:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None

