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
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.arrow import pyarrow as pa
from pipeline.data.sources.catalogue import Picture, leads_elsewhere
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

CHUNK = 8192  # pictures turned into columns, or out of them, at a time
TYPES = {"name": pa.string(), "label": pa.int32(), "file": pa.string(), "offset": pa.int64(),
         "size": pa.int64(), "packing": pa.dictionary(pa.int8(), pa.string())}
SCHEMA = pa.schema(list(TYPES.items()))
PACKINGS = ["", "deflate", "gzip"]
LARGEST = 1 << 25  # pictures; the whole of ImageNet has 14 million
DIGESTED = 65_536  # pictures whose columns enter the digest at a time; other numbers, other digests
Row = tuple[str, int, str, int, int, str]  # the columns of one picture


class PictureTable(Sequence[Picture]):
    """Pictures whose files are under `root`; a `Picture` is made when it is asked for."""

    def __init__(self, root: Path, columns: dict[str, pa.Array]) -> None:
        self.root, self._columns = root, columns

    @staticmethod
    def of(root: Path, pictures: Iterable[Picture]) -> PictureTable:
        """Return the table of these pictures, their files given relative to `root`."""
        builder = TableBuilder()
        for one in pictures:
            builder.add((one.name, one.label, str(one.file), one.offset, one.size, one.packing))
        return builder.table(root)

    @property
    def table(self) -> pa.Table:
        """The columns as one table."""
        return pa.Table.from_arrays(list(self._columns.values()), schema=SCHEMA)

    def __len__(self) -> int:
        return len(self._columns["name"])

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> PictureTable: ...
    def __getitem__(self, index: int | slice) -> Picture | PictureTable:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        k = range(len(self))[index]
        name, label, file, *rest = (column[k].as_py() for column in self._columns.values())
        return Picture(name, label, self.root / file, *rest)

    def __iter__(self) -> Iterator[Picture]:
        for start in range(0, len(self), CHUNK):
            columns = [column[start: start + CHUNK].to_pylist()
                       for column in self._columns.values()]
            for name, label, file, *rest in zip(*columns, strict=True):
                yield Picture(name, label, self.root / file, *rest)

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, PictureTable)
                and (self.root, list(self)) == (other.root, list(other)))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int]) -> PictureTable:
        """Return the table of those at these positions, in this order."""
        chosen = pa.array(indices, pa.int64())
        return PictureTable(self.root, {name: column.take(chosen)
                                        for name, column in self._columns.items()})

    @property
    def names(self) -> list[str]:
        """The names of all pictures, in order."""
        names: list[str] = self._columns["name"].to_pylist()
        return names

    @property
    def files(self) -> pa.Array:
        """What holds the bytes of each picture, relative to `root`: strings, in order."""
        return self._columns["file"]

    def labels(self) -> Any:
        """Return the label of each picture, in order: int32 [pictures]."""
        return self._columns["label"].to_numpy()

    def sort(self, *columns: str) -> None:
        """Bring the pictures into the order of these columns.

        Raises:
            UserError: two pictures have one name.
        """
        names = self._columns["name"]
        by_name = names.take(pc.sort_indices(names))
        twice = by_name[1:].filter(pc.equal(by_name[1:], by_name[:-1]))
        if len(twice):
            where = self.files.filter(pc.equal(names, twice[0])).to_pylist()
            raise UserError(f"{self.root}: {twice[0]} is there twice, as {' and '.join(where[:2])} "
                            f"({len(pc.unique(twice))} such names). A name is a picture's key and "
                            "must be unique: keep one of them elsewhere; or set dataset.source to "
                            "folder, which takes class and name together")
        del names, by_name
        order = pc.sort_indices(self.table, [(column, "ascending") for column in columns])
        for name in TYPES:
            self._columns[name] = self._columns[name].take(order)
        pa.default_memory_pool().release_unused()


class FileNames:
    """The files that hold the pictures of these tables, relative to the data set's folder: each
    once, in order of name. It may be iterated again and again."""

    def __init__(self, *tables: Sequence[Picture]) -> None:
        names = pa.concat_arrays([one.files for one in tables if isinstance(one, PictureTable)])
        names = names.take(pc.sort_indices(names))
        new = pc.not_equal(names[1:], names[:-1])
        if not pc.all(new).as_py():
            names = pa.concat_arrays([names[:1], names[1:].filter(new)])
        self._names = names

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._names), CHUNK):
            yield from self._names[start: start + CHUNK].to_pylist()


