"""The image store: shards of 256x256 images (32x32 for CIFAR-10), mapped into memory, and all that
says what they are.

    train-00000.npy ...  up to 1,024 images each, val-00000.npy ...; or .jpegs
    (pipeline.data.shards)
    index.parquet        one row an image, in stored order: split, name, sha256 (of the source
                         file), label, shard, row; where shards hold JPEGs also offset and size, of
                         its bytes in the shard
    classes.json         the classes, in the order of their labels: wnid, words
    quarantine.json      images that could not be decoded: split, name, reason, sha256, fix
    doubtful.json        images that are stored although their files are damaged: the same
    moments.safetensors  exact sums over the training images (pipeline.data.moments)
    store.json           format, encoding, decoder, order, shards with their lengths and digests,
                         pixels_digest, digest

A shard's digest is the sha256 over its images of the label (8 bytes, little-endian) and the pixels,
as they are read; `pixels_digest` is that of the shards' digests. store.json has digests of the
files beside it and of itself, which are checked when the store is opened; a shard's is checked when
the first of its images is asked for, once on each machine (pipeline.data.proofs).
`publish_description` writes all but the shards, and `Store` reads.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.identity import APART, flat_parameters
from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.data.moments import Moments
from pipeline.data.pixels import decoder
from pipeline.data.proofs import Proofs, Stamp, stamp_of
from pipeline.data.shards import (
    Encoding,
    Images,
    Place,
    check_size,
    cut,
    damaged,
    digest_of_images,
    open_shard,
    pieces,
    read_ahead,
    shard_file,
)
from pipeline.data.sources.catalogue import Class
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, read_json, sha256_of, write_json

FORMATS: dict[Encoding, int] = {"raw": 1, "jpeg": 2}
SHARD_IMAGES = 1024  # as many as a batch file of 2012 had
SPLITS = ("train", "val")
DESCRIPTION = "store.json"
INDEX = "index.parquet"
CLASSES = "classes.json"
QUARANTINE = "quarantine.json"
DOUBTFUL = "doubtful.json"
MOMENTS = "moments.safetensors"  # has a digest of its own
DESCRIBED = (INDEX, CLASSES, QUARANTINE, DOUBTFUL)


def digest_of_shards(digests: Mapping[str, Sequence[str]]) -> str:
    """The `pixels_digest`: sha256 over each split's name and its shards' digests, in order."""
    text = "".join("\n".join([split, *digests[split], ""]) for split in SPLITS)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """A stored image.

    Attributes:
        name: of its source file, as the data set has it.
        sha256: of that file, in hexadecimal.
        label: of its class, 0 .. classes - 1.
        place: offset and size in bytes in a JPEG shard; None in a raw one.
    """

    name: str
    sha256: str
    label: int
    place: Place | None = None


@dataclass(frozen=True)
class Quarantined:
    """A picture that could not be decoded, or not wholly.

    Attributes:
        split, name: of the picture.
        reason: what is wrong with it, in a few words.
        sha256: of its file.
        fix: what makes a picture of it.
    """

    split: str
    name: str
    reason: str
    sha256: str
    fix: str = ""


@dataclass(frozen=True)
class StoredShard:
    """A written shard: its images in stored order and its digest."""

    split: str
    number: int
    sha256: str
    rows: list[Row]


def publish_description(folder: Path, classes: Sequence[Class], shards: Iterable[StoredShard],
                        moments: Moments, quarantined: Sequence[Quarantined], made: dict[str, Any],
                        encoding: Encoding = "raw",
                        doubtful: Sequence[Quarantined] = ()) -> dict[str, Any]:
    """Write everything but the shards: index, classes, quarantine, moments and, last, store.json.

    Args:
        folder: of the store, in which the shards are.
        classes: in the order of their labels.
        shards: of all splits, each split's in order.
        moments: of the training images.
        quarantined: what could not be decoded.
        made: goes into store.json as it is: the decoder, the order.
        encoding: of the shards.
        doubtful: what is stored although it could not be decoded wholly.

    Returns:
        What store.json holds.
    """
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    with atomic_write(folder / INDEX) as stream:
        for shard in _indexed(stream, shards, encoding):
            splits[shard.split].append({"number": shard.number, "images": len(shard.rows),
                                        "sha256": shard.sha256})
    write_json(folder / CLASSES, [asdict(one) for one in classes])
    write_json(folder / QUARANTINE, [asdict(one) for one in quarantined])
    write_json(folder / DOUBTFUL, [asdict(one) for one in doubtful])
    moments.save(folder / MOMENTS)
    digests = {split: [shard["sha256"] for shard in splits[split]] for split in SPLITS}
    images = {split: sum(shard["images"] for shard in splits[split]) for split in SPLITS}
    description = {"format": FORMATS[encoding], "encoding": encoding, **made,
                   "side": len(moments.sums), "images": images, "shard_images": SHARD_IMAGES,
                   "pixels_digest": digest_of_shards(digests), "shards": splits,
                   "files": {name: sha256_of(folder / name) for name in DESCRIBED}}
    description["digest"] = _digest_of(description)
    write_json(folder / DESCRIPTION, description)
    return description


def _digest_of(description: Mapping[str, Any]) -> str:
    """The sha256 of a description, but for its own digest."""
    told = {name: value for name, value in description.items() if name != "digest"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _check_description(path: Path, description: Mapping[str, Any]) -> None:
    """That store.json and the files beside it are as written. Stores from before there was a digest
    have none."""
    if "digest" not in description:
        return
    if description["digest"] != _digest_of(description):
        raise damaged(path / DESCRIPTION, "it does not have the digest that it names")
    for name, written in description["files"].items():
        try:
            found = sha256_of(path / name)
        except FileNotFoundError:
            raise UserError(f"{path / name}: no such file; make it with `alexnet resize`, or get "
                            "it with `dvc pull`") from None
        except OSError as error:
            raise damaged(path / name, str(error.strerror)) from None
        if found != written:
            raise damaged(path / name, f"it does not have the digest that {DESCRIPTION} names")


def _indexed(stream: IO[bytes], shards: Iterable[StoredShard],
             encoding: Encoding) -> Iterator[StoredShard]:
    """Passes the shards on while their rows go to the index, so that only one shard's rows are in
    memory."""
    import pyarrow
    import pyarrow.parquet

    fields = [("split", pyarrow.string()), ("name", pyarrow.string()), ("sha256", pyarrow.string()),
              ("label", pyarrow.int64()), ("shard", pyarrow.int32()), ("row", pyarrow.int32())]
    schema = pyarrow.schema(fields + ([("offset", pyarrow.int64()), ("size", pyarrow.int32())]
                                      if encoding == "jpeg" else []))
    with pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for shard in shards:
            rows = shard.rows
            columns = {"split": [shard.split] * len(rows), "name": [row.name for row in rows],
                       "sha256": [row.sha256 for row in rows], "label": [row.label for row in rows],
                       "shard": [shard.number] * len(rows), "row": range(len(rows))}
            if encoding == "jpeg":
                places = places_of(rows)
                assert places is not None
                columns |= {"offset": places[:, 0], "size": places[:, 1]}
            writer.write_table(pyarrow.table(columns, schema=schema))
            yield shard


def places_of(rows: Sequence[Row]) -> NDArray[np.int64] | None:
    """int64 [n, 2]: the offset and size of each of a shard's JPEGs; None where the images are
    raw."""
    places = [row.place for row in rows if row.place is not None]
    return np.array(places, np.int64).reshape(-1, 2) if len(places) == len(rows) else None


class Store:
    """A finished store.

    Attributes:
        path: its folder.
        classes: in the order of their labels.
        pixels_digest: sha256 over every label and pixel, in stored order.
        encoding: of its shards: raw or jpeg.
        decoder: what decoded it, as `pipeline.data.pixels.decoder` tells.
        side: of the stored images, 256 in the paper.

    Raises:
        UserError: the folder holds no store, one of another format, one whose files do not fit
            together, or one of JPEGs that the library here decodes to other pixels.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        description = read_json(path / DESCRIPTION, "resize")
        found = description.get("format") if isinstance(description, dict) else None
        if found not in FORMATS.values():
            raise UserError(f"{path / DESCRIPTION}: format {found}, but this program reads formats "
                            f"{', '.join(map(str, FORMATS.values()))}; make the store again with "
                            "`alexnet resize`")
        self.encoding: Encoding = next(encoding
                                       for encoding, number in FORMATS.items() if number == found)
        try:
            _check_description(path, description)
            self.decoder: dict[str, str] = description["decoder"]
            if self.encoding == "jpeg" and self.decoder["jpeg"] != decoder()["jpeg"]:
                raise UserError(f"{path}: its JPEGs were written by {told(self.decoder)}, and "
                                f"decode to other pixels with {told(decoder())}; make the store "
                                "again with `alexnet resize`, or make one with store.encoding: "
                                "raw, which has the same pixels everywhere")
            self.pixels_digest: str = description["pixels_digest"]
            self.side = int(description["side"])
            self.classes = [Class(**one) for one in read_json(path / CLASSES, "resize")]
            self._splits = {split: Split(path, split, description["shards"][split],
                                         len(self.classes), self.side, self.encoding)
                            for split in SPLITS}
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(path / DESCRIPTION, f"{type(error).__name__}: {error}") from None

    def split(self, name: str) -> Split:
        """The split `train` or `val`."""
        return self._splits[name]

    def other_decoder(self) -> str | None:
        """What to tell of a store that was prepared by another decoder or resampler than is here;
        None: by the same.

        Its pixels are what they are; but pictures that are prepared here will not have the same
        ones.
        """
        here = decoder()
        if self.decoder.get("fingerprint") == here["fingerprint"]:
            return None
        return (f"{self.path} was prepared by {told(self.decoder)}; here is {told(here)}, with "
                "which `alexnet resize` would make other pixels")

    def verify(self) -> None:
        """Read every pixel and compare the digests. Raises UserError naming the first file that is
        not as written."""
        digests = {name: split.verify() for name, split in self._splits.items()}
        if digest_of_shards(digests) != self.pixels_digest:
            raise damaged(self.path / DESCRIPTION, "pixels_digest is not that of the shards")


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
        import pyarrow
        import pyarrow.compute

        found = pyarrow.compute.index_in(pyarrow.array(names, pyarrow.string()),
                                         value_set=self._name_column())
        if found.null_count:
            missing = names[found.is_null().to_pylist().index(True)]
            raise UserError(f"{self._index_file}: no {self._name} image {missing!r}")
        return np.asarray(found, np.int64)

    def _name_column(self) -> Any:
        """The names as Arrow's array, in which millions take little room."""
        return _columns(self._index_file, self._name, ["name"])["name"].combine_chunks()

    def image(self, index: int) -> NDArray[np.uint8]:
        """uint8 [side, side, 3], RGB, read-only: a view into the mapped shard, or a decoded JPEG.
        For any thread."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = bisect.bisect_right(self._starts, index) - 1
        return self._shard(shard)[index - self._starts[shard]]

    def gather_crops(self, indices: NDArray[np.int64], tops: NDArray[np.int64],
                     lefts: NDArray[np.int64], flips: NDArray[np.bool_],
                     size: int = 224) -> NDArray[np.uint8]:
        """One crop of each image of a batch, some mirrored.

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
        corners = np.stack([tops, lefts])
        if corners.size and not 0 <= corners.min() <= corners.max() <= self.side - size:
            raise IndexError(f"a crop of {size} pixels reaches out of the image")
        crops = np.empty((len(indices), size, size, 3), np.uint8)
        for number, here, rows in self._by_shard(indices):
            images = self._shard(number)
            for place, row in zip(here.tolist(), rows.tolist(), strict=True):
                cut(crops[place], images[row], int(tops[place]), int(lefts[place]),
                    bool(flips[place]))
        return crops

    def expect(self, indices: NDArray[np.int64]) -> None:
        """Have the system read these images from the disk ahead of `gather_crops`; returns at once.

        Raises:
            IndexError: an index is out of range.
        """
        for number, _, rows in self._by_shard(indices):
            read_ahead(self._files[number],
                       pieces(np.unique(rows), self.side, self._places_in(number)))

    def _by_shard(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64],
                                                                      NDArray[np.int64]]]:
        """For each shard that holds some of these images: its number, their places in `indices`,
        their rows in it."""
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
        """That nobody has touched the shards since their first use. Raises UserError naming the
        first."""
        for number, stamp in list(self._stamps.items()):
            file = self._files[number]
            if stamp_of(file)[:4] != stamp[:4]:  # a link to it may be made meanwhile
                raise damaged(file, "it was changed while it was in use")

    def _verified(self, number: int, again: bool = False) -> Images:
        """The shard, whose digest is proved: by reading it from end to end, or, but for `again`, by
        what has been proved of the file before. Raises UserError when it is not as written."""
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


