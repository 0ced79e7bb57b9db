"""A file of JSON lines that grows with a run, and is cut back to the mark of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, atomic_write, errors_name

Mark = dict[str, Any]  # {"bytes": a length, "sha256": of that many bytes}
MARKS = "lines.json"  # beside the files of a finished training: the mark of each


def read_marked(file: Path, mark: Mark) -> bytes:
    """Return the bytes of which the mark was taken.

    Raises:
        ValueError: they are not there any more.
    """
    content = file.read_bytes()[: mark["bytes"]]
    if len(content) != mark["bytes"] or hashlib.sha256(content).hexdigest() != mark["sha256"]:
        raise ValueError(f"{file.name} is not as it was when this was written")
    return content


def read_finished(folder: Path, *names: str) -> list[bytes]:
    """Return what a finished training wrote to these files of its folder.

    Raises:
        ValueError: one of them is not as it was then, or MARKS is damaged.
        OSError: a file cannot be read.
    """
    try:
        marks = json.loads((folder / MARKS).read_text(encoding="utf-8"))
        return [read_marked(folder / name, marks[name]) for name in names]
    except (KeyError, TypeError, *BROKEN_JSON) as error:
        raise ValueError(error) from None


class Journal:
    """The file, cut back to a mark; without one, made or emptied.

    Raises:
        ValueError: the bytes of which the mark was taken are not there any more.
    """

    def __init__(self, file: Path, mark: Mark | None = None) -> None:
        self.file = file
        content = read_marked(file, mark) if mark else b""
        with atomic_write(file) as stream:
            stream.write(content)
        self._length, self._digest = len(content), hashlib.sha256(content)

    def append(self, entry: dict[str, Any]) -> None:
        """Write one more line.

        Raises:
            UserError: something else has written to the file.
            OSError: the file is gone or cannot be written to.
        """
        line = (json.dumps(entry) + "\n").encode()
        with errors_name(self.file), self.file.open("r+b") as stream:
            if stream.seek(0, os.SEEK_END) != self._length:
                raise UserError(f"{self.file}: something else has written to it during this run; "
                                "the same command goes on from the last checkpoint")
            stream.write(line)
        self._length += len(line)
        self._digest.update(line)

    def mark(self) -> Mark:
        """Return the mark of all lines so far, which are on the disk by then."""
        with errors_name(self.file), self.file.open("rb") as stream:
            os.fsync(stream.fileno())
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}
