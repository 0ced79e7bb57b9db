"""What the sources of one compressed public archive share: it is fetched, verified and repacked as
a plain tar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.config.parameters import DatasetSection
from pipeline.data import sources
from pipeline.data.sources import Class, Found, Listing, folders, http
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.http import Remote
from pipeline.data.sources.planning import Plan, Wanted
from pipeline.data.sources.repack import repacked
from pipeline.system.errors import UserError
from pipeline.system.terminal import say


def at(remote: Remote, origin: str | None) -> Remote:
    """The same file at `dataset.origin`, an address to which the user's credentials may go; at its
    own, if null."""
    return (remote if origin is None
            else replace(remote, address=f"{origin.rstrip('/')}/{remote.name}", private=True))


def plan(dataset: DatasetSection, remote: Remote, tar: str, tar_bytes: int, images: int) -> Plan:
    """Of an archive that is fetched and then repacked; of nothing where its tar or folders are
    there."""
    folder = sources.root(dataset)
    if (folder / tar).is_file() or (folder / "train").is_dir():
        return Plan(folder, images=images)
    remote = at(remote, dataset.origin)
    wanted = ([] if (folder / remote.name).is_file()
              else [Wanted(remote.name, remote.bytes, remote.address)])
    return Plan(folder, wanted, tar_bytes, images)


def fetch(dataset: DatasetSection, remote: Remote, tar: str, classes: list[Class],
          pictures: Callable[[Path], Iterable[tuple[str, bytes]]]) -> Found:
    """Read train/<class>/* and val/<class>/* in the folder, if they are there, or the pictures of
    the archive.

    Raises:
        UserError: the archive is not the right one, or cannot be fetched.
    """
    folder = sources.root(dataset)
    if (folder / "train").is_dir():
        places = list(folders.in_folder(folder))
        names = sorted(str(place.file) for place in places if folders.is_picture(place.file.name))
    else:
        if not (folder / tar).is_file():
            archive = http.fetched(at(remote, dataset.origin), folder)
            file, = checksums(folder, [remote.name], ("sha256", "md5"))
            if file.md5 != remote.md5:
                raise UserError(f"{archive}: MD5 {file.md5}, not {remote.md5}: damaged, or another "
                                "file of this name; remove it, and the same command fetches it "
                                "again")
            say(f"{archive} is repacked, once, as {folder / tar}, which can be read picture by "
                "picture")
            repacked(folder / tar, pictures(archive))
        places, names = list(folders.in_tar(folder, tar)), [tar]
    catalogue = folders.catalogue(folder, places, classes)
    return Found(Listing(dataset.source, classes, checksums(folder, names), {}), catalogue)
