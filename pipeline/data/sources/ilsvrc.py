"""ILSVRC in its official form, three archives of a year, read in place.

    ILSVRC2012_img_train.tar       one <wnid>.tar a class, each of <wnid>_<number>.JPEG
    ILSVRC2012_img_val.tar         ILSVRC2012_val_00000001.JPEG and on
    ILSVRC2012_devkit_t12.tar.gz   data/meta.mat (the classes),
                                   data/ILSVRC2012_validation_ground_truth.txt

A label is the development kit's id less one, which is not the order of the wnids. Only leaves of
the hierarchy (num_children == 0) are classes. Line i of the ground truth is the id of the i-th
validation picture by name. The archives of 2010 have other names, their validation pictures are in
a folder, and some pictures are gzipped.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.sources import meta_mat
from pipeline.data.sources.catalogue import Catalogue, Class, Picture
from pipeline.data.sources.index import PictureTable
from pipeline.data.sources.tars import Member, members
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress


@dataclass(frozen=True)
class Year:
    """The names of one year's archives, of what is read in the development kit, and of the ids in
    its meta.mat."""

    train: str
    val: str
    devkit: str
    meta: str
    truth: str
    number: str


Y2012 = Year("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz",
             "ILSVRC2012_devkit_t12/data/meta.mat",
             "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "ILSVRC2012_ID")
Y2010 = Year("ILSVRC2010_images_train.tar", "ILSVRC2010_images_val.tar",
             "ILSVRC2010_devkit-1.0.tar.gz", "devkit-1.0/data/meta.mat",
             "devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt", "ILSVRC2010_ID")


LARGEST_KIT = 1 << 28  # bytes, unpacked; that of 2012 has 5 million


@dataclass(frozen=True)
class Devkit:
    """The classes, in label order, and the label of each validation picture, in order of name."""

    classes: list[Class]
    val_labels: list[int]


def devkit(file: Path, year: Year = Y2012, known: bool = False) -> Devkit:
    """Read the development kit; `known`: its bytes are, by their checksum, or because they were
    written here.

    Raises:
        UserError: the file is missing, damaged, or not a development kit.
    """
    try:
        with gzip.open(file) as stream:
            content = stream.read(LARGEST_KIT + 1)  # all of it, and so its checksum too
        if len(content) > LARGEST_KIT:
            raise ValueError(f"it unpacks to more than {LARGEST_KIT:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            meta, truth = (_content(archive, name) for name in (year.meta, year.truth))
        classes = _classes(meta, year.number, known)
        labels = [int(line) - 1 for line in truth.split()]
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; fetch it again") from None
    except (tarfile.TarError, EOFError, zlib.error, KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged, or no ILSVRC development kit ({error}); fetch it "
                        "again") from None
    if not all(0 <= label < len(classes) for label in labels):
        raise UserError(f"{file}: {year.truth} has ids outside 1..{len(classes)}")
    return Devkit(classes, labels)


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)  # KeyError: no such member
    stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream.read()


def _classes(meta: bytes, number: str, known: bool) -> list[Class]:
    read = meta_mat.classes if known else meta_mat.classes_apart
    leaves = {place: Class(wnid, words) for place, wnid, words in read(meta, number)}
    if sorted(leaves) != list(range(1, len(leaves) + 1)):
        raise ValueError("meta.mat: the ids of the leaves are not 1, 2, 3, ...")
    return [leaves[place] for place in sorted(leaves)]


def catalogue(folder: Path, year: Year = Y2012, known: bool = False) -> Catalogue:
    """Find every picture of the three archives in `folder`; `known` as in `devkit`.

    Raises:
        UserError: an archive is damaged, or the three do not belong together.
    """
    kit = devkit(folder / year.devkit, year, known)
    train = PictureTable.of(folder, _train(folder, kit.classes, year)).ordered("label", "name")
    val = PictureTable.of(folder, _val(folder, kit.val_labels, year))
    return Catalogue(kit.classes, train, val)


def _train(folder: Path, classes: list[Class], year: Year) -> Iterator[Picture]:
    file = folder / year.train
    archives = _named({f"{one.wnid}.tar": one for one in classes}, file, year)
    with progress(f"reading the tables of {file.name}", len(classes), "classes") as advance:
        for label, one in enumerate(classes):
            inner = archives[f"{one.wnid}.tar"]
            pictures = _sorted(file, inner)
            if not pictures:
                raise UserError(f"{file}: {inner.name} has no picture")
            yield from _pictures(file, pictures, [label] * len(pictures), year)
            advance(1)


def _named(wanted: dict[str, Class], file: Path, year: Year) -> dict[str, Member]:
    archives = {member.name: member for member in _sorted(file)}
    if unknown := sorted(archives.keys() - wanted.keys()):
        raise UserError(f"{file}: {unknown[0]} is of no class of {year.devkit} ({len(unknown)} "
                        "such)")
    if missing := sorted(wanted.keys() - archives.keys()):
        raise UserError(f"{file}: no {missing[0]}, though {year.devkit} has that class "
                        f"({len(missing)} such)")
    return archives


def _sorted(file: Path, within: Member | None = None, folders: bool = False) -> list[Member]:
    found = sorted(members(file, within, folders), key=lambda member: member.name)
    for first, second in itertools.pairwise(found):
        if first.name == second.name:
            raise UserError(f"{file}: {within.name + ': ' if within else ''}{first.name} occurs "
                            "twice")
    return found


def _val(folder: Path, labels: list[int], year: Year) -> Iterator[Picture]:
    file = folder / year.val
    pictures = _sorted(file, folders=year is Y2010)
    if len(pictures) != len(labels):
        raise UserError(f"{file}: {len(pictures)} pictures, but {len(labels)} lines in "
                        f"{year.truth}")
    return _pictures(file, pictures, labels, year)


def _pictures(file: Path, members: list[Member], labels: list[int],
              year: Year) -> Iterator[Picture]:
    with file.open("rb", buffering=0) as stream:
        for member, label in zip(members, labels, strict=True):
            gzipped = year is Y2010 and os.pread(stream.fileno(), 2, member.offset) == b"\x1f\x8b"
            yield Picture(member.name.rpartition("/")[2], label, Path(file.name), member.offset,
                        member.size, "gzip" if gzipped else "")
