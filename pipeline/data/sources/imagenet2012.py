"""ImageNet's 2012 challenge, 1,281,167 + 50,000 pictures of 1000 classes, from wherever the user
may have it.

    the official archives       three files, in `dataset.location` or at an address (dataset.origin)
    Kaggle's competition        its zip or tar as it was fetched, or unpacked
                                (pipeline.data.sources.kaggle)
    the hub's ILSVRC/imagenet-1k    Parquet files (pipeline.data.sources.hub)
    folders                     train/<wnid>/* and val/<wnid>/*, or val/* beside the development kit

`dataset.origin` says where to fetch what the folder lacks. Where it is null the folder's contents
tell which of these it is. Labels are the development kit's, and pictures have their own names,
whichever way they came: the same picture has the same label and the same place in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.parameters import DatasetSection
from pipeline.data.sources import http, hub, ilsvrc, kaggle, layouts
from pipeline.data.sources.catalogue import Class, DataSet, Listing
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.planning import Plan, RemoteFile, data_folder, missing_files
from pipeline.system.errors import UserError

OFFICIAL_ADDRESS = "https://image-net.org/data/ILSVRC/2012/"
REGISTRATION = "https://image-net.org/download-images"
IMAGES = 1_281_167 + 50_000
TERMS = ("ImageNet does not own its pictures. It gives them to registered users for non-commercial "
         "research and teaching; by downloading you say that you have agreed to its terms: "
         f"{REGISTRATION}")
# wnid and words, in the order of the devkit's ids
CLASSES = Path(__file__).with_name("ilsvrc2012_classes.txt")


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
    """By the origin, or else by what is in the folder."""
    form, folder = _form(dataset), data_folder(dataset)
    if form == "archives":
        return Plan(folder, missing_files(_remotes(dataset), folder), images=IMAGES,
                    by_hand=not dataset.origin)
    if form == "kaggle":
        return kaggle.plan(folder, IMAGES)
    if form == "huggingface":
        return hub.plan(folder, bool(dataset.origin), IMAGES)
    return Plan(folder, images=IMAGES)


def fetch(dataset: DatasetSection) -> DataSet:
    """Put it in place and verify it: the official archives by size and MD5, which takes some
    minutes the first time.

    Raises:
        UserError: something is missing, with the places to get it from, is damaged, or is not what
            its name says.
    """
    form, folder = _form(dataset), data_folder(dataset)
    if form == "archives":
        for remote in _remotes(dataset) if dataset.origin else []:
            http.download(remote, folder)
        listing = verified(folder, OFFICIAL)
        return DataSet(listing, ilsvrc.catalogue(folder, known=True))
    if form == "kaggle":
        return kaggle.fetch(folder, bool(dataset.origin), classes())
    if form == "huggingface":
        return hub.fetch(folder, bool(dataset.origin), classes())
    return _unpacked(folder, classes())


def _form(dataset: DatasetSection) -> str:
    """archives, kaggle, huggingface or folders."""
    if dataset.origin:
        return dataset.origin if dataset.origin in ("kaggle", "huggingface") else "archives"
    folder = data_folder(dataset)
    if any((folder / name).exists() for name in (Y2012.train, Y2012.val)):
        return "archives"
    if kaggle.form(folder):
        return "kaggle"
    if hub.parts(folder):
        return "huggingface"
    return "folders" if (folder / "train").is_dir() else "archives"


def classes() -> list[Class]:
    """The thousand classes, in the order of the development kit's ids, for copies that come without
    the kit."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return [Class(*line.split(" ", 1)) for line in lines]


def _remotes(dataset: DatasetSection) -> list[RemoteFile]:
    address = OFFICIAL_ADDRESS if dataset.origin == "official" else str(dataset.origin)
    return [RemoteFile(name, f"{address.rstrip('/')}/{name}" if dataset.origin else REGISTRATION,
                       one.bytes, one.md5, private=True) for name, one in OFFICIAL.items()]


def verified(location: Path, archives: Mapping[str, Archive]) -> Listing:
    """The listing of the three archives in `location`, each of the size and MD5 that `archives`
    gives it."""
    if missing := [name for name in archives if not (location / name).is_file()]:
        raise UserError(_how_to_get(location, {name: archives[name] for name in missing}))
    for name, archive in archives.items():
        size = (location / name).stat().st_size
        if archive.bytes != size:
            raise UserError(f"{location / name}: {size:,} bytes, not {archive.bytes:,}: not whole, "
                            "or not the official archive; fetch it again")
    files = checksums(location, archives, ("sha256", "md5"))
    for file in files:
        if file.md5 != archives[file.name].md5:
            raise UserError(f"{location / file.name}: MD5 {file.md5}, not "
                            f"{archives[file.name].md5}: damaged, or not the official archive; "
                            "fetch it again")
    return Listing("imagenet2012", ilsvrc.devkit(location / Y2012.devkit, known=True).classes,
                   files, {})


def _unpacked(folder: Path, classes: list[Class]) -> DataSet:
    val_labels = None
    places = list(layouts.in_folder(folder))
    if (folder / Y2012.devkit).is_file():
        names = sorted(place.name for place in places if place.name.startswith("val/"))
        labels = ilsvrc.devkit(folder / Y2012.devkit).val_labels
        if len(names) == len(labels):
            stems = (name.rpartition("/")[2].rpartition(".")[0] for name in names)
            val_labels = dict(zip(stems, labels, strict=True))
    found = layouts.catalogue(folder, places, classes, val_labels)
    files = checksums(folder, sorted(str(place.file) for place in places
                                     if layouts.is_picture(place.file.name)))
    return DataSet(Listing("imagenet2012", classes, files, {}), found)


def _how_to_get(location: Path, missing: Mapping[str, Archive]) -> str:
    lines = [f"{name}  ({one.bytes:,} bytes, MD5 {one.md5})" for name, one in missing.items()]
    return (f"dataset.location: {location} lacks\n  " + "\n  ".join(lines) + "\nImageNet gives its "
            "pictures to registered users, for non-commercial research and teaching: agree to its "
            f"terms at\n  {REGISTRATION}\nand put the files, not unpacked, into that folder; or "
            "set dataset.origin to official, to the address of another copy, to kaggle, or to "
            "huggingface. docs/data.md says more.")


