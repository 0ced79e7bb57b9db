"""The image store: shards of 256x256 images (32x32 for CIFAR-10), mapped into memory, and all that says what they are.

    train-00000.npy ...  uint8 [n, 256, 256, 3], RGB, n at most 1,024; val-00000.npy ...
    index.parquet        one row an image, in stored order: split, name, sha256 (of the source file), label, shard, row
    classes.json         the classes, in the order of their labels: wnid, words
    quarantine.json      images that could not be decoded: split, name, reason, sha256
    moments.npz          exact sums over the training images (pipeline.moments)
    store.json           format, decoder, order, shards with their lengths and digests, pixels_digest

A shard's digest is the sha256 over its images of the label (8 bytes, little-endian) and the pixels; `pixels_digest` is
that of the shards' digests. `ShardWriter` writes a shard, `publish_description` the rest, and `Store` reads.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.files import read_json, write_json, written_whole
from pipeline.images import SIDE
from pipeline.moments import Moments
from pipeline.sources import Class

FORMAT = 1
SHARD_IMAGES = 1024  # as many as a batch file of 2012 had
SPLITS = ("train", "val")
DESCRIPTION = "store.json"
INDEX = "index.parquet"
CLASSES = "classes.json"
QUARANTINE = "quarantine.json"
MOMENTS = "moments.npz"


def shard_file(split: str, number: int) -> str:
    return f"{split}-{number:05}.npy"


class ShardDigest:
    """The sha256 over a shard's labels and pixels, image by image."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, image: NDArray[np.uint8], label: int) -> None:
        self._sha256.update(label.to_bytes(8, "little"))
        self._sha256.update(np.ascontiguousarray(image).data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def digest_of_shards(digests: Mapping[str, Sequence[str]]) -> str:
    """The `pixels_digest`: sha256 over each split's name and its shards' digests, in order."""
    text = "".join("\n".join([split, *digests[split], ""]) for split in SPLITS)
    return hashlib.sha256(text.encode()).hexdigest()


class ShardWriter:
    """Writes images one after another, so that no shard is ever held in memory."""

    def __init__(self, stream: IO[bytes], side: int = SIDE) -> None:
        self.count, self._side = 0, side
        self.digest = ShardDigest()
        self._stream = stream
        self._header()

    def add(self, image: NDArray[np.uint8], label: int) -> None:
        """Takes a uint8 [side, side, 3]."""
        assert image.shape == (self._side, self._side, 3), image.shape
        assert image.dtype == np.uint8, image.dtype
        self._stream.write(np.ascontiguousarray(image).data)
        self.digest.add(image, label)
        self.count += 1

    def finish(self) -> None:
        self._stream.seek(0)
        self._header()  # numpy pads it, so that a longer count takes no more room
        self._stream.seek(0, 2)

    def _header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._stream, {"descr": "|u1", "fortran_order": False, "shape": (self.count, self._side, self._side, 3)})


@contextmanager
def shard_written(file: Path, side: int = SIDE) -> Iterator[ShardWriter]:
    """A writer to a file that appears, whole, when the block ends well."""
    with written_whole(file) as stream:
        writer = ShardWriter(stream, side)
        yield writer
        writer.finish()


@dataclass(frozen=True)
class Row:
    """A stored image: its name and the sha256 of its source file, as listed, and its label."""

    name: str
    sha256: str
    label: int


@dataclass(frozen=True)
class Quarantined:
    """An image that could not be decoded, and why."""

    split: str
    name: str
    reason: str
    sha256: str


@dataclass(frozen=True)
class StoredShard:
    """A written shard: its images in stored order and its digest."""

    split: str
    number: int
    sha256: str
    rows: list[Row]


