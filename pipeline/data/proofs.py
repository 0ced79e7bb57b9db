"""What has been proved of files on this machine, so that each is read from end to end once and not
by every process: a digest, together with the identity of the file that has it.

A file's identity is its device, inode, size, and times of its last change, of contents and of
anything. Proofs lie beside the store, in a folder for each machine, one file a shard.
"""

from __future__ import annotations

import contextlib
import platform
import time
from pathlib import Path
from typing import Any

from pipeline.system.errors import UserError
from pipeline.system.files import read_json, write_json

Stamp = tuple[int, ...]
# A file changed so recently could be changed again within one tick of the file system's clock.
SETTLED_SECONDS = 2.0


def stamp_of(file: Path) -> Stamp:
    """Return a file's identity; () where there is none."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Proofs:
    """The proofs for a store in the folder `store`."""

    def __init__(self, store: Path) -> None:
        self._folder = store.with_name(f".{store.name}-proofs") / platform.node()

    def holds(self, name: str, digest: str, stamp: Stamp) -> bool:
        """Return whether the file of this name and identity has been proved to have this digest."""
        try:
            proof: Any = read_json(self._folder / f"{name}.json", "resize")
        except (UserError, OSError):
            return False
        return bool(stamp) and proof == {"digest": digest, "stamp": list(stamp)}

    def add(self, name: str, digest: str, stamp: Stamp) -> None:
        """Keep a proof, where the file has been at rest and the folder can be written to."""
        if max(stamp[3:], default=0) / 1e9 < time.time() - SETTLED_SECONDS:
            with contextlib.suppress(OSError):
                write_json(self._folder / f"{name}.json", {"digest": digest, "stamp": list(stamp)})
