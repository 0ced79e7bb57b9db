"""ImageNet 2012 as Kaggle's competition has it: a zip (or, in older copies, a tar).

    LOC_val_solution.csv                          the classes of the validation pictures
    ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG       .../val/*.JPEG

Zip and tar are read in place, under whatever name. Only the older form in which the zip holds a
tar.gz, or that tar.gz by itself, is repacked: it cannot be read picture by picture. What was
unpacked from them is read by pipeline.data.sources.imagenet2012.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from pipeline.data.sources import counting, labels, layouts
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.planning import Plan, RemoteFile, check_room
from pipeline.data.sources.recognition import Survey
from pipeline.data.sources.repack import in_compressed_tar, write_tar
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress, say

COMPETITION = "imagenet-object-localization-challenge"
ADDRESS = f"https://www.kaggle.com/c/{COMPETITION}"
ZIP = f"{COMPETITION}.zip"
TAR = "imagenet_object_localization_patched2019.tar"
TOP = "ILSVRC/Data/CLS-LOC/"
BYTES = 167_600_000_000  # of the zip, about


def archive_in(folder: Path) -> str:
    """Return the name of Kaggle's archive in the folder, also of a renamed zip; nothing if there is
    none.

    Raises:
        UserError: several zips are the competition's.
    """
    for name in (TAR, f"{TAR}.gz", ZIP):
        if (folder / name).is_file():
            return name
    zips = _zips(folder)
    if len(zips) > 1:
        raise UserError(f"dataset.location: {folder}: {', '.join(zips)} are all the competition's; "
                        f"name the one that is meant {ZIP}")
    return zips[0] if zips else ""


def _zips(folder: Path) -> list[str]:
    """Return the names of the zips that hold what the competition's does."""
    names = []
    for file in sorted(folder.glob("*.zip")):
        with contextlib.suppress(UserError), layouts.opened_zip(file) as archive:
            names += [file.name] if any(name.startswith(f"{TOP}train/") or name == f"{TAR}.gz"
                                        for name in archive.namelist()) else []
    return names


def plan(folder: Path, images: int) -> Plan:
    """Return what would be done: nothing is fetched where anything of Kaggle's is there."""
    name = archive_in(folder)
    compressed = name == f"{TAR}.gz" or (name.endswith(".zip") and _tar_in_zip(folder / name))
    wanted = [] if name else [RemoteFile(ZIP, ADDRESS, BYTES)]
    return Plan(folder, wanted, (folder / name).stat().st_size if compressed else 0, images,
                count=None if not name or compressed else partial(_counted, folder, name),
                slow=not name.endswith(".zip"))


def _counted(folder: Path, name: str) -> Survey:
    files = (counting.in_zip(folder, name, TOP) if name.endswith(".zip")
             else counting.of_places(layouts.in_tar(folder, name, TOP)))
    lists = [os.path.relpath(file, folder) for file in labels.places(folder, folder / "val")]
    return counting.survey(folder, files, lists or [
        f"{zip_}: {labels.SOLUTION}" for zip_ in _zips(folder) if _has_solution(folder / zip_)])


def _has_solution(file: Path) -> bool:
    with layouts.opened_zip(file) as archive:
        return labels.SOLUTION in archive.namelist()


def fetch(folder: Path, download: bool, classes: list[Class]) -> Contents:
    """Read what is in the folder; first fetch the zip, if nothing is and `download` is set.

    Raises:
        UserError: something is missing or damaged, or Kaggle's client is missing or refused.
    """
    if not archive_in(folder):
        if not download:
            raise UserError(f"dataset.location: {folder} has neither {ZIP} nor {TAR}")
        _download(folder)
    name = archive_in(folder)
    val_labels = _val_labels(folder, classes)  # first: repacking takes an hour
    if name == f"{TAR}.gz":
        with (folder / name).open("rb") as stream:
            name = _repack(folder, stream, name)
    elif name.endswith(".zip") and (member := _tar_in_zip(folder / name)):
        try:
            with layouts.opened_zip(folder / name) as archive, archive.open(member) as stream:
                name = _repack(folder, stream, f"{name}: {member}")
        except layouts.BROKEN_ZIP as error:
            raise UserError(f"{folder / name}: {member}: cannot be read ({error}); fetch the zip "
                            "again") from None
    places = (layouts.in_zip if name.endswith(".zip") else layouts.in_tar)(folder, name, TOP)
    return layouts.assemble(folder, places, Assembly(classes, val_labels), [name])