def publish_description(folder: Path, classes: Sequence[Class], shards: Iterable[StoredShard], moments: Moments,
                        quarantined: Sequence[Quarantined], made: dict[str, Any]) -> dict[str, Any]:
    """Write everything but the shards; `made` (the decoder, the order) goes into store.json as it is. Returns that."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    with written_whole(folder / INDEX) as stream:
        for shard in _indexed(stream, shards):
            splits[shard.split].append({"number": shard.number, "images": len(shard.rows), "sha256": shard.sha256})
    write_json(folder / CLASSES, [asdict(one) for one in classes])
    write_json(folder / QUARANTINE, [asdict(one) for one in quarantined])
    moments.save(folder / MOMENTS)
    digests = {split: [shard["sha256"] for shard in splits[split]] for split in SPLITS}
    images = {split: sum(shard["images"] for shard in splits[split]) for split in SPLITS}
    description = {"format": FORMAT, **made, "side": len(moments.sums), "images": images, "shard_images": SHARD_IMAGES,
                   "pixels_digest": digest_of_shards(digests), "shards": splits}
    write_json(folder / DESCRIPTION, description)
    return description


def _indexed(stream: IO[bytes], shards: Iterable[StoredShard]) -> Iterator[StoredShard]:
    """Passes the shards on while their rows go to the index, so that only one shard's rows are in memory."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("split", pyarrow.string()), ("name", pyarrow.string()), ("sha256", pyarrow.string()),
                             ("label", pyarrow.int64()), ("shard", pyarrow.int32()), ("row", pyarrow.int32())])
    with pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for shard in shards:
            rows = shard.rows
            writer.write_table(pyarrow.table({
                "split": [shard.split] * len(rows), "name": [row.name for row in rows],
                "sha256": [row.sha256 for row in rows], "label": [row.label for row in rows],
                "shard": [shard.number] * len(rows), "row": range(len(rows))}, schema=schema))
            yield shard


