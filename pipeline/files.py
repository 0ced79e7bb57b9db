"""Files that are either whole or not there: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.errors import UserError


@contextlib.contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `file` for writing; renames it to `file` only if the block ends well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


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
        raise UserError(f"{file}: no such file; make it with `alexnet {made_by}` or `dvc repro {made_by}`") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: broken ({error}); make it again with `alexnet {made_by}`") from None