def _tar_in_zip(file: Path) -> str:
    with layouts.opened_zip(file) as archive:
        return next((name for name in archive.namelist() if name == f"{TAR}.gz"), "")


def _repack(folder: Path, stream: IO[bytes], where: str) -> str:
    check_room(folder, (folder / where.partition(": ")[0]).stat().st_size)
    say(f"{where} is repacked, once, as {folder / TAR}, which can be read picture by picture")
    with progress(f"repacking {where}", 1_331_167, "pictures") as advance:
        def pictures() -> Iterator[tuple[str, bytes]]:
            for path, content in in_compressed_tar(stream, f"{folder / where}"):
                if path.startswith((f"{TOP}train/", f"{TOP}val/")):
                    yield path, content
                    advance(1)
        write_tar(folder / TAR, pictures())
    return TAR


def _val_labels(folder: Path, classes: list[Class]) -> dict[str, int]:
    """Return the labels that stand beside the archive, or in a zip."""
    if files := labels.places(folder, folder / "val"):
        return labels.find(files, classes)
    file = folder / labels.SOLUTION
    for name in _zips(folder):
        with layouts.opened_zip(folder / name) as archive:
            try:
                with archive.open(labels.SOLUTION) as stream:
                    content = stream.read(labels.LARGEST_SOLUTION)
                return labels.read_solution(content, f"{folder / name}: {labels.SOLUTION}", classes)
            except KeyError:
                pass
            except layouts.BROKEN_ZIP as error:
                raise UserError(f"{folder / name}: {labels.SOLUTION}: cannot be read ({error}); "
                                "fetch the zip again") from None
    raise UserError(f"{file}: no such file, and it holds the classes of the validation "
                    f"pictures; it is among the competition's files: {ADDRESS}/data")


def _download(folder: Path) -> None:
    """Fetch the zip with Kaggle's own client, which goes on where an earlier run stopped; it has
    its name when it is whole."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            # logs in when it is imported, if it can
            from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise UserError(f"dataset.origin: kaggle needs Kaggle's client ({error}): "
                        f"`pip install kaggle six`, or fetch {ZIP} from {ADDRESS} and put it into "
                        f"{folder}") from None
    unfinished = folder / f".{ZIP}.fetching"
    unfinished.mkdir(parents=True, exist_ok=True)
    try:
        api = KaggleApi()
        api.authenticate()
        check_room(folder, BYTES - sum(file.stat().st_size for file in unfinished.iterdir()))
        api.competition_download_files(COMPETITION, path=str(unfinished), quiet=False)
    except UserError:
        raise
    except SystemExit:
        raise UserError("Kaggle's client has no credentials: put KAGGLE_API_TOKEN, or "
                        "KAGGLE_USERNAME and KAGGLE_KEY, into the environment, or your token where "
                        "the client looks for it, under ~/.kaggle; and accept the competition's "
                        f"rules at {ADDRESS}") from None
    except Exception as error:  # of many kinds, from requests to ValueError
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = f"; accept the competition's rules at {ADDRESS}" if status in (401, 403) else ""
        raise UserError(f"{ADDRESS}: Kaggle's client failed "
                        f"({type(error).__name__}{f' {status}' if status else ''}){advice}; the "
                        "same command goes on where it stopped") from None
    layouts.opened_zip(unfinished / ZIP).close()  # its table is at its end
    (unfinished / ZIP).replace(folder / ZIP)
    for leftover in unfinished.iterdir():
        leftover.unlink()
    unfinished.rmdir()


