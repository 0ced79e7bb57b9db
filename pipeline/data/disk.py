"""Whether a folder can be written to, and has room: asked before dear work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.system.errors import UserError


def check_writable(folder: Path, instead: str) -> None:
    """See that the folder can be made or written to.

    Raises:
        UserError: it is a link to nothing, no folder, or not writable; the message ends in
            `instead`, what else can be done.
    """
    place = folder
    while not place.exists():
        if place.is_symlink():
            raise UserError(f"{place}: a link to {os.readlink(place)}, where nothing is: mount the "
                            f"disk that it leads to, or {instead}")
        place = place.parent if place.parent != place else Path("/")
    if not place.is_dir():
        raise UserError(f"{place}: not a folder; {instead}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{place}: cannot be written to; give yourself the right to it, or "
                        f"{instead}")


def free(folder: Path) -> int:
    """Return how many bytes are free where the folder is, or will be."""
    return shutil.disk_usage(_existing(folder)).free


def same_disk(a: Path, b: Path) -> bool:
    """Return whether two folders, which need not be there yet, are on one disk."""
    return _existing(a).stat().st_dev == _existing(b).stat().st_dev


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
