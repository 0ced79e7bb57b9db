"""What lies in a data set's folder, whatever it is: `find_splits` finds train and val, `survey`
counts, `Survey.described` says what it looks like, and `refusal` what it lacks and how to get it.

Nothing here changes a file, and no advice makes anybody lose one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.config.datasets import BY_NAME
from pipeline.data.sources import labels
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.imagenet_classes import imagenet_classes
from pipeline.data.sources.layouts import NESTED, broken_link, is_picture, scan
from pipeline.data.sources.tars import members
from pipeline.system.errors import UserError

# in small letters; the first that is there is taken
TRAIN = ("train", "ilsvrc2012_img_train", "training")
VAL = ("val", "ilsvrc2012_img_val", "validation", "valid")
DEPTH = 3  # ILSVRC/Data/CLS-LOC
MOST_FOLDERS = 64  # looked into on a level
WNID = re.compile(r"n\d{8}")
IMAGENETTE = {"n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916",
              "n03417042", "n03425413", "n03445777", "n03888257"}
IMAGEWOOF = {"n02086240", "n02087394", "n02088364", "n02089973", "n02093754", "n02096294",
             "n02099601", "n02105641", "n02111889", "n02115641"}
CIFAR10 = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
CLASS_TAR = re.compile(r"(n\d{8})\.tar")
ARCHIVE = re.compile(r"\.(tar|tgz|tar\.gz|zip|7z|rar|parquet)$", re.IGNORECASE)
IMAGENET, PART_OF_IMAGENET = "ImageNet 2012", "a part of ImageNet 2012"
SOURCES = {IMAGENET: "imagenet2012", PART_OF_IMAGENET: "imagenet2012", "Imagenette": "imagenette",
           "CIFAR-10 in folders": "cifar10"}  # that kinds are of
LAYOUT = "train/<class>/* and val/<class>/*"


@dataclass(frozen=True)
class Split:
    """The folder of a split, relative to the data set's: how many pictures are in each class's
    folder, and how many in none."""

    folder: str
    classes: dict[str, int] = field(default_factory=dict)
    flat: int = 0
    nested: bool = False  # pictures are in train/<class>/images

    @property
    def pictures(self) -> int:
        """How many there are."""
        return self.flat + sum(self.classes.values())


@dataclass(frozen=True)
class Survey:
    """What lies in a data set's folder."""

    location: Path
    train: Split | None
    val: Split | None
    labels: list[str]
    archives: list[str]
    others: list[str]

    def counts(self) -> dict[str, int]:
        """Return how many pictures and classes there are."""
        return {"train": self.train.pictures if self.train else 0,
                "val": self.val.pictures if self.val else 0,
                "classes": len(self.train.classes) if self.train else 0}

    def is_whole(self, source: str) -> bool:
        """Return whether there are as many pictures as the data set has; true where that is not
        known, as long as there are any."""
        expected = BY_NAME[source].expected
        return all(count == expected[split].pictures if expected else count
                   for split, count in self.counts().items() if split != "classes")

    @cached_property
    def kind(self) -> str:
        """What it looks like, by its classes."""
        if self.train and self.train.nested:
            return "Tiny ImageNet" if _wnids().intersection(self.train.classes) else ""
        return kind_of(set(self.train.classes) if self.train else set())

    def described(self) -> str:
        """Return what lies there, in a sentence."""
        if not self.train and not self.val:
            if self.archives:
                return (f"{self.location} holds {', '.join(self.archives[:4])}"
                        f"{', ...' * (len(self.archives) > 4)}")
            there = f"holds {', '.join(self.others[:4])}" if self.others else "is empty"
            return f"{self.location} {there}{', ...' * (len(self.others) > 4)}"
        parts = []
        expected = BY_NAME[SOURCES[self.kind]].expected if self.kind in SOURCES else {}
        counts = {split: f"{there.pictures:,}" + (f" of {expected[split].pictures:,}"
                                                  if expected else "")
                  for split, there in (("train", self.train), ("val", self.val)) if there}
        if self.train:
            flat = f", {self.train.flat:,} of them in no class's folder" * bool(self.train.flat)
            parts.append(f"{self.train.folder}: {counts['train']} training pictures in "
                         f"{len(self.train.classes):,} classes{flat}")
        if self.val:
            how = ("flat" if not self.val.classes else
                   f"in the folders of {len(self.val.classes):,} classes")
            how += f" and {self.val.flat:,} flat" * bool(self.val.flat and self.val.classes)
            parts.append(f"{self.val.folder}: {counts['val']} validation pictures, {how}")
        if self.labels or (self.val and self.val.flat):
            parts.append(f"labels: {', '.join(self.labels)}" if self.labels else
                         "no list of labels")
        kind = f" looks like {self.kind}" if self.kind else ""
        return f"{self.location}{kind}: {'; '.join(parts)}"


