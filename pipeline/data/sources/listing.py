"""data/download/listing.json: the classes, in label order, and each file of the data set with its
size and checksums. Files are held in columns, some 100 bytes each, and read and written one by one:
an unpacked ImageNet has 1.3 million of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any, overload

import pyarrow as pa

from pipeline.data.sources.catalogue import Class, ListedFile, Listing
from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, atomic_write

CHUNK = 8192  # files turned into columns at a time
SCHEMA = pa.schema([("name", pa.string()), ("bytes", pa.int64()), ("sha256", pa.binary()),
                    ("md5", pa.binary())])
FILES = '  "files": [\n'  # the line that the files follow, one object each


class FileTable(Sequence[ListedFile]):
    """Files of a data set in columns; a `ListedFile` is made when it is asked for."""

    def __init__(self, files: Iterable[ListedFile]) -> None:
        rest = iter(files)
        batches = []
        while some := list(islice(rest, CHUNK)):
            batches.append(pa.RecordBatch.from_arrays([
                pa.array([file.name for file in some]),
                pa.array([file.bytes for file in some], pa.int64()),
                pa.array([bytes.fromhex(file.sha256) for file in some], pa.binary()),
                pa.array([file.md5 and bytes.fromhex(file.md5) for file in some], pa.binary())],
                schema=SCHEMA))
        self.table = pa.Table.from_batches(batches, SCHEMA).combine_chunks()

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> ListedFile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ListedFile]: ...
    def __getitem__(self, index: int | slice) -> ListedFile | Sequence[ListedFile]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        name, size, sha256, md5 = (self.table[column][index].as_py() for column in SCHEMA.names)
        return ListedFile(name, size, sha256.hex(), md5 and md5.hex())

    def __iter__(self) -> Iterator[ListedFile]:
        for batch in self.table.to_batches(CHUNK):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                name, size, sha256, md5 = row
                yield ListedFile(name, size, sha256.hex(), md5 and md5.hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileTable) and self.table.equals(other.table)

    __hash__ = None  # type: ignore[assignment]


def write_listing(file: Path, listing: Listing) -> None:
    """Write the listing as JSON; same listing, same bytes."""
    head = {"source": listing.source,
            **({"made_with": listing.made_with} if listing.made_with else {}),
            "classes": [asdict(one) for one in listing.classes], "files": []}
    text = json.dumps(head, indent=2, ensure_ascii=False)
    with atomic_write(file) as stream:
        stream.write(text.removesuffix("]\n}").encode())
        separator = "\n"
        for listed in listing.files:
            values = {key: value for key, value in asdict(listed).items() if value is not None}
            lines = json.dumps(values, indent=2, ensure_ascii=False).replace("\n", "\n    ")
            stream.write(f"{separator}    {lines}".encode())
            separator = ",\n"
        stream.write(b"\n  ]\n}\n" if separator != "\n" else b"]\n}\n")


def read_listing(file: Path) -> Listing:
    """Read what `write_listing` wrote.

    Raises:
        UserError: the file is missing, or no listing.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            head, streamed = _head(stream)
            values = json.loads(head)
            files = FileTable(ListedFile(**one) for one in (
                _objects(stream) if streamed else values["files"]))
        return Listing(values["source"], [Class(**one) for one in values["classes"]], files,
                       values.get("made_with", {}))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet download` or "
                        "`dvc repro download`") from None
    except (*BROKEN_JSON, KeyError, TypeError, AttributeError, OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: not a listing, or broken ({error}); make it again with "
                        "`alexnet download`") from None


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
