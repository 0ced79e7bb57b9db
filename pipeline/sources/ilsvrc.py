"""ILSVRC 2012 in its official form: three archives, read in place.

    ILSVRC2012_img_train.tar       one <wnid>.tar a class, each of <wnid>_<number>.JPEG
    ILSVRC2012_img_val.tar         ILSVRC2012_val_00000001.JPEG and on
    ILSVRC2012_devkit_t12.tar.gz   data/meta.mat (the classes), data/ILSVRC2012_validation_ground_truth.txt

A label is the development kit's ILSVRC2012_ID less one, which is not the order of the wnids. Only leaves of the
hierarchy (num_children == 0) are classes. Line i of the ground truth is the id of the i-th validation picture by name.
"""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.progress import progress
from pipeline.sources import Catalogue, Class, Entry
from pipeline.sources.tars import Member, members

TRAIN = "ILSVRC2012_img_train.tar"
VAL = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True)
class Devkit:
    """The classes, in label order, and the label of each validation picture, in order of name."""

    classes: list[Class]
    val_labels: list[int]


def devkit(file: Path) -> Devkit:
    """Read the development kit.

    Raises:
        UserError: the file is missing, damaged, or not a development kit.
    """
    try:
        content = gzip.decompress(file.read_bytes())  # all of it, and so its checksum too
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            meta, truth = (_content(archive, name) for name in (META, TRUTH))
        classes = _classes(meta)
        labels = [int(line) - 1 for line in truth.split()]
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; fetch it again") from None
    except (tarfile.TarError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise UserError(f"{file}: damaged, or no ILSVRC 2012 development kit ({error}); fetch it again") from None
    if not all(0 <= label < len(classes) for label in labels):
        raise UserError(f"{file}: {TRUTH} has ids outside 1..{len(classes)}")
    return Devkit(classes, labels)


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)  # KeyError: no such member
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream.read()


def _classes(meta: bytes) -> list[Class]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    except (MatReadError, TypeError, NotImplementedError) as error:
        raise ValueError(f"meta.mat: {error}") from None
    leaves = {int(one["ILSVRC2012_ID"]): Class(str(one["WNID"]), str(one["words"]))
              for one in np.atleast_1d(synsets) if int(one["num_children"]) == 0}
    if sorted(leaves) != list(range(1, len(leaves) + 1)):
        raise ValueError("meta.mat: the ids of the leaves are not 1, 2, 3, ...")
    return [leaves[number] for number in sorted(leaves)]


def catalogue(folder: Path) -> Catalogue:
    """Find every picture of the three archives in `folder`.

    Raises:
        UserError: an archive is damaged, or the three do not belong together.
    """
    kit = devkit(folder / DEVKIT)
    return Catalogue(kit.classes, _train(folder / TRAIN, kit.classes), _val(folder / VAL, kit.val_labels))


def _train(file: Path, classes: list[Class]) -> list[Entry]:
    archives = _named({f"{one.wnid}.tar": one for one in classes}, file)
    entries = []
    with progress(f"reading the tables of {file.name}", len(classes), "classes") as advance:
        for label, one in enumerate(classes):
            inner = archives[f"{one.wnid}.tar"]
            pictures = _sorted(file, inner)
            if not pictures:
                raise UserError(f"{file}: {inner.name} has no picture")
            entries += [Entry(member.name, label, file, member.offset, member.size) for member in pictures]
            advance(1)
    names = {entry.name for entry in entries}
    if len(names) != len(entries):
        raise UserError(f"{file}: {len(entries) - len(names)} names occur in more than one class")
    return entries


def _named(wanted: dict[str, Class], file: Path) -> dict[str, Member]:
    archives = {member.name: member for member in _sorted(file)}
    if unknown := sorted(archives.keys() - wanted.keys()):
        raise UserError(f"{file}: {unknown[0]} is of no class of {DEVKIT} ({len(unknown)} such)")
    if missing := sorted(wanted.keys() - archives.keys()):
        raise UserError(f"{file}: no {missing[0]}, though {DEVKIT} has that class ({len(missing)} such)")
    return archives


def _sorted(file: Path, within: Member | None = None) -> list[Member]:
    found = sorted(members(file, within), key=lambda member: member.name)
    for first, second in itertools.pairwise(found):
        if first.name == second.name:
            raise UserError(f"{file}: {within.name + ': ' if within else ''}{first.name} occurs twice")
    return found


def _val(file: Path, labels: list[int]) -> list[Entry]:
    pictures = _sorted(file)
    if len(pictures) != len(labels):
        raise UserError(f"{file}: {len(pictures)} pictures, but {len(labels)} lines in {TRUTH}")
    return [Entry(member.name, label, file, member.offset, member.size)
            for member, label in zip(pictures, labels, strict=True)]