def kind_of(classes: set[str]) -> str:
    """Return what a data set of these classes looks like; nothing where there are none."""
    for kind, those in (("Imagenette", IMAGENETTE), ("Imagewoof", IMAGEWOOF),
                        ("CIFAR-10 in folders", CIFAR10)):
        if len(classes) > 1 and classes <= those:
            return kind
    if known := classes & _wnids():
        return IMAGENET if len(known) > len(_wnids()) // 2 else PART_OF_IMAGENET
    return f"pictures in the folders of {len(classes)} classes" if classes else ""


def find_splits(location: Path, source: str = "folder") -> tuple[str | None, str | None]:
    """Return the folders of the training and of the validation pictures, relative to `location`:
    train and val, or what some copies call them. Where neither is in `location` itself, they are
    looked for three levels down; there they must look like the `source`, if that is not `folder`.

    Raises:
        UserError: several folders hold both; a link in their place leads to nothing.
    """
    level: list[str] = [""]
    for _ in range(DEPTH + 1):
        pairs: list[tuple[str, str]] = []
        below: list[str] = []
        for top in level:
            names = _subfolders(location / top)
            train, val = (next((top + names[name] for name in choice if name in names), None)
                          for choice in (TRAIN, VAL))
            if not top and (train or val):
                return train, val
            if train and val and (source == "folder" or _looks_like(location / train, source)):
                pairs.append((train, val))
            below += [f"{top}{name}/" for folded, name in sorted(names.items())
                      if folded not in (*TRAIN, *VAL) and not WNID.fullmatch(name)]
        if len(pairs) > 1:
            tops = ", ".join(str((location / train).parent) for train, _ in pairs[:4])
            raise UserError(f"dataset.location: {location}: {len(pairs)} folders in it hold train "
                            f"and val ({tops}); name one of them")
        if pairs:
            return pairs[0]
        level = below[:MOST_FOLDERS]
    return None, None


def _looks_like(train: Path, source: str) -> bool:
    names = {item.name.removesuffix(".tar") for item in scan(train)}
    kind = kind_of({name for name in names if not name.startswith(".")})
    return SOURCES.get(kind) == source


def _subfolders(folder: Path) -> dict[str, str]:
    """Return the names of the folders in it, by themselves in small letters; of two that differ in
    nothing else the one in small letters."""
    names: dict[str, str] = {}
    try:
        items = scan(folder)
    except UserError:
        return {}
    for item in items:
        if item.name.startswith("."):
            continue
        if item.is_dir():
            names[item.name.lower()] = item.name
        elif item.is_symlink() and item.name.lower() in (*TRAIN, *VAL) and not Path(item).exists():
            raise broken_link(Path(item))
    return names


def survey(location: Path, source: str = "folder") -> Survey:
    """Look at what lies in the folder and count pictures, by their names."""
    train, val = find_splits(location, source)
    items = scan(location) if location.is_dir() else []
    files = [item.name for item in items if not item.name.startswith(".")]
    lists = labels.places(location, location / val) if val else []
    return Survey(location, _counted(location, train), _counted(location, val),
                  [os.path.relpath(file, location) for file in lists],
                  [name for name in files if ARCHIVE.search(name)], files)


