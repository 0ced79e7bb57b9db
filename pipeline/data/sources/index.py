"""The pictures of a split in columns: 60 bytes each in memory where a million objects would take
hundreds of megabytes.

    name    string   "n01440764_10026.JPEG"
    label   int32    0-based class number
    file    string   what holds its bytes, relative to the data set's folder; stored once for all
            its pictures
    offset  int64    where they start in it
    size    int64    how many there are
    packing string   "", "deflate" or "gzip": how they are compressed there

`alexnet download` leaves these columns, both splits one after the other, in
data/download/index.parquet, so that no archive's table need be read twice. The file holds a digest
of all values: of a flipped bit no picture is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.sources.catalogue import Picture
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

CHUNK = 65_536  # pictures turned into columns at a time
TYPES = {"name": pa.string(), "label": pa.int32(),
         "file": pa.dictionary(pa.int32(), pa.string()), "offset": pa.int64(), "size": pa.int64(),
         "packing": pa.dictionary(pa.int32(), pa.string())}
SCHEMA = pa.schema(list(TYPES.items()))
LARGEST = 1 << 25  # pictures; the whole of ImageNet has 14 million


class PictureTable(Sequence[Picture]):
    """Pictures whose files are under `root`; an `Picture` is made when it is asked for."""

    def __init__(self, root: Path, table: pa.Table) -> None:
        self.root = root
        self.table = table.cast(SCHEMA).unify_dictionaries().combine_chunks()
        columns = {name: self.table[name].combine_chunks() if len(self.table)
                   else pa.array([], kind) for name, kind in TYPES.items()}
        self._names = columns["name"]
        self._numbers = [columns[name].to_numpy() for name in ("label", "offset", "size")]
        self._choices = [(columns[name].indices.to_numpy(), columns[name].dictionary)
                         for name in ("file", "packing")]

    @staticmethod
    def of(root: Path, entries: Iterable[Picture]) -> PictureTable:
        """The same pictures, their files given relative to `root`."""
        rest = iter(entries)
        tables = [SCHEMA.empty_table()]
        while some := list(islice(rest, CHUNK)):
            values = {name: [getattr(entry, name) for entry in some] for name in TYPES}
            values["file"] = [str(file) for file in values["file"]]
            tables.append(pa.table(values, SCHEMA))
        return PictureTable(root, pa.concat_tables(tables))

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> PictureTable: ...
    def __getitem__(self, index: int | slice) -> Picture | PictureTable:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        k = range(len(self))[index]
        label, offset, size = (int(column[k]) for column in self._numbers)
        file, packing = (texts[int(codes[k])].as_py() for codes, texts in self._choices)
        return Picture(self._names[k].as_py(), label, self.root / file, offset, size, packing)

    def __iter__(self) -> Iterator[Picture]:
        return (self[k] for k in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, PictureTable)
                and (self.root, list(self)) == (other.root, list(other)))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int]) -> PictureTable:
        """Those at these positions, in this order."""
        return PictureTable(self.root, self.table.take(pa.array(indices, pa.int64())))

    @property
    def names(self) -> list[str]:
        """Of all pictures, in order."""
        found: list[str] = self._names.to_pylist()
        return found

    def ordered(self, *columns: str) -> PictureTable:
        """By these columns; UserError when two pictures have one name."""
        if len(self) != pc.count_distinct(self._names).as_py():
            counts = pc.value_counts(self._names)
            twice = sorted(one["values"] for one in counts.to_pylist() if one["counts"] > 1)
            raise UserError(f"{self.root}: {twice[0]} occurs twice ({len(twice)} such names); "
                            "names must be unique: rename, or say dataset.source: folder, which "
                            "takes class and name together")
        return PictureTable(self.root,
                            self.table.sort_by([(column, "ascending") for column in columns]))


def write_index(file: Path, splits: Mapping[str, Sequence[Picture]]) -> None:
    """Of pictures in columns. Same pictures, same bytes (of one version of pyarrow)."""
    tables = []
    for split, entries in splits.items():
        assert isinstance(entries, PictureTable)
        name = pa.array([split] * len(entries), pa.string()).dictionary_encode()
        tables.append(entries.table.append_column("split", name))
    table = pa.concat_tables(tables).unify_dictionaries()
    with atomic_write(file) as stream:
        pq.write_table(table.replace_schema_metadata({"digest": _digest(table)}), stream,
                       compression="zstd")


def read_index(file: Path, root: Path, splits: Sequence[str]) -> dict[str, PictureTable]:
    """Raises UserError when there is no such file or it is damaged."""
    try:
        with file.open("rb") as stream, pq.ParquetFile(stream) as opened:
            if opened.metadata.num_rows > LARGEST:
                raise ValueError(f"{opened.metadata.num_rows:,} pictures")
            table: Any = opened.read(use_threads=False)
        if (table.schema.metadata or {}).get(b"digest") != _digest(table).encode():
            raise ValueError("its digest is another, or it was made by an earlier version")
        if leading := [name for name in pc.unique(table["file"]).to_pylist()
                       if _leads_elsewhere(PurePosixPath(name))]:
            raise ValueError(f"{leading[0]!r} leads out of the data set's folder")
        return {split: PictureTable(root,
                               table.filter(pc.equal(table["split"], split)).select(list(TYPES)))
                for split in splits}
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet download` or "
                        "`dvc repro download`") from None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({error}); make it again with "
                        "`alexnet download`") from None


def _digest(table: Any) -> str:
    """SHA-256 over all values, in whatever chunks they lie."""
    digest = hashlib.sha256()
    for start in range(0, len(table), CHUNK):
        for column in table.slice(start, CHUNK).columns:
            digest.update(column.to_numpy().tobytes() if pa.types.is_integer(column.type) else
                          "\0".join(column.to_pylist()).encode())
    return digest.hexdigest()


def _leads_elsewhere(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts
