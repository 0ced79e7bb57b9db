"""What the sources of one compressed public archive share: it is fetched, verified and repacked as
a plain tar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pipeline.config.parameters import DatasetSection
from pipeline.data.sources import http, layouts
from pipeline.data.sources.catalogue import Class, DataSet, Listing
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.planning import Plan, RemoteFile, data_folder
from pipeline.data.sources.repack import repacked
from pipeline.system.errors import UserError
from pipeline.system.terminal import say


def at(remote: RemoteFile, origin: str | None) -> RemoteFile:
    """The same file at `dataset.origin`, an address to which the user's credentials may go; at its
    own, if null."""
    return (remote if origin is None
            else replace(remote, address=f"{origin.rstrip('/')}/{remote.name}", private=True))


def plan(dataset: DatasetSection, remote: RemoteFile, tar: str, tar_bytes: int,
         images: int) -> Plan:
    """Of an archive that is fetched and then repacked; of nothing where its tar or folders are
    there."""
    folder = data_folder(dataset)
    if (folder / tar).is_file() or (folder / "train").is_dir():
        return Plan(folder, images=images)
    remote = at(remote, dataset.origin)
    wanted = ([] if (folder / remote.name).is_file()
              else [remote])
    return Plan(folder, wanted, tar_bytes, images)


def fetch(dataset: DatasetSection, remote: RemoteFile, tar: str, classes: list[Class],
          pictures: Callable[[Path], Iterable[tuple[str, bytes]]]) -> DataSet:
    """Read train/<class>/* and val/<class>/* in the folder, if they are there, or the pictures of
    the archive.

    Raises:
        UserError: the archive is not the right one, or cannot be fetched.
    """
    folder = data_folder(dataset)
    if (folder / "train").is_dir():
        places = list(layouts.in_folder(folder))
        names = sorted(str(place.file) for place in places if layouts.is_picture(place.file.name))
    else:
        if not (folder / tar).is_file():
            archive = http.download(at(remote, dataset.origin), folder)
            file, = checksums(folder, [remote.name], ("sha256", "md5"))
            if file.md5 != remote.md5:
                raise UserError(f"{archive}: MD5 {file.md5}, not {remote.md5}: damaged, or another "
                                "file of this name; remove it, and the same command fetches it "
                                "again")
            say(f"{archive} is repacked, once, as {folder / tar}, which can be read picture by "
                "picture")
            repacked(folder / tar, pictures(archive))
        places, names = list(layouts.in_tar(folder, tar)), [tar]
    catalogue = layouts.catalogue(folder, places, classes)
    return DataSet(Listing(dataset.source, classes, checksums(folder, names), {}), catalogue)
