"""git, by its command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FROM_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # would name another repository


class GitError(Exception):
    """git is not there, or refuses; the message is its own."""


def run_git(*arguments: str, folder: Path = Path()) -> bytes:
    """Return what `git ARGUMENTS` prints in this folder.

    Exit status 1 is an answer: of `diff`, that files differ.

    Raises:
        GitError: there is no git, or it ends with another status.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FROM_A_HOOK}
    try:
        finished = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True,
                                  check=False, env=variables | {"GIT_OPTIONAL_LOCKS": "0",
                                                                "LC_ALL": "C"})
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from None
    if finished.returncode not in (0, 1):
        lines = finished.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitError(lines[0] if lines else f"git ended with status {finished.returncode}")
    return finished.stdout


def git_output(*arguments: str, folder: Path = Path()) -> bytes | None:
    """Return what `git ARGUMENTS` prints, as `run_git`; None where that raises GitError."""
    try:
        return run_git(*arguments, folder=folder)
    except GitError:
        return None


def git_text(*arguments: str, folder: Path = Path()) -> str:
    """Return what `git_output` returns as text, "" for None."""
    return (git_output(*arguments, folder=folder) or b"").decode("utf-8", "replace")