def _counted(location: Path, folder: str | None) -> Split | None:
    if folder is None:
        return None
    classes: dict[str, int] = {}
    flat, nested = 0, 0
    for item in scan(location / folder):
        if item.name.startswith("."):
            continue
        if class_tar := CLASS_TAR.fullmatch(item.name):
            classes[class_tar[1]] = sum(is_picture(one.name) for one in members(Path(item)))
            continue
        if not item.is_dir():
            flat += is_picture(item.name)
            continue
        inside = scan(Path(item))
        classes[item.name] = sum(is_picture(one.name) for one in inside)
        if not classes[item.name] and any(one.name == NESTED for one in inside):
            classes[item.name] = sum(is_picture(one.name) for one in scan(Path(item) / NESTED))
            nested += 1
    if set(classes) == {NESTED}:  # val/images
        return Split(folder, {}, flat + classes[NESTED])
    return Split(folder, classes, flat, nested > len(classes) // 2)


def refusal(location: Path, source: str, problem: str) -> UserError:
    """Return the error for this problem, with what lies there and what to do."""
    try:
        there = survey(location)
    except UserError as error:  # several data sets
        return UserError(f"dataset.location: {problem}.\n{error}")
    advice = "".join(f"\n  {line}" for line in _advice(there, source))
    return UserError(f"dataset.location: {problem}.\n{there.described()}.{advice}")


def _advice(there: Survey, source: str) -> list[str]:
    """Return what brings this folder into a form that can be read, nearest first."""
    location, lines = there.location, []
    if source != "folder" and there.kind and there.val and SOURCES.get(there.kind) != source:
        lines.append(f"it is not {source}; to read it by its own folders: alexnet configure folder "
                     f"--location {location}")
    if there.train and not there.val:
        lines += _without_val(there)
    if there.val and not there.train:
        lines.append("the training pictures belong in "
                     f"{(location / there.val.folder).with_name('train')}")
    if not there.train and not there.val:
        lines += _without_splits(there, source)
    if source == "imagenet2012" and there.val and there.val.flat and not there.labels:
        lines.append(f"the labels of the pictures in {there.val.folder} are in {Y2012.devkit} "
                     "(https://image-net.org/download-images) and in Kaggle's "
                     f"{labels.SOLUTION}: put either into {location}")
    if source == "folder" and there.val and there.val.flat and not there.val.classes:
        lines.append(f"validation pictures need a folder a class, as in {LAYOUT}: "
                     f"mkdir {location / there.val.folder}/CLASS, and move those of each class")
    return lines


def _without_val(there: Survey) -> list[str]:
    assert there.train
    top = (there.location / there.train.folder).parent
    test = next((name for name in ("test", "dev", "eval", "testing") if (top / name).is_dir()), "")
    lines = [f"no validation pictures: they belong in {top / 'val'}"]
    if test:
        lines.append(f"if those in {top / test} are labelled and meant: "
                     f"ln -s {test} {top / 'val'}")
    return lines


def _without_splits(there: Survey, source: str) -> list[str]:
    location = there.location
    above = location.absolute().parent
    if location.name.lower() in (*TRAIN, *VAL) and all(find_splits(above)):
        return [f"it is a part of the data set: --set dataset.location={above}"]
    classes = [name for name in there.others if (location / name).is_dir()]
    if source in ("imagenet2012", "imagenet2010"):
        return [f"unpacked it needs train/<wnid>/* and val/* in {location}"] * (
            source == "imagenet2012" and not there.archives)
    lines = [f"it needs {LAYOUT} in {location}"]
    if source == "folder" and there.archives:
        lines.append(f"what is packed must be unpacked first, as by: "
                     f"tar -C {location} -xf {location / there.archives[0]}")
    if source == "folder" and classes:
        lines.append("if its folders are the classes: choose validation pictures, and move the "
                     f"folders, as by: mkdir {location}/train; mv {location / classes[0]} "
                     f"{location}/train/")
    return lines


def _wnids() -> set[str]:
    return {one.wnid for one in imagenet_classes()}