class Store:
    """A finished store.

    Attributes:
        path: its folder.
        classes: in the order of their labels.
        pixels_digest: sha256 over every label and pixel, in stored order.
        decoder: what decoded it, as `pipeline.images.decoder` tells.
        side: of the stored images, 256 in the paper.

    Raises:
        UserError: the folder holds no store, one of another format, or one whose files do not fit together.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        description = read_json(path / DESCRIPTION, "resize")
        found = description.get("format") if isinstance(description, dict) else None
        if found != FORMAT:
            raise UserError(f"{path / DESCRIPTION}: format {found}, but this program reads format {FORMAT}; "
                            "make the store again with `alexnet resize`")
        try:
            self.decoder: dict[str, str] = description["decoder"]
            self.pixels_digest: str = description["pixels_digest"]
            self.side = int(description["side"])
            self.classes = [Class(**one) for one in read_json(path / CLASSES, "resize")]
            self._splits = {split: Split(path, split, description["shards"][split], len(self.classes), self.side)
                            for split in SPLITS}
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(path / DESCRIPTION, f"{type(error).__name__}: {error}") from None

    def split(self, name: str) -> Split:
        """The split `train` or `val`."""
        return self._splits[name]

    def verify(self) -> None:
        """Read every pixel and compare the digests. Raises UserError naming the first file that is not as written."""
        digests = {name: split.verify() for name, split in self._splits.items()}
        if digest_of_shards(digests) != self.pixels_digest:
            raise _damaged(self.path / DESCRIPTION, "pixels_digest is not that of the shards")


class Split:
    """The images of one split, in stored order.

    Attributes:
        labels: int64 [n].
        side: of the stored images.
    """

    def __init__(self, path: Path, name: str, shards: list[dict[str, Any]], classes: int, side: int) -> None:
        self.side = side
        self._files = [path / shard_file(name, shard["number"]) for shard in shards]
        self._lengths = [int(shard["images"]) for shard in shards]
        self._digests = [str(shard["sha256"]) for shard in shards]
        self._starts = [0, *itertools.accumulate(self._lengths)]
        self._opened: list[NDArray[np.uint8] | None] = [None] * len(shards)
        self.labels = _labels(path / INDEX, name, [shard["number"] for shard in shards], self._lengths)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise _damaged(path / INDEX, f"a {name} label is outside 0..{classes - 1}")
        for file, length in zip(self._files, self._lengths, strict=True):
            _check_size(file, length, side)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> NDArray[np.uint8]:
        """uint8 [side, side, 3], RGB, read-only: a view into the mapped shard."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = bisect.bisect_right(self._starts, index) - 1
        image: NDArray[np.uint8] = self._shard(shard)[index - self._starts[shard]]
        return image

    def gather_crops(self, indices: NDArray[np.int64], tops: NDArray[np.int64], lefts: NDArray[np.int64],
                     flips: NDArray[np.bool_], size: int = 224,
                     out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """One crop of each image of a batch, some mirrored.

        Args:
            indices: integers [n], positions in this split.
            tops, lefts: integers [n], 0 .. side - size: the crops' upper left corners.
            flips: bool [n]: mirror left and right after cropping.
            size: of the square crops.
            out: where to put them, uint8 [n, size, size, 3], C-contiguous; a new array if None.

        Returns:
            uint8 [n, size, size, 3]: `out`.

        Raises:
            IndexError: an index or a corner is out of range.
        """
        corners = np.stack([tops, lefts])
        if corners.size and not 0 <= corners.min() <= corners.max() <= self.side - size:
            raise IndexError(f"a crop of {size} pixels reaches out of the image")
        if out is None:
            out = np.empty((len(indices), size, size, 3), np.uint8)
        assert out.shape == (len(indices), size, size, 3), out.shape
        for crop, index, top, left, flip in zip(out, indices, tops, lefts, flips, strict=True):
            part = self.image(int(index))[top: top + size, left: left + size]
            if flip:
                for channel in range(3):  # three strided copies are three times as fast as one of pixels
                    crop[..., channel] = part[:, ::-1, channel]
            else:
                crop[...] = part
        return out

    def verify(self) -> list[str]:
        """The shards' digests, recomputed; UserError names the first shard that has another."""
        for number, (file, written) in enumerate(zip(self._files, self._digests, strict=True)):
            digest = ShardDigest()
            labels = self.labels[self._starts[number]: self._starts[number + 1]]
            for image, label in zip(self._shard(number), labels, strict=True):
                digest.add(image, int(label))
            if digest.hexdigest() != written:
                raise _damaged(file, "its pixels or labels are not those that were written")
        return self._digests

    def _shard(self, number: int) -> NDArray[np.uint8]:
        mapped = self._opened[number]
        if mapped is None:
            mapped = self._opened[number] = open_shard(self._files[number], self._lengths[number], self.side)
        return mapped


def open_shard(file: Path, length: int, side: int) -> NDArray[np.uint8]:
    """A shard, mapped: uint8 [length, side, side, 3], read-only. Raises UserError when the file is something else."""
    try:
        mapped = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(file, str(error)) from None
    if mapped.shape != (length, side, side, 3) or mapped.dtype != np.uint8:
        raise _damaged(file, f"{mapped.dtype} {list(mapped.shape)} where uint8 {[length, side, side, 3]} belongs")
    return np.asarray(mapped)  # without memmap's own indexing, which is slow


def _check_size(file: Path, length: int, side: int) -> None:
    """Enough to notice a missing or truncated shard at once, even among thousands."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _damaged(file, str(error.strerror)) from None
    if size < length * side * side * 3:
        raise _damaged(file, f"{size} bytes are too few for {length} images")


def _labels(file: Path, split: str, numbers: list[int], lengths: list[int]) -> NDArray[np.int64]:
    """The split's labels, after a check that the index counts the same images as store.json."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        with file.open("rb") as stream:
            table = pyarrow.parquet.read_table(stream, columns=["split", "label", "shard", "row"], use_threads=False)
        table = table.filter(pyarrow.compute.equal(table["split"], split))
        columns = {name: table[name].to_numpy() for name in ("label", "shard", "row")}
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise _damaged(file, str(error)) from None
    shard = np.repeat(np.asarray(numbers, np.int64), lengths)
    row = np.concatenate([np.arange(0), *(np.arange(length) for length in lengths)])
    if not (np.array_equal(columns["shard"], shard) and np.array_equal(columns["row"], row)):
        raise _damaged(file, f"its {split} images are not those of {DESCRIPTION}")
    labels: NDArray[np.int64] = columns["label"].astype(np.int64)
    return labels


def _damaged(file: Path, what: str) -> UserError:
    return UserError(f"{file}: damaged: {what}; get the store again with `dvc pull`, or make it with `alexnet resize`")
