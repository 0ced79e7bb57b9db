"""A file of JSON, a line an entry, that grows while a run goes on, and is cut back to where a
checkpoint stands."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, naming, written_whole

Mark = dict[str, Any]  # {"bytes": its length, "sha256": of so many bytes}
MARKS = "lines.json"  # beside the files of a training that has come to its end: the mark of each


def marked(file: Path, mark: Mark) -> bytes:
    """What the mark was taken of. Raises ValueError when it is not there any more."""
    content = file.read_bytes()[: mark["bytes"]]
    if len(content) != mark["bytes"] or hashlib.sha256(content).hexdigest() != mark["sha256"]:
        raise ValueError(f"{file.name} is not as it was when this was written")
    return content


def written(folder: Path, *names: str) -> list[bytes]:
    """What a training that has come to its end wrote to these files of its folder.

    Raises:
        ValueError: one of them is not as it was then, or MARKS is damaged.
        OSError: as from reading.
    """
    try:
        marks = json.loads((folder / MARKS).read_text(encoding="utf-8"))
        return [marked(folder / name, marks[name]) for name in names]
    except (KeyError, TypeError, *BROKEN_JSON) as error:
        raise ValueError(error) from None


class Lines:
    """The file, cut back to a mark; to nothing, or made, without one.

    Raises:
        ValueError: what the mark was taken of is not there any more.
    """

    def __init__(self, file: Path, mark: Mark | None = None) -> None:
        self.file = file
        content = marked(file, mark) if mark else b""
        with written_whole(file) as stream:
            stream.write(content)
        self._length, self._digest = len(content), hashlib.sha256(content)

    def append(self, entry: dict[str, Any]) -> None:
        """One more line.

        Raises:
            UserError: the file is gone, or somebody else has written to it.
            OSError: it cannot be written to.
        """
        line = (json.dumps(entry) + "\n").encode()
        with naming(self.file), self.file.open("r+b") as stream:
            if stream.seek(0, os.SEEK_END) != self._length:
                raise UserError(f"{self.file}: something else has written to it while this run was "
                                "at work; the same command goes on from the last checkpoint")
            stream.write(line)
        self._length += len(line)
        self._digest.update(line)

    def mark(self) -> Mark:
        """Of the lines so far, which are on the disk when this returns."""
        with naming(self.file), self.file.open("rb") as stream:
            os.fsync(stream.fileno())
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}
