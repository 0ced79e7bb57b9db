"""data/download/listing.json: the classes, in label order, and each file of the data set with its
size and checksums. Files are written and read one by one: an unpacked ImageNet has 1.3 million."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pipeline.data.sources.catalogue import Class, ListedFile, Listing
from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, atomic_write

FILES = '  "files": [\n'  # the line that the files follow, one object each
WRONG = (*BROKEN_JSON, KeyError, TypeError, AttributeError, OSError)


def write_listing(file: Path, source: str, classes: list[Class], made_with: dict[str, int],
                  files: Iterable[ListedFile]) -> Listing:
    """Write a listing as JSON, and return it; same listing, same bytes."""
    head = {"source": source, **({"made_with": made_with} if made_with else {}),
            "classes": [asdict(one) for one in classes], "files": []}
    text = json.dumps(head, indent=2, ensure_ascii=False)
    with atomic_write(file) as stream:
        stream.write(text.removesuffix("]\n}").encode())
        separator = "\n"
        for listed in files:
            values = {key: value for key, value in asdict(listed).items() if value is not None}
            lines = json.dumps(values, indent=2, ensure_ascii=False).replace("\n", "\n    ")
            stream.write(f"{separator}    {lines}".encode())
            separator = ",\n"
        stream.write(b"\n  ]\n}\n" if separator != "\n" else b"]\n}\n")
    return Listing(source, classes, Files(file), made_with)


def read_listing(file: Path) -> Listing:
    """Read what `write_listing` wrote; its files are read when they are iterated.

    Raises:
        UserError: the file is missing, or no listing; iterating the files raises it as well.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            values = json.loads(_head(stream)[0])
        classes = [Class(**one) for one in values["classes"]]
        if not isinstance(values["files"], list):
            raise TypeError("its files are no list")
        return Listing(values["source"], classes, Files(file), values.get("made_with", {}))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet download` or "
                        "`dvc repro download`") from None
    except WRONG as error:
        raise _broken(file, error) from None


class Files:
    """The files of a listing, read from it each time that they are iterated."""

    def __init__(self, listing: Path) -> None:
        self.listing = listing

    def __iter__(self) -> Iterator[ListedFile]:
        try:
            with self.listing.open(encoding="utf-8") as stream:
                head, follow = _head(stream)
                for values in _objects(stream) if follow else json.loads(head)["files"]:
                    one = ListedFile(**values)
                    if not isinstance(one.name, str) or not isinstance(one.bytes, int):
                        raise TypeError(f"{values} is no file")
                    yield one
        except WRONG as error:
            raise _broken(self.listing, error) from None


def _broken(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: not a listing, or broken ({error}); make it again with "
                     "`alexnet download`")


def _head(stream: IO[str]) -> tuple[str, bool]:
    """Return the JSON up to the files, with an empty list of them, and true; or all of it, and
    false, where they do not stand one object after the other."""
    lines: list[str] = []
    for line in iter(stream.readline, ""):
        if line == FILES:
            return "".join(lines) + '  "files": []\n}', True
        lines.append(line)
    return "".join(lines), False


def _objects(stream: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of the list that the stream stands in, to its end."""
    lines: list[str] = []
    for line in iter(stream.readline, ""):
        if line == "  ]\n" and not lines:
            if stream.read() != "}\n":
                raise ValueError("something follows its list of files")
            return
        lines.append(line)
        if line in ("    },\n", "    }\n"):
            yield json.loads("".join(lines).rstrip().rstrip(","))
            lines = []
    raise ValueError("it ends within its list of files")
