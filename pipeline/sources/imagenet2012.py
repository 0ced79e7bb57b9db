"""ImageNet's 2012 challenge: the three official archives, which the user has put into `dataset.location`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.parameters import DatasetSection
from pipeline.sources import Found, Listing, ilsvrc
from pipeline.sources.checksums import checksums
from pipeline.sources.ilsvrc import Y2012

REGISTRATION = "https://image-net.org/download-images"


@dataclass(frozen=True)
class Archive:
    """An archive by its size, where that is known, and its MD5, by which ImageNet's page and torchvision tell it."""

    bytes: int | None
    md5: str


OFFICIAL = {
    Y2012.train: Archive(147_897_477_120, "1d675b47d978889d74fa0da5fadfb00e"),
    Y2012.val: Archive(6_744_924_160, "29b22e2961454d5413ddabcf34fc5622"),
    Y2012.devkit: Archive(None, "fa75699e90414af021442c21a62c3abf"),
}


def fetch(dataset: DatasetSection) -> Found:
    """Verify the archives by size and MD5, which takes some minutes the first time.

    Raises:
        UserError: an archive is missing, with the page to get it from, or is not the official one.
    """
    listing = verified(_location(dataset), OFFICIAL)
    return Found(listing, ilsvrc.catalogue(_location(dataset)))


def verified(location: Path, archives: Mapping[str, Archive]) -> Listing:
    """The listing of the three archives in `location`, each of the size and MD5 that `archives` gives it."""
    if missing := [name for name in archives if not (location / name).is_file()]:
        raise UserError(_how_to_get(location, {name: archives[name] for name in missing}))
    for name, archive in archives.items():
        size = (location / name).stat().st_size
        if archive.bytes not in (None, size):
            raise UserError(f"{location / name}: {size:,} bytes, not {archive.bytes:,}: not whole, or not the official "
                            "archive; fetch it again")
    files = checksums(location, archives, ("sha256", "md5"))
    for file in files:
        if file.md5 != archives[file.name].md5:
            raise UserError(f"{location / file.name}: MD5 {file.md5}, not {archives[file.name].md5}: damaged, or not "
                            "the official archive; fetch it again")
    return Listing("imagenet2012", ilsvrc.devkit(location / Y2012.devkit).classes, files, {})


def _location(dataset: DatasetSection) -> Path:
    assert dataset.location is not None  # pipeline.parameters has seen to it
    return dataset.location


def _how_to_get(location: Path, missing: Mapping[str, Archive]) -> str:
    lines = [f"{name}  ({f'{one.bytes:,} bytes, ' if one.bytes else ''}MD5 {one.md5})" for name, one in missing.items()]
    return (f"dataset.location: {location} lacks\n  " + "\n  ".join(lines) +
            f"\nImageNet gives its pictures to registered users, for non-commercial research and teaching: agree to "
            f"its terms at\n  {REGISTRATION}\nand put the files, not unpacked, into that folder.")
