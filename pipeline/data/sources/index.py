"""The pictures of a split in columns: some 100 bytes each in memory, where a million objects would
take gigabytes.

    name    string   "n01440764_10026.JPEG"
    label   int32    0-based class number
    file    string   what holds its bytes, relative to the data set's folder
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
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.sources.catalogue import Picture, leads_elsewhere
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

CHUNK = 8192  # pictures turned into columns, or out of them, at a time
TYPES = {"name": pa.string(), "label": pa.int32(), "file": pa.string(), "offset": pa.int64(),
         "size": pa.int64(), "packing": pa.dictionary(pa.int8(), pa.string())}
SCHEMA = pa.schema(list(TYPES.items()))
PACKINGS = pa.array(["", "deflate", "gzip"])
LARGEST = 1 << 25  # pictures; the whole of ImageNet has 14 million
DIGESTED = 65_536  # pictures whose columns enter the digest at a time; other numbers, other digests
Row = tuple[str, int, str, int, int, str]  # the columns of one picture


class PictureTable(Sequence[Picture]):
    """Pictures whose files are under `root`; a `Picture` is made when it is asked for."""

    def __init__(self, root: Path, table: pa.Table) -> None:
        self.root = root
        self.table = table.combine_chunks()
        columns = [self.table[name].chunk(0) if len(table) else pa.array([], kind)
                   for name, kind in TYPES.items()]
        self._names, labels, self._files, offsets, sizes, packings = columns
        self._numbers = [column.to_numpy() for column in (labels, offsets, sizes)]
        self._packings = packings.indices.to_numpy(), packings.dictionary.to_pylist()

    @staticmethod
    def of(root: Path, pictures: Iterable[Picture]) -> PictureTable:
        """Return the table of these pictures, their files given relative to `root`."""
        builder = TableBuilder()
        for one in pictures:
            builder.add((one.name, one.label, str(one.file), one.offset, one.size, one.packing))
        return builder.table(root)

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
        codes, packings = self._packings
        return Picture(self._names[k].as_py(), label, self.root / self._files[k].as_py(), offset,
                       size, packings[codes[k]])

    def __iter__(self) -> Iterator[Picture]:
        return (self[k] for k in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, PictureTable)
                and (self.root, list(self)) == (other.root, list(other)))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int]) -> PictureTable:
        """Return the table of those at these positions, in this order."""
        return PictureTable(self.root, self.table.take(pa.array(indices, pa.int64())))

    @property
    def names(self) -> list[str]:
        """The names of all pictures, in order."""
        names: list[str] = self._names.to_pylist()
        return names

    @property
    def files(self) -> pa.Array:
        """What holds the bytes of each picture, relative to `root`: strings, in order."""
        return self._files

    def labels(self) -> Any:
        """Return the label of each picture, in order: int32 [pictures]."""
        return self._numbers[0]

    def ordered(self, *columns: str) -> PictureTable:
        """Return the table sorted by these columns.

        Raises:
            UserError: two pictures have one name.
        """
        by_name = self._names.take(pc.sort_indices(self._names))
        twice = by_name[1:].filter(pc.equal(by_name[1:], by_name[:-1]))
        if len(twice):
            first = twice[0].as_py()
            where = self._files.filter(pc.equal(self._names, first)).to_pylist()
            raise UserError(f"{self.root}: {first} is there twice, as {' and '.join(where[:2])} "
                            f"({len(pc.unique(twice))} such names). A name is a picture's key and "
                            "must be unique: keep one of them elsewhere; or set dataset.source to "
                            "folder, which takes class and name together")
        keys = [(column, "ascending") for column in columns]
        return PictureTable(self.root, self.table.take(pc.sort_indices(self.table, keys)))


class FileNames:
    """The files that hold the pictures of these tables, relative to the data set's folder: each
    once, in order of name. It may be iterated again and again."""

    def __init__(self, *tables: Sequence[Picture]) -> None:
        names = pa.concat_arrays([one.files for one in tables if isinstance(one, PictureTable)])
        names = names.take(pc.sort_indices(names))
        self._names = (names if not len(names) else pa.concat_arrays(
            [names[:1], names[1:].filter(pc.not_equal(names[1:], names[:-1]))]))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._names), CHUNK):
            yield from self._names[start: start + CHUNK].to_pylist()


class TableBuilder:
    """Turns rows into columns, some at a time."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Row) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) == CHUNK:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        *columns, packings = zip(*self._rows, strict=True)
        arrays = [pa.array(values, kind)
                  for values, kind in zip(columns, TYPES.values(), strict=False)]
        codes = pc.index_in(pa.array(packings), PACKINGS).cast(pa.int8())
        arrays.append(pa.DictionaryArray.from_arrays(codes, PACKINGS))
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._rows = []

    def table(self, root: Path) -> PictureTable:
        """Return the table of all rows, whose files are relative to `root`."""
        self._flush()
        table, self._batches = pa.Table.from_batches(self._batches, SCHEMA), []
        return PictureTable(root, table)


def write_index(file: Path, splits: Mapping[str, Sequence[Picture]]) -> None:
    """Write the pictures of all splits. Same pictures, same bytes (of one version of pyarrow)."""
    tables = []
    for split, pictures in splits.items():
        assert isinstance(pictures, PictureTable)
        name = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), len(pictures)),
                                              pa.array([split]))
        tables.append(pictures.table.append_column("split", name))
    table = pa.concat_tables(tables).unify_dictionaries()
    with atomic_write(file) as stream:
        pq.write_table(table.replace_schema_metadata({"digest": _digest(table)}), stream,
                       compression="zstd")


def read_index(file: Path, root: Path, splits: Sequence[str]) -> dict[str, PictureTable]:
    """Read what `write_index` wrote, for pictures whose files are under `root`.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    try:
        with file.open("rb") as stream, pq.ParquetFile(stream) as opened:
            if opened.metadata.num_rows > LARGEST:
                raise ValueError(f"{opened.metadata.num_rows:,} pictures")
            table: Any = opened.read(use_threads=False)
        if (table.schema.metadata or {}).get(b"digest") != _digest(table).encode():
            raise ValueError("its digest is another, or it was made by an earlier version")
        for start in range(0, len(table), CHUNK):
            for name in pc.unique(table["file"].slice(start, CHUNK)).to_pylist():
                if leads_elsewhere(name):
                    raise ValueError(f"{name!r} leads out of the data set's folder")
        pictures = {split: table.filter(pc.equal(table["split"], split)).select(list(TYPES))
                    for split in splits}
        return {split: PictureTable(root, some.cast(SCHEMA).unify_dictionaries())
                for split, some in pictures.items()}
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet download` or "
                        "`dvc repro download`") from None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({error}); make it again with "
                        "`alexnet download`") from None


def _digest(table: Any) -> str:
    """Return the SHA-256 of all values, in whatever chunks they lie, in hexadecimal."""
    digest = hashlib.sha256()
    for start in range(0, len(table), DIGESTED):
        for column in table.slice(start, DIGESTED).columns:
            digest.update(column.to_numpy().tobytes() if pa.types.is_integer(column.type) else
                          "\0".join(column.to_pylist()).encode())
    return digest.hexdigest()
