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

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.identity import APART, BEFORE, flat_parameters
from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.data.moments import Moments
from pipeline.data.pixels import decoder, describe_decoder
from pipeline.data.shards import (
    Encoding,
    Place,
    damaged,
)
from pipeline.data.sources.catalogue import Class
from pipeline.data.split import DESCRIPTION as DESCRIPTION
from pipeline.data.split import INDEX as INDEX
from pipeline.data.split import Split
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, read_json, sha256_of, write_json

FORMATS: dict[Encoding, int] = {"raw": 1, "jpeg": 2}
SHARD_IMAGES = 1024  # as many as a batch file of 2012 had
SPLITS = ("train", "val")
CLASSES = "classes.json"
QUARANTINE = "quarantine.json"
DOUBTFUL = "doubtful.json"
MOMENTS = "moments.safetensors"  # has a digest of its own
DESCRIBED = (INDEX, CLASSES, QUARANTINE, DOUBTFUL)


def digest_of_shards(digests: Mapping[str, Sequence[str]]) -> str:
    """Return the `pixels_digest`: sha256 over each split's name and its shards' digests."""
    text = "".join("\n".join([split, *digests[split], ""]) for split in SPLITS)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class StoredImage:
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
    rows: list[StoredImage]


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
    write_json(folder / CLASSES, [asdict(value) for value in classes])
    write_json(folder / QUARANTINE, [asdict(value) for value in quarantined])
    write_json(folder / DOUBTFUL, [asdict(value) for value in doubtful])
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
    """Return the sha256 of a description, but for its own digest."""
    rest = {name: value for name, value in description.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_description(path: Path, description: Mapping[str, Any]) -> None:
    """See that store.json and the files beside it are as written. Stores from before there was a
    digest have none."""
    if "digest" not in description:
        return
    if description["digest"] != _digest_of(description):
        raise damaged(path / DESCRIPTION, "it does not have the digest that it names")
    for name, written in description["files"].items():
        try:
            digest = sha256_of(path / name)
        except FileNotFoundError:
            raise UserError(f"{path / name}: no such file; make it with `alexnet resize`, or get "
                            "it with `dvc pull`") from None
        except OSError as error:
            raise damaged(path / name, str(error.strerror)) from None
        if digest != written:
            raise damaged(path / name, f"it does not have the digest that {DESCRIPTION} names")


def _indexed(stream: IO[bytes], shards: Iterable[StoredShard],
             encoding: Encoding) -> Iterator[StoredShard]:
    """Pass the shards on while their rows go to the index, so that only one shard's rows are in
    memory."""
    from pipeline.data.arrow import pyarrow

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


def places_of(rows: Sequence[StoredImage]) -> NDArray[np.int64] | None:
    """Return int64 [n, 2]: the offset and size of each of a shard's JPEGs; None where the images
    are raw."""
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
        store_format = description.get("format") if isinstance(description, dict) else None
        if store_format not in FORMATS.values():
            raise UserError(f"{path / DESCRIPTION}: format {store_format}, but this program reads "
                            f"formats {', '.join(map(str, FORMATS.values()))}; make the store "
                            "again with `alexnet resize`")
        self.encoding: Encoding = next(encoding for encoding, number in FORMATS.items()
                                       if number == store_format)
        try:
            _check_description(path, description)
            self.decoder: dict[str, str] = description["decoder"]
            if self.encoding == "jpeg" and self.decoder["jpeg"] != decoder()["jpeg"]:
                raise UserError(f"{path}: its JPEGs were written by "
                                f"{describe_decoder(self.decoder)}, and decode to other pixels "
                                f"with {describe_decoder(decoder())}; make the store again with "
                                "`alexnet resize`, or make one with store.encoding: raw, which has "
                                "the same pixels everywhere")
            self.pixels_digest: str = description["pixels_digest"]
            self.side = int(description["side"])
            self.classes = [Class(**values) for values in read_json(path / CLASSES, "resize")]
            self._splits = {split: Split(path, split, description["shards"][split],
                                         len(self.classes), self.side, self.encoding)
                            for split in SPLITS}
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(path / DESCRIPTION, f"{type(error).__name__}: {error}") from None

    def split(self, name: str) -> Split:
        """Return the split `train` or `val`."""
        return self._splits[name]

    def other_decoder(self) -> str | None:
        """Return what to say of a store that was prepared by another decoder or resampler than is
        here; None where it was the same.

        Its pixels are what they are; but pictures that are prepared here will not have the same
        ones.
        """
        here = decoder()
        if self.decoder.get("fingerprint") == here["fingerprint"]:
            return None
        return (f"{self.path} was prepared by {describe_decoder(self.decoder)}; here is "
                f"{describe_decoder(here)}, with which `alexnet resize` would make other pixels")

    def verify(self) -> None:
        """Read every pixel and compare the digests. Raises UserError naming the first file that is
        not as written."""
        digests = {name: split.verify() for name, split in self._splits.items()}
        if digest_of_shards(digests) != self.pixels_digest:
            raise damaged(self.path / DESCRIPTION, "pixels_digest is not that of the shards")


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
    if made_with:  # what it does not name was not to be chosen then
        made_with = {name: BEFORE[name] for name in wanted if name in BEFORE} | made_with
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


def doubtful_images(path: Path) -> list[dict[str, str]]:
    """Return the rows of a store's doubtful.json; none of stores from before there was one.

    Raises:
        UserError: the file is broken.
    """
    rows: list[dict[str, str]] = (read_json(path / DOUBTFUL, "resize")
                                  if (path / DOUBTFUL).exists() else [])
    return rows


def prepared_by(path: Path) -> dict[str, str]:
    """Return of a store, for a run's record, store_encoding and store_decoder, in words."""
    description = read_json(path / DESCRIPTION, "resize")
    try:
        return {"store_encoding": description.get("encoding", "raw"),
                "store_decoder": describe_decoder(description["decoder"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path / DESCRIPTION, f"{type(error).__name__}: {error}") from None


