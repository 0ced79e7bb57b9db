"""How pictures get in: `fetch` puts a data set in place, lists it and finds its pictures;
`catalogue` has them again.

A source is a small module of this package: `sample` (made here), `imagenet2012`, `imagenet2010`,
`imagenette`, `cifar10`, `folder` (train/<class>/*, val/<class>/*). Each has

    TERMS                    the data set's licence in a few words, said before the first download
    plan(dataset) -> Plan    what `fetch` would download and write, and how much disk that takes
    fetch(dataset) -> Found  the data set in place and verified; its listing; its pictures

Pictures are read where they lie: in a tar, in a tar within a tar, in a zip, or in files of their
own. What cannot be read picture by picture (a compressed tar, Parquet) is put into a plain tar
once, by pipeline.data.sources.repack.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.paths import ARCHIVES, DOWNLOAD, INDEX, LISTING, WORK
from pipeline.system.errors import UserError
from pipeline.system.files import read_json, write_json
from pipeline.system.terminal import say

if TYPE_CHECKING:
    from pipeline.config.parameters import DatasetSection
    from pipeline.data.sources.planning import Plan

TERMS_SAID = WORK / "terms.json"
LARGEST = 1 << 28  # bytes of one picture's file; ImageNet's largest has some 15 million


@dataclass(frozen=True, slots=True)  # there may be millions
class Entry:
    """One picture, wherever it lies.

    Attributes:
        name: "n01440764_10026.JPEG", or "class/picture.jpg" of a folder; unique within its split.
        label: 0-based class number.
        file: what holds its bytes: an archive, or the picture itself.
        offset: where its bytes start in `file`.
        size: how many there are.
        packing: how they are compressed there: "" (not at all), "deflate" (as in a zip), "gzip".
    """

    name: str
    label: int
    file: Path
    offset: int
    size: int
    packing: str = ""


@dataclass(frozen=True)
class Class:
    """A class: its WordNet id (the folder's name where there is none) and the words for it. Its
    label is its index."""

    wnid: str
    words: str


@dataclass(frozen=True)
class Catalogue:
    """Every picture of a data set: `train` by class, then name; `val` by name."""

    classes: list[Class]
    train: Sequence[Entry]
    val: Sequence[Entry]


@dataclass(frozen=True)
class Listed:
    """A file of a data set with its checksums. Its name is relative: a listing does not say where
    it was made."""

    name: str
    bytes: int
    sha256: str
    md5: str | None = None


@dataclass(frozen=True)
class Listing:
    """What `alexnet download` has put in place. `made_with`: the parameters of a data set that is
    made, not found."""

    source: str
    classes: list[Class]
    files: list[Listed]
    made_with: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """As it stands in listing.json."""
        files = [{key: value for key, value in asdict(file).items() if value is not None}
                 for file in self.files]
        return {"source": self.source, **({"made_with": self.made_with} if self.made_with else {}),
                "classes": [asdict(one) for one in self.classes], "files": files}

    @staticmethod
    def of_json(values: Any) -> Listing:
        """What `as_json` was made of."""
        return Listing(values["source"], [Class(**one) for one in values["classes"]],
                       [Listed(**file) for file in values["files"]], values.get("made_with", {}))


@dataclass(frozen=True)
class Found:
    """A data set that is in place, and its pictures."""

    listing: Listing
    catalogue: Catalogue


def root(dataset: DatasetSection) -> Path:
    """The folder of the data set's files: `dataset.location`, or archives/ where that is null; the
    sample's own."""
    return DOWNLOAD if dataset.source == "sample" else dataset.location or ARCHIVES


def fetch(dataset: DatasetSection) -> Listing:
    """Put the data set in place and verify it; leave its listing and the index of its pictures in
    data/download.

    Raises:
        UserError: something is missing or damaged, or cannot be downloaded.
    """
    from pipeline.data.sources.index import write_index

    if (dataset.location and dataset.source not in ("sample", "folder")
            and not dataset.location.is_dir()):
        raise UserError(f"dataset.location: {dataset.location}: no such folder; make it, or name "
                        "the one that holds the data set's files or shall hold them, or set it to "
                        f"null for {ARCHIVES}")
    _say_terms(dataset)
    found: Found = _source(dataset).fetch(dataset)
    write_index(INDEX, {"train": found.catalogue.train, "val": found.catalogue.val})
    write_json(LISTING, found.listing.as_json())
    return found.listing


def plan(dataset: DatasetSection) -> Plan:
    """What `fetch` would do."""
    planned: Plan = _source(dataset).plan(dataset)
    return planned


def terms(dataset: DatasetSection) -> str:
    """The data set's licence, in a sentence or two."""
    text: str = _source(dataset).TERMS
    return text


def _say_terms(dataset: DatasetSection) -> None:
    """Before the first download of a data set, and not again when it goes on."""
    planned = plan(dataset)
    if not planned.fetched or planned.by_hand:
        return
    try:
        said = json.loads(TERMS_SAID.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = []
    if dataset.source not in said:
        say(terms(dataset))
        write_json(TERMS_SAID, [*said, dataset.source])


def catalogue(dataset: DatasetSection) -> Catalogue:
    """Every picture of the data set that `alexnet download` has listed.

    Raises:
        UserError: there is no listing, it is of other parameters, or the files have changed since.
    """
    from pipeline.data.sources.index import read_index

    values = read_json(LISTING, "download")
    try:
        listing = Listing.of_json(values)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{LISTING}: not a listing; make it again with "
                        "`alexnet download`") from None
    made_with = dataset.sample.model_dump() if dataset.source == "sample" else {}
    if (listing.source, listing.made_with) != (dataset.source, made_with):
        raise UserError(f"{LISTING}: of dataset.source {listing.source} {listing.made_with or ''}, "
                        f"but the parameters say {dataset.source} {made_with or ''}; run "
                        "`alexnet download` again")
    in_place(root(dataset), listing.files)
    return Catalogue(listing.classes, **read_index(INDEX, root(dataset), ("train", "val")))


def stamp(dataset: DatasetSection) -> str:
    """Another one when one of the listed files has been written to: a digest of their sizes and
    times of change."""
    digest = hashlib.sha256()
    for file in Listing.of_json(read_json(LISTING, "download")).files:
        try:
            found = (root(dataset) / file.name).stat()
            digest.update(f"{file.name} {found.st_size} {found.st_mtime_ns}\n".encode())
        except OSError as error:
            digest.update(f"{file.name} {error.strerror}\n".encode())
    return digest.hexdigest()


def read(entry: Entry) -> bytes:
    """The picture's bytes: a JPEG, PNG or PPM file, still encoded.

    Raises:
        UserError: the file is gone, shorter than it was when it was listed, or broken where the
            picture is packed.
    """
    if not 0 <= entry.size <= LARGEST:
        raise UserError(f"{entry.file}: {entry.name}: {entry.size:,} bytes are no picture; remove "
                        "it, and run `alexnet download` again")
    try:
        descriptor = os.open(entry.file, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{entry.file}: {error.strerror}, though it was listed for {entry.name}; "
                        "run `alexnet download` again") from None
    try:
        content = os.pread(descriptor, entry.size, entry.offset)
    finally:
        os.close(descriptor)
    if len(content) != entry.size:
        raise UserError(f"{entry.file}: ends within {entry.name}: {entry.size} bytes expected at "
                        f"{entry.offset}, {len(content)} there; run `alexnet download` again")
    return _unpacked(content, entry) if entry.packing else content


def _unpacked(content: bytes, entry: Entry) -> bytes:
    try:
        if entry.packing == "gzip":
            with gzip.open(io.BytesIO(content)) as stream:
                unpacked = stream.read(LARGEST + 1)
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            unpacked = inflater.decompress(content, LARGEST + 1)
            if not inflater.eof and len(unpacked) <= LARGEST:
                raise EOFError("it does not come to its end")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{entry.file}: {entry.name}: cannot be unpacked ({error}); fetch the "
                        "archive again") from None
    if len(unpacked) > LARGEST:
        raise UserError(f"{entry.file}: {entry.name}: unpacks to more than {LARGEST:,} bytes, "
                        "which is no picture")
    return unpacked


def in_place(root: Path, files: Iterable[Listed]) -> list[Path]:
    """Where the listed files are, each still of its listed size; UserError names the first that is
    not."""
    paths = []
    for file in files:
        path = root / file.name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}, but in {LISTING}; run `alexnet download` "
                            "again") from None
        if size != file.bytes:
            raise UserError(f"{path}: {size} bytes, but {file.bytes} in {LISTING}; run "
                            "`alexnet download` again")
        paths.append(path)
    return paths


def _source(dataset: DatasetSection) -> Any:
    return importlib.import_module(f"pipeline.data.sources.{dataset.source}")
