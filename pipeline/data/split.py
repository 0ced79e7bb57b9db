"""The images of one split of a store, in stored order, and what the index says of them."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.proofs import Proofs, Stamp, stamp_of
from pipeline.data.shards import (
    Encoding,
    Images,
    byte_ranges,
    check_size,
    damaged,
    digest_of_images,
    open_shard,
    read_ahead,
    shard_file,
)
from pipeline.system.errors import UserError

DESCRIPTION = "store.json"
INDEX = "index.parquet"


class Split:
    """The images of one split, in stored order.

    Attributes:
        labels: int64 [n].
        side: of the stored images.
    """

    def __init__(self, path: Path, name: str, shards: list[dict[str, Any]], classes: int, side: int,
                 encoding: Encoding) -> None:
        self.side = side
        self._name, self._index_file = name, path / INDEX
        self._files = [path / shard_file(name, shard["number"], encoding) for shard in shards]
        self._lengths = [int(shard["images"]) for shard in shards]
        self._digests = [str(shard["sha256"]) for shard in shards]
        self._starts = [0, *itertools.accumulate(self._lengths)]
        self._opened: list[Images | None] = [None] * len(shards)
        self._proofs, self._stamps = Proofs(path), dict[int, Stamp]()  # stamps: of opened shards
        self.labels, self._places = _index(path / INDEX, name,
                                           [shard["number"] for shard in shards], self._lengths,
                                           encoding)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise damaged(path / INDEX, f"a {name} label is outside 0..{classes - 1}")
        for number, (file, length) in enumerate(zip(self._files, self._lengths, strict=True)):
            check_size(file, length, side, self._places_in(number))

    def __len__(self) -> int:
        return len(self.labels)

    def names(self, indices: Sequence[int] | None = None) -> list[str]:
        """Return the names of the images at these places, or of all, in stored order. The index is
        read for it."""
        column = self._name_column()
        names: list[str] = (column if indices is None else column.take(list(indices))).to_pylist()
        return names

    def places(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return where these images are: int64 [n], places in this split. The index is read for it.

        Raises:
            UserError: one of them is not in the store.
        """
        from pipeline.data.arrow import pyarrow

        places = pyarrow.compute.index_in(pyarrow.array(names, pyarrow.string()),
                                         value_set=self._name_column())
        if places.null_count:
            missing = names[places.is_null().to_pylist().index(True)]
            raise UserError(f"{self._index_file}: no {self._name} image {missing!r}")
        return np.asarray(places, np.int64)

    def _name_column(self) -> Any:
        """Return the names as Arrow's array, in which millions take little room."""
        return _columns(self._index_file, self._name, ["name"])["name"].combine_chunks()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an image, uint8 [side, side, 3], RGB, read-only: a view into the mapped shard, or
        a decoded JPEG. For any thread."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = bisect.bisect_right(self._starts, index) - 1
        return self._shard(shard)[index - self._starts[shard]]

    def gather_crops(self, indices: NDArray[np.int64], tops: NDArray[np.int64],
                     lefts: NDArray[np.int64], flips: NDArray[np.bool_],
                     size: int = 224) -> NDArray[np.uint8]:
        """Return one crop of each image of a batch, some mirrored.

        Args:
            indices: integers [n], positions in this split.
            tops, lefts: integers [n], 0 .. side - size: the crops' upper left corners.
            flips: bool [n]: mirror left and right after cropping.
            size: of the square crops.

        Returns:
            uint8 [n, size, size, 3].

        Raises:
            IndexError: an index or a corner is out of range.
        """
        from alexnet.augmentation import copy_crop  # PyTorch, which most users of a store need not

        corners = np.stack([tops, lefts])
        if corners.size and not 0 <= corners.min() <= corners.max() <= self.side - size:
            raise IndexError(f"a crop of {size} pixels reaches out of the image")
        crops = np.empty((len(indices), size, size, 3), np.uint8)
        for number, here, rows in self._by_shard(indices):
            images = self._shard(number)
            for place, row in zip(here.tolist(), rows.tolist(), strict=True):
                copy_crop(crops[place], images[row], int(tops[place]), int(lefts[place]),
                    bool(flips[place]))
        return crops

    def expect(self, indices: NDArray[np.int64]) -> None:
        """Have the system read these images from the disk ahead of `gather_crops`; returns at once.

        Raises:
            IndexError: an index is out of range.
        """
        for number, _, rows in self._by_shard(indices):
            read_ahead(self._files[number],
                       byte_ranges(np.unique(rows), self.side, self._places_in(number)))

    def _by_shard(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64],
                                                                      NDArray[np.int64]]]:
        """Yield, for each shard that holds some of these images, its number, their places in
        `indices`, and their rows in it."""
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"images {indices.min()} to {indices.max()} of {len(self)}")
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(shards).tolist():
            here = np.flatnonzero(shards == number)
            yield number, here, indices[here] - self._starts[number]

    def verify(self) -> list[str]:
        """Return the shards' digests, recomputed from every pixel; UserError names the first shard
        that has another."""
        for number in range(len(self._files)):
            self._verified(number, again=True)
        return self._digests

    def _shard(self, number: int) -> Images:
        opened = self._opened[number]
        if opened is None:  # its first use: from here on it is trusted
            opened = self._opened[number] = self._verified(number)
        return opened

    def check_unchanged(self) -> None:
        """See that nobody has changed the shards since their first use; raises UserError naming the
        first that was."""
        for number, stamp in list(self._stamps.items()):
            file = self._files[number]
            if stamp_of(file)[:4] != stamp[:4]:  # a link to it may be made meanwhile
                raise damaged(file, "it was changed while it was in use")

    def _verified(self, number: int, again: bool = False) -> Images:
        """Return a shard whose digest is proved: by reading it from end to end, or, but for
        `again`, by what has been proved of the file before. Raises UserError when it is not as
        written."""
        file = self._files[number]
        stamp = self._stamps[number] = stamp_of(file)
        images = open_shard(file, self._lengths[number], self.side, self._places_in(number))
        labels = self.labels[self._starts[number]: self._starts[number + 1]]
        # of the labels, too, which the shard's digest covers and its file does not hold
        digest = f"{self._digests[number]} {hashlib.sha256(labels.tobytes()).hexdigest()}"
        if again or not self._proofs.holds(file.name, digest, stamp):
            if digest_of_images(images, labels.tolist()) != self._digests[number]:
                raise damaged(file, "its pixels or labels are not those that were written")
            self._proofs.add(file.name, digest, stamp)
        return images

    def _places_in(self, shard: int) -> NDArray[np.int64] | None:
        return (None if self._places is None
                else self._places[self._starts[shard]: self._starts[shard + 1]])


