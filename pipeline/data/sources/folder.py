"""Pictures in folders, train/<class>/* and val/<class>/*, under `dataset.location`.

The classes are the folders of train, in order of name; labels count them from 0. A picture is a
file with a suffix of `layouts.SUFFIXES`, in small or capital letters. Tiny ImageNet's own layout,
train/<wnid>/images/* and val/images/* with val_annotations.txt, is read as well. What is not taken
is counted and told.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import layouts, recognition
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.layouts import Assembly, composed
from pipeline.data.sources.planning import Plan
from pipeline.system.errors import UserError, closest
from pipeline.system.terminal import say

TERMS = "The pictures are yours; so are their terms."
ANNOTATIONS = "val_annotations.txt"


def plan(dataset: DatasetSection) -> Plan:
    """Return the plan: nothing is fetched, the pictures are there."""
    location = _location(dataset)
    _splits(location)
    survey = recognition.survey(location)
    return Plan(location, images=sum(survey.counts()[split] for split in ("train", "val")),
                survey=survey)


def fetch(dataset: DatasetSection) -> Contents:
    """List the pictures with their checksums.

    Raises:
        UserError: a folder is missing or empty, a validation class is unknown in training, a link
            leads to nothing.
    """
    location = _location(dataset)
    train, val = _splits(location)
    if "/" in train:
        say(f"train and val are those of {(location / train).parent}")
    names = _class_folders(location / train)
    if not names:
        raise recognition.refusal(location, "folder", f"{location / train}: no class folders in it")
    classes = [Class(name, name) for name in names]
    val_labels = _annotated(location / val, classes)
    if not val_labels:
        _check_val(location / val, names)
    places = chain(layouts.in_folder(location, train, "train"),
                   layouts.in_folder(location, val, "val"))
    return layouts.assemble(location, places,
                            Assembly(classes, val_labels, named_by_class=True))


def _location(dataset: DatasetSection) -> Path:
    assert dataset.location is not None  # pipeline.config.parameters has seen to it
    if not dataset.location.is_dir():
        raise UserError(f"dataset.location: {dataset.location}: no such folder")
    return dataset.location


def _splits(location: Path) -> tuple[str, str]:
    train, val = recognition.find_splits(location)
    if not train or not val:
        raise recognition.refusal(location, "folder", f"{location} has no folder of "
                                  f"{'validation' if train else 'training'} pictures")
    return train, val


def _class_folders(split: Path) -> list[str]:
    """Return the names of the folders in it.

    Raises:
        UserError: a link leads to nothing, and may have been a class; two names differ in their
            Unicode form only.
    """
    names: dict[str, str] = {}
    for item in layouts.scan(split):
        if item.name.startswith(layouts.HIDDEN):
            continue
        if item.is_symlink() and not Path(item).exists():
            raise layouts.broken_link(Path(item))
        if not item.is_dir():
            continue
        try:
            item.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{split}: the name {item.name!r} is not UTF-8; rename it") from None
        if other := names.get(composed(item.name)):
            raise UserError(f"{split}: two folders are named {item.name}, and differ only in the "
                            f"Unicode form of their names ({other!a}, {item.name!a}); "
                            "give one of them another name, or put their pictures together")
        names[composed(item.name)] = item.name
    return list(names.values())


def _check_val(val: Path, names: list[str]) -> None:
    known = {composed(name) for name in names}
    for name in _class_folders(val):
        if composed(name) not in known:
            raise UserError(f"{val / name}: no such class in {val.parent / 'train'}, and so its "
                            f"pictures have no label{closest(name, names)} Correct its name, or "
                            "keep it elsewhere")


def _annotated(val: Path, classes: list[Class]) -> dict[str, int]:
    """Return the labels of Tiny ImageNet's validation pictures, by name without suffix; nothing
    where there is no such list.

    Raises:
        UserError: a line is no name and class, or a name stands there with two classes.
    """
    file = val / ANNOTATIONS
    if not file.is_file():
        return {}
    numbers = {one.wnid: label for label, one in enumerate(classes)}
    labels: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if not line.strip():
            continue
        if wnid not in numbers:
            raise UserError(f"{file}: line {number}: {wnid!r} is no class in train")
        if labels.setdefault(name.rpartition(".")[0], numbers[wnid]) != numbers[wnid]:
            raise UserError(f"{file}: line {number}: {name} stands there twice, with two classes")
    return labels