class TableBuilder:
    """Appends rows to columns that lie in memory as Arrow has them."""

    def __init__(self) -> None:
        self._texts = {"name": bytearray(), "file": bytearray()}
        self._ends = {name: array("i", [0]) for name in self._texts}
        self._numbers = {"label": array("i"), "offset": array("q"), "size": array("q"),
                         "packing": array("b")}

    def add(self, row: Row) -> None:
        """Append a row."""
        name, label, file, offset, size, packing = row
        for column, text in (("name", name), ("file", file)):
            self._texts[column] += text.encode()
            self._ends[column].append(len(self._texts[column]))
        for column, number in (("label", label), ("offset", offset), ("size", size),
                               ("packing", PACKINGS.index(packing))):
            self._numbers[column].append(number)

    def table(self, root: Path) -> PictureTable:
        """Return the table of all rows, whose files are relative to `root`; nothing may be added
        after that."""
        count = len(self._numbers["label"])
        columns = {name: pa.Array.from_buffers(pa.string(), count, [
            None, pa.py_buffer(self._ends[name]), pa.py_buffer(text)])
            for name, text in self._texts.items()}
        for name, numbers in self._numbers.items():
            kind = pa.int8() if name == "packing" else TYPES[name]
            columns[name] = pa.Array.from_buffers(kind, count, [None, pa.py_buffer(numbers)])
        columns["packing"] = pa.DictionaryArray.from_arrays(columns["packing"], pa.array(PACKINGS))
        return PictureTable(root, {name: columns[name] for name in TYPES})


def write_index(file: Path, splits: Mapping[str, Sequence[Picture]]) -> None:
    """Write the pictures of all splits. Same pictures, same bytes (of one version of pyarrow)."""
    tables = []
    for split, pictures in splits.items():
        assert isinstance(pictures, PictureTable)
        name = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), len(pictures)),
                                              pa.array([split]))
        tables.append(pictures.table.append_column("split", name))
    table = pa.concat_tables(tables).unify_dictionaries()
    table = table.replace_schema_metadata({"digest": _digest(table)})
    with (atomic_write(file) as stream,
          pq.ParquetWriter(stream, table.schema, compression="zstd",
                           use_dictionary=["packing", "split"]) as writer):
        for start in range(0, len(table), DIGESTED):
            writer.write_table(table.slice(start, DIGESTED), DIGESTED)
            pa.default_memory_pool().release_unused()


def read_index(file: Path, root: Path, splits: Sequence[str]) -> dict[str, PictureTable]:
    """Read what `write_index` wrote, for pictures whose files are under `root`.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    digest = hashlib.sha256()
    chunks = {(split, name): [pa.array([], kind)]
              for split in splits for name, kind in TYPES.items()}
    try:
        with file.open("rb") as stream, pq.ParquetFile(stream) as opened:
            if opened.metadata.num_rows > LARGEST:
                raise ValueError(f"{opened.metadata.num_rows:,} pictures")
            for batch in opened.iter_batches(DIGESTED, use_threads=False):
                _update(digest, batch)
                for name in pc.unique(batch["file"]).to_pylist():
                    if leads_elsewhere(name):
                        raise ValueError(f"{name!r} leads out of the data set's folder")
                for split in splits:
                    mine = batch.filter(pc.equal(batch["split"], split))
                    for name, kind in TYPES.items():
                        chunks[split, name].append(_as(mine[name], kind))
            made_with = opened.schema_arrow.metadata or {}
        if made_with.get(b"digest") != digest.hexdigest().encode():
            raise ValueError("its digest is another, or it was made by an earlier version")
        return {split: PictureTable(root, {name: pa.concat_arrays(chunks.pop((split, name)))
                                           for name in TYPES}) for split in splits}
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; make it with `alexnet download` or "
                        "`dvc repro download`") from None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({error}); make it again with "
                        "`alexnet download`") from None


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the column in this type; packings by their codes in `PACKINGS`."""
    if not pa.types.is_dictionary(kind):
        return column.cast(kind)
    codes = pc.index_in(column.cast(pa.string()), pa.array(PACKINGS))
    if codes.null_count:
        raise ValueError("a packing that is not known")
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int8()), pa.array(PACKINGS))


def _digest(table: Any) -> str:
    """Return the SHA-256 of all values, in hexadecimal."""
    digest = hashlib.sha256()
    for start in range(0, len(table), DIGESTED):
        _update(digest, table.slice(start, DIGESTED))
    return digest.hexdigest()


def _update(digest: Any, rows: Any) -> None:
    """Have the digest cover these rows, `DIGESTED` of them or the last."""
    for column in rows.columns:
        if pa.types.is_integer(column.type):
            digest.update(column.to_numpy(zero_copy_only=False).tobytes())
            continue
        for start in range(0, len(column), CHUNK):
            text = "\0".join(column.slice(start, CHUNK).to_pylist())
            digest.update(("\0" * bool(start) + text).encode())
