"""Which project a command stands in, and which code runs there.

A project is a folder with `dvc.yaml` and the package `pipeline/`: a clone, a worktree, or the copy
in which DVC runs an experiment. It is looked for upwards from the current folder, as git does. In a
project, the code of that project runs, whichever tree the `alexnet` command was installed from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.system.errors import UserError

CODE = Path(__file__).resolve().parents[2]  # the folder whose packages this process has imported
MARKS = ("dvc.yaml", "pipeline/__init__.py")
INTERFACE = "1"  # of `python -m pipeline fingerprint | stage | train`; every record names it
_start: Path | None = None  # the folder from which the user gave the command


def find(start: Path | None = None) -> Path | None:
    """Return the project that `start`, by default the current folder, lies in; None outside one."""
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        if all((folder / mark).is_file() for mark in MARKS):
            return folder
    return None


def check_owner(folder: Path) -> None:
    """Refuse a project that belongs to another user, who could have written its code.

    Raises:
        UserError: its folder or a package of it belongs to somebody else.
    """
    if not hasattr(os, "geteuid"):
        return
    for place in (folder, folder / "pipeline", folder / "alexnet"):
        if place.exists() and place.stat().st_uid != os.geteuid():
            raise UserError(f"{place}: belongs to another user, whose code would run here with "
                            "your rights. If you trust it, make a clone of your own (git clone "
                            f"{folder}), or run it explicitly: cd {folder} && python -m "
                            "pipeline ...")


def python(*arguments: str) -> list[str]:
    """Return the command that starts `python -m pipeline ARGUMENTS`; `environment` says whose."""
    return [sys.executable, "-P", "-m", "pipeline", *arguments]


def environment(code: Path = CODE, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a child process that runs the code of this folder and of no other.

    Args:
        code: the folder that holds the packages.
        variables: of the child besides; by default those of this process.
    """
    variables = os.environ if variables is None else variables
    rest = [part for part in variables.get("PYTHONPATH", "").split(os.pathsep)
            if part and part != str(code)]
    return {**variables, "PYTHONPATH": os.pathsep.join([str(code), *rest])}


def start_folder() -> Path:
    """Return the folder from which the user gave the command, to which their paths are relative."""
    return _start or Path.cwd()


def enter() -> Path | None:
    """Make the project in which this process stands its current folder, and run its code.

    Where another tree's code has been imported, the process is replaced by one of the project's.

    Returns:
        The project; None outside one, where the current folder stays.

    Raises:
        UserError: the project belongs to another user.
    """
    folder = find()
    if folder is None:
        return None
    if folder.resolve() != CODE:
        check_owner(folder)
        module = "pipeline" if (folder / "pipeline/__main__.py").is_file() else "pipeline.cli"
        command = [sys.executable, "-P", "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, command, environment(folder.resolve()))  # noqa: S606
    global _start
    _start = Path.cwd()
    os.chdir(folder)
    return folder


def home_folder() -> Path:
    """Return the folder that keeps what outlives a command: the current one; the project's own
    where DVC runs an experiment in a temporary copy."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here
