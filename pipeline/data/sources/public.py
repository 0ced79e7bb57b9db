"""What the sources of one compressed public archive share: it is fetched, verified and repacked as
a plain tar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import counting, http, layouts, recognition
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.planning import Plan, RemoteFile, data_folder
from pipeline.data.sources.repack import write_tar
from pipeline.system.errors import UserError
from pipeline.system.terminal import say


def at(remote: RemoteFile, origin: str | None) -> RemoteFile:
    """Return the same file at `dataset.origin`, an address to which the user's credentials may go;
    at its own, if null."""
    return (remote if origin is None
            else replace(remote, address=f"{origin.rstrip('/')}/{remote.name}", private=True))


def plan(dataset: DatasetSection, remote: RemoteFile, tar: str, tar_bytes: int,
         images: int) -> Plan:
    """Return the plan for an archive that is fetched and then repacked; nothing is where its tar or
    folders are there."""
    folder = data_folder(dataset)
    if (folder / tar).is_file():
        return Plan(folder, images=images, count=lambda: counting.survey(
            folder, counting.of_places(layouts.in_tar(folder, tar))))
    remote = at(remote, dataset.origin)
    if (folder / remote.name).is_file():
        return Plan(folder, [], tar_bytes, images)
    if any(recognition.find_splits(folder, dataset.source)):
        return Plan(folder, images=images, survey=recognition.survey(folder, dataset.source))
    return Plan(folder, [remote], tar_bytes, images)


def fetch(dataset: DatasetSection, remote: RemoteFile, tar: str, tar_bytes: int,
          classes: list[Class],
          pictures: Callable[[Path], Iterable[tuple[str, bytes]]]) -> Contents:
    """Read the pictures of the archive, or train/<class>/* and val/<class>/* in the folder.

    Raises:
        UserError: the archive is not the right one, or cannot be fetched; the folders are of
            another data set.
    """
    folder = data_folder(dataset)
    if not (folder / tar).is_file():
        if not (folder / remote.name).is_file() and any(recognition.find_splits(folder,
                                                                                dataset.source)):
            return _in_folders(dataset, folder, classes)
        archive = http.download(at(remote, dataset.origin), folder, tar_bytes)
        file, = checksums(folder, [remote.name], ("sha256", "md5"))
        if file.md5 != remote.md5:
            raise UserError(f"{archive}: MD5 {file.md5}, not {remote.md5}: damaged, or another "
                            f"file of this name; rename it (mv {archive} {archive}.other), and the "
                            "same command fetches the right one")
        say(f"{archive} is repacked, once, as {folder / tar}, which can be read picture by "
            "picture")
        write_tar(folder / tar, pictures(archive))
    return layouts.assemble(folder, layouts.in_tar(folder, tar), Assembly(classes), [tar])


def _in_folders(dataset: DatasetSection, folder: Path, classes: list[Class]) -> Contents:
    train, val = recognition.find_splits(folder, dataset.source)
    if not train or not val:
        raise recognition.refusal(folder, dataset.source,
                                  f"{folder} has no folder of {'training' if val else 'validation'}"
                                  " pictures")
    places = chain(layouts.in_folder(folder, train, "train"), layouts.in_folder(folder, val, "val"))
    return layouts.assemble(folder, places, Assembly(classes))
