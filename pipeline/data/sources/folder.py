"""Pictures in folders, train/<class>/* and val/<class>/*, under `dataset.location`.

The classes are the folders of train, in order of name; labels count them from 0. A picture is a
file whose name ends in .jpg, .jpeg or .png, in small or capital letters. Hidden files are passed
over; others are counted and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.parameters import DatasetSection
from pipeline.data.sources.catalogue import Catalogue, Class, DataSet, Listing, Picture
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.index import PictureTable
from pipeline.data.sources.planning import Plan
from pipeline.system.errors import UserError
from pipeline.system.terminal import say

TERMS = "The pictures are yours; so are their terms."
SUFFIXES = (".jpg", ".jpeg", ".png")


def plan(dataset: DatasetSection) -> Plan:
    """Nothing is fetched: the pictures are there."""
    location = _location(dataset)
    return Plan(location,
                images=sum(_is_picture(file) for split in ("train", "val")
                           for folder in _folders(location / split) for file in _visible(folder)))


def fetch(dataset: DatasetSection) -> DataSet:
    """List the pictures with their checksums.

    Raises:
        UserError: a folder is missing or empty, or a validation class is unknown in training.
    """
    location = _location(dataset)
    train, val = (_folders(location / split) for split in ("train", "val"))
    if unknown := [folder for folder in val
                   if folder.name not in {folder.name for folder in train}]:
        raise UserError(f"{unknown[0]}: no such class in {location / 'train'}; remove it or mend "
                        "its name")
    names: list[str] = []
    others: list[Path] = []
    for folder in [*train, *val]:
        pictures = sorted(file.name for file in _visible(folder) if _is_picture(file))
        others += [file for file in _visible(folder) if not _is_picture(file)]
        if not pictures:
            raise UserError(f"{folder}: no pictures ({', '.join(SUFFIXES)}); fill or remove it")
        names += [f"{folder.relative_to(location).as_posix()}/{name}" for name in pictures]
    if others:
        say(f"{location}: {len(others)} files or folders are not pictures and are left out, such "
            f"as {min(others)}")
    classes = [Class(folder.name, folder.name) for folder in train]
    labels = {one.wnid: label for label, one in enumerate(classes)}
    files = checksums(location, names)
    splits: dict[str, list[Picture]] = {"train": [], "val": []}
    for listed in files:
        split, wnid, name = listed.name.split("/")
        splits[split].append(Picture(f"{wnid}/{name}", labels[wnid], Path(listed.name), 0,
                                   listed.bytes))
    return DataSet(Listing("folder", classes, files, {}),
                 Catalogue(classes, PictureTable.of(location, splits["train"]),
                           PictureTable.of(location, splits["val"]).ordered("name")))


def _location(dataset: DatasetSection) -> Path:
    assert dataset.location is not None  # pipeline.config.parameters has seen to it
    return dataset.location


def _folders(split: Path) -> list[Path]:
    if not split.is_dir():
        raise UserError(f"{split}: no such folder; dataset.location needs train/<class>/* and "
                        "val/<class>/*")
    folders = sorted((one for one in _visible(split) if one.is_dir()), key=lambda one: one.name)
    if not folders:
        raise UserError(f"{split}: no class folders in it; dataset.location needs train/<class>/* "
                        "and val/<class>/*")
    return folders


def _visible(folder: Path) -> Iterator[Path]:
    for one in folder.iterdir():
        if one.name.startswith("."):
            continue
        try:
            one.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{folder}: the name {one.name!r} is not UTF-8; rename it") from None
        yield one


def _is_picture(file: Path) -> bool:
    if not file.name.lower().endswith(SUFFIXES):
        return False
    if file.is_symlink() and not file.exists():
        raise UserError(f"{file}: a link to nothing; mend or remove it")
    return file.is_file()