def store_parameters(parameters: Parameters) -> dict[str, str]:
    """Return the parameters that decide the pictures of a store, `section.key` to value."""
    values = flat_parameters(parameters, ("dataset", "resize", "store"))
    return {name: value for name, value in values.items() if name not in APART and (
        parameters.dataset.source == "sample" or not name.startswith("dataset.sample."))}


def check_made_with(parameters: Parameters, path: Path = STORE) -> None:
    """Refuse a store that was made with other parameters than these. Stores from before they said
    so are taken.

    Raises:
        UserError: it was, or there is no store; the message names the first parameter.
    """
    made_with, wanted = made_with_of(path), store_parameters(parameters)
    for name, value in made_with.items():
        if wanted.get(name, value) != value:
            raise UserError(f"{path}: made with {name} {value}, and now it is {wanted[name]}; make "
                            f"it again with `dvc repro resize`, or set {name} back")


def made_with_of(path: Path) -> dict[str, str]:
    """Return the parameters that a store says it was made with; nothing where it says none.

    Raises:
        UserError: there is no store, or its description is damaged.
    """
    description = read_json(path / DESCRIPTION, "resize")
    made_with = description.get("parameters", {}) if isinstance(description, dict) else None
    if not isinstance(made_with, dict):
        raise damaged(path / DESCRIPTION, "parameters: no object")
    return {str(name): str(value) for name, value in made_with.items()}


def prepared_by(path: Path) -> dict[str, str]:
    """Of a store, for a run's record: store_encoding, and store_decoder as `told` tells it."""
    description = read_json(path / DESCRIPTION, "resize")
    try:
        return {"store_encoding": description.get("encoding", "raw"),
                "store_decoder": told(description["decoder"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path / DESCRIPTION, f"{type(error).__name__}: {error}") from None


def told(made_by: Mapping[str, str]) -> str:
    """A decoder, as a person reads it."""
    return ", ".join(f"{name} {value}" if name != "library" else value
                     for name, value in made_by.items())


def _index(file: Path, split: str, numbers: list[int], lengths: list[int],
           encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The split's labels [n] and the places of its JPEGs [n, 2]; the index must count the same
    images as store.json."""
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
    """These columns of the index, of one split's images, as Arrow's chunked arrays."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        with file.open("rb") as stream:
            table = pyarrow.parquet.read_table(stream, columns=["split", *names], use_threads=False)
        table = table.filter(pyarrow.compute.equal(table["split"], split))
        return {name: table[name] for name in names}
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise damaged(file, str(error)) from None
