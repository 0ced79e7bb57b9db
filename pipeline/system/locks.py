"""One at a time: a lock that goes with its process, however that ends, so that none is ever
stale."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.system.errors import UserError


@contextlib.contextmanager
def only_one(file: Path, who: str) -> Iterator[None]:
    """Hold the lock of this file, which is made if need be, within the block.

    Raises:
        UserError: another process holds it; `who` says what that is, as in "another `alexnet
            rerun`".
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _busy(file, who) from None
        if os.fstat(lock.fileno()).st_nlink == 0:  # another has removed it with its work, just now
            raise _busy(file, who)
        yield


def _busy(file: Path, who: str) -> UserError:
    return UserError(f"{file.parent}: {who} is at work here; wait for it or stop it")
