"""The types of a data set: its classes, its pictures and where each lies, its files with their
checksums, and what was left out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

EXAMPLES = 3  # names given of the files that one reason leaves out


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, wherever it lies.

    Attributes:
        name: "n01440764_10026.JPEG", or "class/picture.jpg" of a folder; unique within its split.
        label: the 0-based number of its class.
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


class Place(NamedTuple):
    """Where one file lies: its path in the data set ("train/n01440764/n01440764_10026.JPEG"), and,
    as in `Picture`, the file that holds its bytes, relative to the data set's folder."""

    path: str
    file: str
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
    """What `alexnet download` has put in place. `made_with` has the parameters of a data set that
    is drawn here."""

    source: str
    classes: list[Class]
    files: Iterable[ListedFile]
    made_with: dict[str, int]


@dataclass
class LeftOut:
    """The files of a data set's folder that are not taken, by the reason why."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.files.values()))

    def add(self, reason: str, path: str) -> None:
        """Add a file."""
        self.files.setdefault(reason, []).append(path)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many files there are of each reason."""
        return {reason: len(paths) for reason, paths in self.files.items()}

    def lines(self) -> list[str]:
        """Return one sentence for each reason, with the first files by name."""
        return [f"{len(paths):,} {'file' if len(paths) == 1 else 'files'} left out, {reason}: "
                f"{', '.join(sorted(paths)[:EXAMPLES])}{', ...' * (len(paths) > EXAMPLES)}"
                for reason, paths in sorted(self.files.items())]


@dataclass(frozen=True)
class Contents:
    """A data set that is in place.

    Attributes:
        files: that hold its pictures, relative to its folder; None: each picture is one itself.
        algorithms: of the checksums that its listing has.
        left_out: files that are no pictures of it, which is of no consequence.
        strays: pictures that no key gives a label to; they are left out, too.
        missing: the keys of validation labels, in order, that no picture has.
        train_counts: how many training pictures each class has by the development kit; empty where
            there is none.
    """

    catalogue: Catalogue
    files: Sequence[str] | None = None
    algorithms: tuple[str, ...] = ("sha256",)
    left_out: LeftOut = field(default_factory=LeftOut)
    strays: LeftOut = field(default_factory=LeftOut)
    missing: Sequence[str] = ()
    train_counts: Sequence[int] = ()


def leads_elsewhere(path: str) -> bool:
    """Return whether a relative path is absolute or leads out of its folder."""
    pure = PurePosixPath(path)
    return pure.is_absolute() or ".." in pure.parts
