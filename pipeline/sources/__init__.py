"""How pictures get in: `fetch(dataset)` puts a data set in place and lists it, `catalogue(dataset)` finds its pictures.

A source is a small module of this package with those two functions: `sample` (made here), `imagenet2012` (the official
archives), `folder` (train/<class>/*, val/<class>/*). Pictures are read where they lie: in a tar within a tar, or in
files of their own. Nothing is unpacked.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.paths import LISTING

if TYPE_CHECKING:
    from pipeline.parameters import DatasetSection


@dataclass(frozen=True, slots=True)  # there may be millions
class Entry:
    """One picture, wherever it lies.

    Attributes:
        name: "n01440764_10026.JPEG", or "class/picture.jpg" of a folder; unique within its split.
        label: 0-based class number.
        file: what holds its bytes: an archive, or the picture itself.
        offset: where its bytes start in `file`.
        size: how many there are.
    """

    name: str
    label: int
    file: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Class:
    """A class: its WordNet id (the folder's name where there is none) and the words for it. Its label is its index."""

    wnid: str
    words: str


@dataclass(frozen=True)
class Catalogue:
    """Every picture of a data set: `train` by class, then name; `val` by name."""

    classes: list[Class]
    train: list[Entry]
    val: list[Entry]


@dataclass(frozen=True)
class Listed:
    """A file of a data set with its checksums. Its name is relative: a listing does not say where it was made."""

    name: str
    bytes: int
    sha256: str
    md5: str | None = None


@dataclass(frozen=True)
class Listing:
    """What `alexnet download` has put in place. `made_with`: the parameters of a data set that is made, not found."""

    source: str
    classes: list[Class]
    files: list[Listed]
    made_with: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        files = [{key: value for key, value in asdict(file).items() if value is not None} for file in self.files]
        return {"source": self.source, **({"made_with": self.made_with} if self.made_with else {}),
                "classes": [asdict(one) for one in self.classes], "files": files}

    @staticmethod
    def of_json(values: Any) -> Listing:
        return Listing(values["source"], [Class(**one) for one in values["classes"]],
                       [Listed(**file) for file in values["files"]], values.get("made_with", {}))


def fetch(dataset: DatasetSection) -> Listing:
    """Put the data set in place, verify it, list it.

    Raises:
        UserError: something is missing or damaged.
    """
    listing: Listing = _source(dataset).fetch(dataset)
    return listing


def catalogue(dataset: DatasetSection) -> Catalogue:
    """Every picture of the data set that `alexnet download` has listed.

    Raises:
        UserError: there is no listing, it is of other parameters, or the files have changed since.
    """
    values = read_json(LISTING, "download")
    try:
        listing = Listing.of_json(values)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{LISTING}: not a listing; make it again with `alexnet download`") from None
    made_with = dataset.sample.model_dump() if dataset.source == "sample" else {}
    if (listing.source, listing.made_with) != (dataset.source, made_with):
        raise UserError(f"{LISTING}: of dataset.source {listing.source} {listing.made_with or ''}, but the parameters "
                        f"say {dataset.source} {made_with or ''}; run `alexnet download` again")
    found: Catalogue = _source(dataset).catalogue(dataset, listing)
    return found


def read(entry: Entry) -> bytes:
    """The picture's bytes, as they are stored.

    Raises:
        UserError: the file is gone or shorter than it was when it was listed.
    """
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
        raise UserError(f"{entry.file}: ends within {entry.name}: {entry.size} bytes expected at {entry.offset}, "
                        f"{len(content)} there; run `alexnet download` again")
    return content


def in_place(root: Path, files: Iterable[Listed]) -> list[Path]:
    """Where the listed files are, each still of its listed size; UserError names the first that is not."""
    paths = []
    for file in files:
        path = root / file.name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}, but in {LISTING}; run `alexnet download` again") from None
        if size != file.bytes:
            raise UserError(f"{path}: {size} bytes, but {file.bytes} in {LISTING}; run `alexnet download` again")
        paths.append(path)
    return paths


def _source(dataset: DatasetSection) -> Any:
    return importlib.import_module(f"pipeline.sources.{dataset.source}")
