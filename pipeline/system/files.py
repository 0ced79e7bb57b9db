"""Files that are either whole or absent, JSON, digests, and a lock for one process at a time.

A file is written under another name, flushed to disk, then renamed, and its folder is flushed, too:
what stands under its own name survives a power loss. The other name holds the writer's machine and
process: a later write of the file recognises what a killed writer left, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.system.errors import UserError
from pipeline.system.processes import alive

# what reading JSON raises; the second where brackets are nested too deeply
BROKEN_JSON = (ValueError, RecursionError)


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[IO[bytes]]:
    """Open a temporary neighbour of `file`, and rename it to `file` if the block ends well.

    When this returns, file and name are on the disk: they survive a power loss.
    """
    make_folder(file.parent)
    _remove_leftovers(file)
    temporary = file.with_name(f".{file.name}.{platform.node()}-{os.getpid()}.part")
    try:
        with errors_name(file), temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        sync_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, all on the disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder, as after a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file, whole or not at all."""
    with source.open("rb") as content, atomic_write(target) as stream:
        shutil.copyfileobj(content, stream, 1 << 20)


@contextlib.contextmanager
def errors_name(file: Path) -> Iterator[None]:
    """Have an OSError that names no file, as of a write to a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(file)
        raise


def _remove_leftovers(file: Path) -> None:
    for part in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        writer = part.name.removeprefix(f".{file.name}.").removesuffix(".part")
        machine, _, process = writer.rpartition("-")
        if machine == platform.node() and process.isdecimal() and not alive(int(process)):
            part.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON, keys in their order, two spaces: equal values give equal bytes."""
    with atomic_write(file) as stream:
        stream.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(file: Path, made_by: str) -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: the file is missing or broken; the message names the stage that makes it.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet {made_by}` or "
                        f"`dvc repro {made_by}`") from None
    except BROKEN_JSON as error:
        raise UserError(f"{file}: broken ({error}); make it again with "
                        f"`alexnet {made_by}`") from None


@contextlib.contextmanager
def exclusive_lock(file: Path, holder: str) -> Iterator[None]:
    """Hold the lock of this file, made if need be, within the block.

    It goes with its process, however that ends, so that none is ever stale.

    Raises:
        UserError: another process holds it; `holder` says which, as in "another `alexnet rerun`".
    """
    busy = UserError(f"{file.parent}: {holder} is running here; wait for it or stop it")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise busy from None
        if os.fstat(lock.fileno()).st_nlink == 0:  # its holder has just removed it with its work
            raise busy
        yield
