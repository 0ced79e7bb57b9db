"""ImageNet's 2012 challenge, 1,281,167 + 50,000 pictures of 1000 classes, from wherever the user
may have it.

    the official archives       three files, in `dataset.location` or at an address (dataset.origin)
    Kaggle's competition        its zip or tar as it was fetched (pipeline.data.sources.kaggle)
    the hub's ILSVRC/imagenet-1k    Parquet files (pipeline.data.sources.hub)
    unpacked                    train/<wnid>/* and val/<wnid>/*, or val/* beside a list of labels:
                                the development kit or Kaggle's; a split may still be its archive

`dataset.origin` says where to fetch what the folder lacks. Where it is null the folder's contents
tell which of these it is. Labels are the development kit's, and pictures have their own names,
whichever way they came: the same picture has the same label and the same place in the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import (
    counting,
    http,
    hub,
    ilsvrc,
    kaggle,
    labels,
    layouts,
    recognition,
)
from pipeline.data.sources.catalogue import Contents, Place
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.imagenet_classes import imagenet_classes
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.planning import Plan, RemoteFile, data_folder, missing_files
from pipeline.data.sources.recognition import Survey
from pipeline.system.errors import UserError

OFFICIAL_ADDRESS = "https://image-net.org/data/ILSVRC/2012/"
REGISTRATION = "https://image-net.org/download-images"
IMAGES = 1_281_167 + 50_000
TERMS = ("ImageNet does not own its pictures. It gives them to registered users for non-commercial "
         "research and teaching; by downloading you say that you have agreed to its terms: "
         f"{REGISTRATION}")


@dataclass(frozen=True)
class Archive:
    """An archive by its size and its MD5, by which ImageNet's page and torchvision tell it."""

    bytes: int
    md5: str


OFFICIAL = {
    Y2012.train: Archive(147_897_477_120, "1d675b47d978889d74fa0da5fadfb00e"),
    Y2012.val: Archive(6_744_924_160, "29b22e2961454d5413ddabcf34fc5622"),
    Y2012.devkit: Archive(2_568_145, "fa75699e90414af021442c21a62c3abf"),
}


def plan(dataset: DatasetSection) -> Plan:
    """Return what `fetch` would do: by the origin, or else by what is in the folder."""
    form, folder = _form(dataset), data_folder(dataset)
    if form == "archives":
        missing = missing_files(_remotes(dataset), folder)
        return Plan(folder, missing, images=IMAGES, by_hand=not dataset.origin,
                    count=None if missing else partial(_counted, folder), slow=True,
                    problem="; ".join(other_sizes(folder, OFFICIAL)))
    if form == "kaggle":
        return kaggle.plan(folder, IMAGES)
    if form == "huggingface":
        return hub.plan(folder, bool(dataset.origin), IMAGES, imagenet_classes())
    survey = recognition.survey(folder, "imagenet2012")
    packed = not survey.train or (not survey.val and (folder / Y2012.val).is_file())
    return Plan(folder, images=IMAGES, survey=survey,
                count=partial(_counted_beside, folder, survey) if packed else None,
                slow=not survey.train)


def _counted_beside(folder: Path, survey: Survey) -> Survey:
    """Return the survey with the split that is still its archive."""
    places = (ilsvrc.val_places(folder) if survey.train
              else ilsvrc.train_places(folder, imagenet_classes()))
    packed = counting.survey(folder, counting.of_places(places))
    return replace(survey, train=survey.train or packed.train, val=survey.val or packed.val)


def _counted(folder: Path) -> Survey:
    kit = ilsvrc.devkit(folder / Y2012.devkit)
    places = chain(ilsvrc.train_places(folder, kit.classes), ilsvrc.val_places(folder))
    return counting.survey(folder, counting.of_places(places), [Y2012.devkit])


def fetch(dataset: DatasetSection) -> Contents:
    """Put it in place and verify it: the official archives by size and MD5, which takes some
    minutes the first time.

    Raises:
        UserError: something is missing, with the places to get it from, is damaged, or is not what
            its name says.
    """
    form, folder = _form(dataset), data_folder(dataset)
    if form == "kaggle":
        return kaggle.fetch(folder, bool(dataset.origin), imagenet_classes())
    if form == "huggingface":
        return hub.fetch(folder, bool(dataset.origin), imagenet_classes())
    if form == "unpacked":
        return _unpacked(folder)
    lacking = missing_files(_remotes(dataset), folder) if dataset.origin else []
    for done, remote in enumerate(lacking):
        http.download(remote, folder, sum(later.bytes or 0 for later in lacking[done + 1:]))
    verify(folder, OFFICIAL)
    kit = ilsvrc.devkit(folder / Y2012.devkit, known=True)
    places = chain(ilsvrc.train_places(folder, kit.classes), ilsvrc.val_places(folder))
    contents = layouts.assemble(folder, places, Assembly(kit.classes, kit.val_labels),
                                list(OFFICIAL))
    return replace(contents, algorithms=("sha256", "md5"), train_counts=kit.train_counts)


