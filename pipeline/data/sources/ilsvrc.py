"""ILSVRC in its official form, three archives of a year, read in place.

    ILSVRC2012_img_train.tar       one <wnid>.tar a class, each of <wnid>_<number>.JPEG
    ILSVRC2012_img_val.tar         ILSVRC2012_val_00000001.JPEG and on
    ILSVRC2012_devkit_t12.tar.gz   data/meta.mat (the classes),
                                   data/ILSVRC2012_validation_ground_truth.txt

A label is the development kit's id less one, which is not the order of the wnids. Only leaves of
the hierarchy (num_children == 0) are classes. Line i of the ground truth is the id of the picture
with number i in its name. The archives of 2010 have other names, their validation pictures are in
a folder, and some pictures are gzipped.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.sources import meta_mat
from pipeline.data.sources.catalogue import Class, Place
from pipeline.data.sources.tars import Member, members
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress


@dataclass(frozen=True)
class Year:
    """The names of one year's archives, of the development kit's folder and its ground truth, of
    the ids in its meta.mat, and the beginning of the validation pictures' names."""

    train: str
    val: str
    devkit: str
    folder: str
    truth: str
    number: str
    val_name: str

    @property
    def meta(self) -> str:
        """The path of meta.mat in the development kit's archive."""
        return f"{self.folder}/data/meta.mat"

    @property
    def truth_path(self) -> str:
        """The path of the ground truth in the development kit's archive."""
        return f"{self.folder}/data/{self.truth}"


Y2012 = Year("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz",
             "ILSVRC2012_devkit_t12", "ILSVRC2012_validation_ground_truth.txt", "ILSVRC2012_ID",
             "ILSVRC2012_val_")
Y2010 = Year("ILSVRC2010_images_train.tar", "ILSVRC2010_images_val.tar",
             "ILSVRC2010_devkit-1.0.tar.gz", "devkit-1.0", "ILSVRC2010_validation_ground_truth.txt",
             "ILSVRC2010_ID", "ILSVRC2010_val_")
LARGEST_KIT = 1 << 28  # bytes, unpacked; that of 2012 has 5 million


@dataclass(frozen=True)
class Devkit:
    """The classes, in label order, the label of each validation picture, by its name without
    suffix, and how many training pictures each class has."""

    classes: list[Class]
    val_labels: dict[str, int]
    train_counts: list[int]


def devkit(file: Path, year: Year = Y2012, known: bool = False) -> Devkit:
    """Read the development kit: its archive, or the folder that it was unpacked to.

    `known`: its bytes are, by their checksum, or because they were written here; meta.mat of
    another is read in a process of its own.

    Raises:
        UserError: the file is missing, damaged, or not a development kit.
    """
    try:
        if file.is_dir():
            meta, truth = ((file / "data" / name).read_bytes() for name in ("meta.mat", year.truth))
        else:
            meta, truth = _archived(file, year)
        classes, counts = _classes(meta, year.number, known)
        return Devkit(classes, read_truth(truth, len(classes), year), counts)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; fetch it again") from None
    except (tarfile.TarError, EOFError, zlib.error, KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged, or no ILSVRC development kit ({error}); fetch it "
                        "again") from None


def read_truth(content: bytes, classes: int, year: Year = Y2012) -> dict[str, int]:
    """Return the label of each validation picture, by its name without suffix, from the ground
    truth: line i is the id of the picture with the number i.

    Raises:
        ValueError: an id is no number or of no class.
    """
    labels = [int(line) - 1 for line in content.decode("utf-8-sig").split()]
    if not all(0 <= label < classes for label in labels):
        raise ValueError(f"{year.truth} has ids outside 1..{classes}")
    return {f"{year.val_name}{number:08}": label for number, label in enumerate(labels, 1)}


def _archived(file: Path, year: Year) -> list[bytes]:
    with gzip.open(file) as stream:
        content = stream.read(LARGEST_KIT + 1)  # all of it, and so its checksum too
    if len(content) > LARGEST_KIT:
        raise ValueError(f"it unpacks to more than {LARGEST_KIT:,} bytes")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return [_content(archive, name) for name in (year.meta, year.truth_path)]


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)  # KeyError: no such member
    stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream.read()


def _classes(meta: bytes, number: str, known: bool) -> tuple[list[Class], list[int]]:
    read = meta_mat.classes if known else meta_mat.classes_apart
    leaves = sorted(read(meta, number))
    if [place for place, *_ in leaves] != list(range(1, len(leaves) + 1)):
        raise ValueError("meta.mat: the ids of the leaves are not 1, 2, 3, ...")
    return [Class(wnid, words) for _, wnid, words, _ in leaves], [row[3] for row in leaves]


def train_places(folder: Path, classes: list[Class], year: Year = Y2012) -> Iterator[Place]:
    """Yield the training pictures in their archive.

    Raises:
        UserError: it is damaged, or not of these classes.
    """
    file = folder / year.train
    archives: dict[str, Member] = {}
    for member in members(file):
        if member.name in archives:
            raise UserError(f"{file}: {member.name} occurs twice; fetch it again")
        archives[member.name] = member
    wanted = {f"{one.wnid}.tar" for one in classes}
    if unknown := sorted(archives.keys() - wanted):
        raise UserError(f"{file}: {unknown[0]} is of no class of {year.devkit} ({len(unknown)} "
                        "such)")
    if missing := sorted(wanted - archives.keys()):
        raise UserError(f"{file}: no {missing[0]}, though {year.devkit} has that class "
                        f"({len(missing)} such)")
    with progress(f"reading the tables of {file.name}", len(classes), "classes") as advance:
        for one in classes:
            yield from _places(file, f"train/{one.wnid}", archives[f"{one.wnid}.tar"], year)
            advance(1)


def val_places(folder: Path, year: Year = Y2012) -> Iterator[Place]:
    """Yield the validation pictures in their archive.

    Raises:
        UserError: it is damaged.
    """
    return _places(folder / year.val, "val", None, year)


def _places(file: Path, split: str, within: Member | None, year: Year) -> Iterator[Place]:
    with file.open("rb", buffering=0) as stream:
        for member in members(file, within, folders=year is Y2010 and within is None):
            gzipped = year is Y2010 and os.pread(stream.fileno(), 2, member.offset) == b"\x1f\x8b"
            yield Place(f"{split}/{member.name.rpartition('/')[2]}", file.name, member.offset,
                        member.size, "gzip" if gzipped else "")