def _index(file: Path, split: str, numbers: list[int], lengths: list[int],
           encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the split's labels [n] and the places of its JPEGs [n, 2]. Raises UserError where the
    index does not have the images of store.json."""
    names = ["label", "shard", "row", *(["offset", "size"] if encoding == "jpeg" else [])]
    columns = {name: column.to_numpy().astype(np.int64)
               for name, column in _columns(file, split, names).items()}
    shard = np.repeat(np.asarray(numbers, np.int64), lengths)
    row = np.concatenate([np.arange(0), *(np.arange(length) for length in lengths)])
    if not (np.array_equal(columns["shard"], shard) and np.array_equal(columns["row"], row)):
        raise damaged(file, f"its {split} images are not those of {DESCRIPTION}")
    places = np.stack([columns["offset"], columns["size"]], axis=1) if encoding == "jpeg" else None
    return columns["label"], places


def _columns(file: Path, split: str, names: list[str]) -> dict[str, Any]:
    """Return these columns of the index, of one split's images, as Arrow's chunked arrays."""
    from pipeline.data.arrow import pyarrow

    try:
        with file.open("rb") as stream, pyarrow.parquet.ParquetFile(stream) as opened:
            # pyarrow.parquet.read_table would import pandas
            table = opened.read(columns=["split", *names], use_threads=False)
        table = table.filter(pyarrow.compute.equal(table["split"], split))
        return {name: table[name] for name in names}
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise damaged(file, str(error)) from None
