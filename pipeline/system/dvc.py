"""DVC, by its command; and the repair of two of its files that a kill may leave half written.

DVC writes dvc.lock, its record of what was run, and .dvc/tmp/rwlock, the list of commands at work,
in place. A kill within those milliseconds leaves them empty or cut off, and DVC then refuses every
command. Without them it takes the outputs of stages from its cache, or runs the stages again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.system.errors import UserError
from pipeline.system.git import GitError, git_text, run_git
from pipeline.system.project import home_folder

MAKE_REPOSITORY = ("git clone the project; or here: git init && git add . && git commit -m 'As it "
                   "came'")
SECONDS_TO_WRITE = 1.0  # a file that stays broken for longer is not just being written
READERS: dict[Path, Callable[[str], Any]] = {Path("dvc.lock"): yaml.safe_load,
                                             Path(".dvc/tmp/rwlock"): json.loads}
NEEDED = {Path("dvc.lock"): "schema"}  # the key without which DVC refuses the file


def dvc_command(*arguments: str) -> list[str]:
    """Return the command that starts the `dvc` of this Python environment."""
    return [sys.executable, "-m", "dvc", *arguments]


def dvc_environment() -> dict[str, str]:
    """Return the variables of a DVC process, which finds this environment's commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return dict(os.environ) | {"PATH": path, "DVC_NO_ANALYTICS": "true"}


def run_dvc(*arguments: str, folder: Path = Path(),
            timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run `dvc ARGUMENTS` in this folder and return its status and what it printed.

    Raises:
        subprocess.TimeoutExpired: it did not end within `timeout` seconds.
    """
    return subprocess.run(dvc_command(*arguments), cwd=folder, capture_output=True, text=True,
                          check=False, env=dvc_environment(), timeout=timeout)


def check_repository() -> None:
    """Look for the git repository without which DVC refuses every command.

    Raises:
        UserError: there is none, or git does not answer.
    """
    try:
        run_git("rev-parse", "--show-toplevel")
    except GitError as error:
        fix = (MAKE_REPOSITORY if "not a git repository" in str(error)
               else "`git status` says what to do")
        raise UserError(f"DVC needs git, and here: {error}; {fix}") from None


def is_shallow(folder: Path = Path()) -> bool:
    """Return whether this is a clone without its history. DVC loses what an experiment leaves in a
    copy of such a one (`dvc exp run --queue` and `--temp`), and says that it has run."""
    return git_text("rev-parse", "--is-shallow-repository", folder=folder).strip() == "true"


def check_experiment() -> None:
    """Check that DVC will keep what is made in its copy of the project, if this is one.

    Raises:
        UserError: it would lose it.
    """
    home = home_folder()
    if home != Path.cwd() and is_shallow(home):
        raise UserError(f"{home}: a shallow clone, of which DVC loses queued experiments when they "
                        "have run; `git fetch --unshallow` there, and queue it again")


def cache_folder(project: Path = Path()) -> Path:
    """Return the folder of a project's DVC cache.

    Raises:
        UserError: DVC does not tell it.
    """
    finished = run_dvc("cache", "dir", folder=project)
    if finished.returncode:
        raise UserError(f"dvc cache dir: {finished.stderr.strip()}")
    return Path(finished.stdout.strip())


def cached_file(md5: str, path: Path) -> Path:
    """Return the file of this digest in DVC's cache, which must not be written to.

    Raises:
        UserError: the cache does not have it; the message names `path`, which it was.
    """
    file = file_in(cache_folder(), md5)
    if not file.is_file():
        raise UserError(f"{path}: DVC's cache does not have it (`dvc gc`? another clone?); "
                        "it has to be made again")
    return file


def file_in(cache: Path, md5: str) -> Path:
    """Return where a DVC cache has the file of this digest, if it does."""
    return cache / "files/md5" / md5[:2] / md5[2:]


def remove_broken_files() -> list[Path]:
    """Remove those of the two files that `broken_files` lists, and return them."""
    files = broken_files()
    for file in files:
        file.unlink()
    return files


def broken_files() -> list[Path]:
    """Return those of the two files that are cut off, and stay so for SECONDS_TO_WRITE."""
    suspects = [file for file in READERS if _is_broken(file)]
    if suspects:
        time.sleep(SECONDS_TO_WRITE)
    return [file for file in suspects if _is_broken(file)]


def _is_broken(file: Path) -> bool:
    try:
        content = READERS[file](file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (ValueError, yaml.YAMLError):
        return True
    return not isinstance(content, dict) or (file in NEEDED and NEEDED[file] not in content)