def _form(dataset: DatasetSection) -> str:
    """Return archives, kaggle, huggingface or unpacked."""
    if dataset.origin:
        return dataset.origin if dataset.origin in ("kaggle", "huggingface") else "archives"
    folder = data_folder(dataset)
    if all((folder / name).exists() for name in (Y2012.train, Y2012.val)):
        return "archives"
    if kaggle.archive_in(folder):
        return "kaggle"
    if hub.parts(folder):
        return "huggingface"
    return "unpacked" if any(recognition.find_splits(folder, "imagenet2012")) else "archives"


def _remotes(dataset: DatasetSection) -> list[RemoteFile]:
    address = OFFICIAL_ADDRESS if dataset.origin == "official" else str(dataset.origin)
    return [RemoteFile(name, f"{address.rstrip('/')}/{name}" if dataset.origin else REGISTRATION,
                       one.bytes, one.md5, private=True) for name, one in OFFICIAL.items()]


def verify(location: Path, archives: Mapping[str, Archive]) -> None:
    """See that these archives are in `location`, each of the size and MD5 that `archives` gives
    it.

    Raises:
        UserError: one is missing, or another.
    """
    if missing := [name for name in archives if not (location / name).is_file()]:
        raise recognition.refusal(location, "imagenet2012", _how_to_get(
            location, {name: archives[name] for name in missing}))
    for problem in other_sizes(location, archives):
        raise UserError(f"{problem}; fetch it again")
    for file in checksums(location, archives, ("sha256", "md5")):
        if file.md5 != archives[file.name].md5:
            raise UserError(f"{location / file.name}: MD5 {file.md5}, not "
                            f"{archives[file.name].md5}: damaged, or not the official archive; "
                            "fetch it again")


def other_sizes(location: Path, archives: Mapping[str, Archive]) -> list[str]:
    """Return a sentence for each of the archives that is there and has another size."""
    sizes = {name: (location / name).stat().st_size for name in archives
             if (location / name).is_file()}
    return [f"{location / name}: {size:,} bytes, not {archives[name].bytes:,}: not whole, or not "
            "the official archive" for name, size in sizes.items() if size != archives[name].bytes]


def _unpacked(folder: Path) -> Contents:
    """Read folders of pictures, or of one split where the other is still its archive."""
    classes = imagenet_classes()
    train, val = recognition.find_splits(folder, "imagenet2012")
    for split, archive in ((train, Y2012.train), (val, Y2012.val)):
        if not split and not (folder / archive).is_file():
            raise recognition.refusal(folder, "imagenet2012", f"{folder} has neither {archive} nor "
                                      "a folder of its pictures")
        if not split:
            verify(folder, {archive: OFFICIAL[archive]})
    lists = labels.places(folder, folder / (val or train or "."))
    val_labels = labels.find(lists, classes)

    def places() -> Iterator[Place]:
        yield from (layouts.in_folder(folder, train, "train") if train
                    else ilsvrc.train_places(folder, classes))
        yield from (layouts.in_folder(folder, val, "val") if val else ilsvrc.val_places(folder))

    contents = layouts.assemble(folder, places(), Assembly(classes, val_labels))
    return replace(contents, train_counts=labels.train_counts(lists))


def _how_to_get(location: Path, missing: Mapping[str, Archive]) -> str:
    lines = [f"{name}  ({one.bytes:,} bytes, MD5 {one.md5})" for name, one in missing.items()]
    return (f"{location} lacks\n  " + "\n  ".join(lines) + "\nImageNet gives its "
            "pictures to registered users, for non-commercial research and teaching: agree to its "
            f"terms at\n  {REGISTRATION}\nand put the files, not unpacked, into that folder; or "
            "set dataset.origin to official, to the address of another copy, to kaggle, or to "
            "huggingface. docs/data.md says more")
