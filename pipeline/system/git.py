"""git, by its command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FROM_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # would name another repository


def git_output(*arguments: str, folder: Path = Path()) -> bytes | None:
    """Return what `git ARGUMENTS` prints in this folder; None if it fails or there is no git.

    Exit status 1 is an answer: of `diff`, that files differ.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FROM_A_HOOK}
    try:
        finished = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True,
                                  check=False, env=variables | {"GIT_OPTIONAL_LOCKS": "0",
                                                                "LC_ALL": "C"})
    except OSError:
        return None
    return finished.stdout if finished.returncode in (0, 1) else None


def git_text(*arguments: str, folder: Path = Path()) -> str:
    """Return what `git_output` returns as text, "" for None."""
    return (git_output(*arguments, folder=folder) or b"").decode("utf-8", "replace")
