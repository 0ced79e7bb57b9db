"""The types of a data set: its classes, its pictures and where each lies, its files with their
checksums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)  # there may be millions
class Picture:
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
    train: Sequence[Picture]
    val: Sequence[Picture]


@dataclass(frozen=True)
class ListedFile:
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
    files: list[ListedFile]
    made_with: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """As it stands in listing.json."""
        files = [{key: value for key, value in asdict(file).items() if value is not None}
                 for file in self.files]
        return {"source": self.source, **({"made_with": self.made_with} if self.made_with else {}),
                "classes": [asdict(one) for one in self.classes], "files": files}

    @staticmethod
    def from_json(values: Any) -> Listing:
        """What `as_json` was made of."""
        return Listing(values["source"], [Class(**value) for value in values["classes"]],
                       [ListedFile(**file) for file in values["files"]],
                       values.get("made_with", {}))


@dataclass(frozen=True)
class DataSet:
    """A data set that is in place, and its pictures."""

    listing: Listing
    catalogue: Catalogue
