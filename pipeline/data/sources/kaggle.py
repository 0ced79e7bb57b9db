"""ImageNet 2012 as Kaggle's competition has it: a zip (or, in older copies, a tar), or what was
unpacked from it.

    LOC_val_solution.csv                          the classes of the validation pictures
    ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG       .../val/*.JPEG

Zip and tar are read in place. Only the older form in which the zip holds a tar.gz, or that tar.gz
by itself, is repacked: it cannot be read picture by picture.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.data.sources import layouts
from pipeline.data.sources.catalogue import Class, DataSet, Listing
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.planning import Plan, RemoteFile
from pipeline.data.sources.repack import in_compressed_tar, repacked
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress, say

COMPETITION = "imagenet-object-localization-challenge"
ADDRESS = f"https://www.kaggle.com/c/{COMPETITION}"
ZIP = f"{COMPETITION}.zip"
TAR = "imagenet_object_localization_patched2019.tar"
SOLUTION = "LOC_val_solution.csv"
TOP = "ILSVRC/Data/CLS-LOC/"
BYTES = 167_600_000_000  # of the zip, about
LARGEST_SOLUTION = 1 << 26  # bytes; it has some 2 million
PICTURES = 150_000_000_000  # bytes of the pictures of train and val in a tar, about


def form(folder: Path) -> str:
    """What of Kaggle's is in the folder: the name of a file, `TOP` if it is unpacked, or
    nothing."""
    for name in (TAR, f"{TAR}.gz", ZIP):
        if (folder / name).is_file():
            return name
    return TOP if (folder / TOP / "train").is_dir() else ""


def plan(folder: Path, images: int) -> Plan:
    """Nothing is fetched where anything of Kaggle's is there."""
    found = form(folder)
    compressed = found == f"{TAR}.gz" or (found == ZIP and _tar_in_zip(folder))
    wanted = [] if found else [RemoteFile(ZIP, ADDRESS, BYTES)]
    return Plan(folder, wanted, PICTURES if compressed else 0, images)


def fetch(folder: Path, download: bool, classes: list[Class]) -> DataSet:
    """Read what is in the folder; first fetch the zip, if nothing is and `download` is set.

    Raises:
        UserError: something is missing or damaged, or Kaggle's client is missing or refused.
    """
    if not form(folder):
        if not download:
            raise UserError(f"dataset.location: {folder} has neither {ZIP} nor {TAR} nor {TOP}")
        _download(folder)
    found = form(folder)
    if found == f"{TAR}.gz":
        with (folder / found).open("rb") as stream:
            _repack(folder, stream, found)
        found = TAR
    elif found == ZIP and (member := _tar_in_zip(folder)):
        try:
            with layouts.opened_zip(folder / ZIP) as archive, archive.open(member) as stream:
                _repack(folder, stream, f"{ZIP}: {member}")
        except layouts.BROKEN_ZIP as error:
            raise UserError(f"{folder / ZIP}: {member}: cannot be read ({error}); fetch the zip "
                            "again") from None
        found = TAR
    labels = _val_labels(folder, classes)
    if found == TOP:
        places = list(layouts.in_folder(folder, TOP))
        pictures = sorted(str(place.file) for place in places
                          if layouts.is_picture(place.file.name))
        catalogue = layouts.catalogue(folder, places, classes, labels)
        files = checksums(folder, pictures)
    else:
        read = layouts.in_zip if found == ZIP else layouts.in_tar
        catalogue = layouts.catalogue(folder, read(folder, found, TOP), classes, labels)
        files = checksums(folder, [found])
    return DataSet(Listing("imagenet2012", classes, files, {}), catalogue)


def _tar_in_zip(folder: Path) -> str:
    with layouts.opened_zip(folder / ZIP) as archive:
        return next((name for name in archive.namelist() if name == f"{TAR}.gz"), "")


def _repack(folder: Path, stream: IO[bytes], where: str) -> None:
    say(f"{where} is repacked, once, as {folder / TAR}, which can be read picture by picture")
    with progress(f"repacking {where}", 1_331_167, "pictures") as advance:
        def pictures() -> Iterator[tuple[str, bytes]]:
            for path, content in in_compressed_tar(stream, f"{folder / where}"):
                if path.startswith((f"{TOP}train/", f"{TOP}val/")):
                    yield path, content
                    advance(1)
        repacked(folder / TAR, pictures())


def _val_labels(folder: Path, classes: list[Class]) -> dict[str, int]:
    """By the name of the picture, without suffix: "ILSVRC2012_val_00048981,n03995372 85 1 499 272"
    and on."""
    number = {one.wnid: label for label, one in enumerate(classes)}
    file = folder / SOLUTION
    try:
        if file.is_file():
            text = file.read_text(encoding="utf-8")
        else:
            with layouts.opened_zip(folder / ZIP) as archive, archive.open(SOLUTION) as stream:
                text = stream.read(LARGEST_SOLUTION).decode()
        return {row["ImageId"]: number[row["PredictionString"].split()[0]]
                for row in csv.DictReader(io.StringIO(text))}
    except (UserError, OSError):
        raise UserError(f"{file}: no such file, and it holds the classes of the validation "
                        f"pictures; it is among the competition's files: {ADDRESS}/data") from None
    except (KeyError, IndexError, ValueError, AttributeError, TypeError, csv.Error,
            *layouts.BROKEN_ZIP) as error:
        raise UserError(f"{file}: not Kaggle's list of validation classes ({error!r}); fetch it "
                        "again") from None


def _download(folder: Path) -> None:
    """By Kaggle's own client, which goes on where an earlier run stopped; under its name when it is
    whole."""
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
        api.competition_download_files(COMPETITION, path=str(unfinished), quiet=False)
    except SystemExit:
        raise UserError("Kaggle's client has no credentials: put KAGGLE_API_TOKEN, or "
                        "KAGGLE_USERNAME and KAGGLE_KEY, into the environment, or your token where "
                        "the client looks for it, under ~/.kaggle; and accept the competition's "
                        f"rules at {ADDRESS}") from None
    except Exception as error:  # of many kinds, from requests to ValueError
        status = getattr(getattr(error, "response", None), "status_code", None)
        mend = f"; accept the competition's rules at {ADDRESS}" if status in (401, 403) else ""
        raise UserError(f"{ADDRESS}: Kaggle's client failed "
                        f"({type(error).__name__}{f' {status}' if status else ''}){mend}; the same "
                        "command goes on where it stopped") from None
    layouts.opened_zip(unfinished / ZIP).close()  # its table is at its end
    (unfinished / ZIP).replace(folder / ZIP)
    for leftover in unfinished.iterdir():
        leftover.unlink()
    unfinished.rmdir()


