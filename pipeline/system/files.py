"""Files that are either whole or not there: written under another name, flushed to disk, then
renamed.

The other name holds the writer's machine and process: what a killed writer left is known as such,
and removed when the file is written again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.system.errors import UserError
from pipeline.system.processes import alive

# what reading it raises; the second where brackets are nested too deeply
BROKEN_JSON = (ValueError, RecursionError)


@contextlib.contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `file` for writing; renames it to `file` only if the block
    ends well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file)
    temporary = file.with_name(f".{file.name}.{platform.node()}-{os.getpid()}.part")
    try:
        with naming(file), temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Has an OSError that names no file, as of a write to a full disk, name this one."""
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
    """Keys in the order given, two spaces: the same value gives the same bytes."""
    with written_whole(file) as stream:
        stream.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256_of(file: Path) -> str:
    """Of its bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(file: Path, made_by: str) -> Any:
    """Raises UserError when the file is missing or broken, naming the stage that makes it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet {made_by}` or "
                        f"`dvc repro {made_by}`") from None
    except BROKEN_JSON as error:
        raise UserError(f"{file}: broken ({error}); make it again with "
                        f"`alexnet {made_by}`") from None
