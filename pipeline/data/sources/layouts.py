"""Pictures by their paths, train/<class>/<name> and val/<class>/<name> or val/<name>, in a folder,
a tar or a zip.

`in_folder`, `in_tar` and `in_zip` yield the paths and where each picture lies; `catalogue` makes
labels and names of them.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.data.sources.catalogue import Catalogue, Class, Picture
from pipeline.data.sources.index import PictureTable
from pipeline.data.sources.tars import is_safe, members
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress, say

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm")
# of a zip's member: signature, ..., lengths of its name and extra field
LOCAL_HEADER = struct.Struct("<4s22xHH")
PACKINGS = {zipfile.ZIP_STORED: "", zipfile.ZIP_DEFLATED: "deflate"}
# What Python's reader raises, also where it is encrypted, packed in a way that it does not know, or
# lies about itself.
BROKEN_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError,
              zlib.error)


def catalogue(root: Path, places: Iterable[Picture], classes: list[Class],
              val_labels: Mapping[str, int] | None = None) -> Catalogue:
    """Sort pictures into splits and classes.

    Args:
        root: the folder that the pictures' files are relative to.
        places: the pictures, each named by its path, of any label. What is not a picture is counted
            and told.
        classes: in label order; the folder of a class has its wnid as name.
        val_labels: of the pictures that are in `val` itself, by their names without suffix.

    Raises:
        UserError: a picture of no known class, a class without training pictures, a name that
            occurs twice.
    """
    labels = {one.wnid: label for label, one in enumerate(classes)}
    found: dict[str, list[Picture]] = {"train": [], "val": []}
    others: list[str] = []
    for place in places:
        split, *folders, name = place.name.split("/")
        if split not in found or len(folders) > 1 or not is_picture(name):
            others.append(place.name)
            continue
        key = folders[0] if folders else without_class(name).rpartition(".")[0]
        known = labels if folders else val_labels or {} if split == "val" else {}
        if key not in known:
            raise UserError(f"{root / place.file}: {place.name}: of no known class; remove it or "
                            "mend its name")
        found[split].append(Picture(without_class(name), known[key], place.file, place.offset,
                                  place.size, place.packing))
    if others:
        say(f"{root}: {len(others)} files are not pictures of train or val and are left out, such "
            f"as {min(others)}")
    lacking = sorted(set(range(len(classes))) - {entry.label for entry in found["train"]})
    if lacking or not found["val"]:
        raise UserError(f"{root}: no training picture of {classes[lacking[0]].wnid} "
                        f"({len(lacking)} such classes)"
                        if lacking else f"{root}: no validation pictures")
    return Catalogue(classes, PictureTable.of(root, found["train"]).ordered("label", "name"),
                     PictureTable.of(root, found["val"]).ordered("name"))


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture: by its suffix, and not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def without_class(name: str) -> str:
    """ImageNet's own name of a picture: some copies append the class,
    "ILSVRC2012_val_00000293_n01440764.JPEG"."""
    return re.sub(r"^(n\d{8}_\d+|ILSVRC2012_val_\d{8})_n\d{8}(\.\w+)$", r"\1\2", name)


def in_folder(root: Path, top: str = "") -> Iterator[Picture]:
    """The files below train and val of `root / top`, by their paths from there; links are followed.

    Raises:
        UserError: one of the two is missing, a folder cannot be read, a name is not UTF-8.
    """
    for split in ("train", "val"):
        if not (root / top / split).is_dir():
            raise UserError(f"{root / top / split}: no such folder; {root / top} needs the "
                            "training pictures in train and the validation pictures in val; mend "
                            "its name")
        for folder, folders, names in os.walk(root / top / split, followlinks=True, onerror=_tell):
            folders.sort()
            for name in sorted(names):
                file = Path(folder, name)
                try:
                    str(file).encode()
                except UnicodeEncodeError:
                    raise UserError(f"{str(file)!r}: this name is not UTF-8; rename it") from None
                yield Picture(file.relative_to(root / top).as_posix(), -1, file.relative_to(root),
                              0, _size(file))


def in_tar(root: Path, archive: str, top: str = "") -> Iterator[Picture]:
    """The members of a tar that are below `top`."""
    for member in members(root / archive, folders=True):
        path = member.name.removeprefix("./")
        if path.startswith(top):
            yield Picture(path.removeprefix(top), -1, Path(archive), member.offset, member.size)


def in_zip(root: Path, archive: str, top: str = "") -> Iterator[Picture]:
    """The members of a zip that are below `top`, stored or deflated.

    Raises:
        UserError: a damaged zip, a member that is encrypted, a link, or packed in another way, or
            whose name leads out of its folder.
    """
    file = root / archive
    with opened_zip(file) as directory, file.open("rb", buffering=0) as stream:
        found = [one for one in directory.infolist() if one.filename.startswith(top)
                 and not one.filename.endswith("/")]
        with progress(f"reading the table of {archive}", len(found), "members") as advance:
            for one in found:
                if (not is_safe(one.filename) or one.flag_bits & 1
                        or (one.external_attr >> 28) not in (0, 8)):
                    raise UserError(f"{file}: {one.filename!r} leads out of its folder, is "
                                    "encrypted or is not a plain file; no archive of this form "
                                    "holds such a thing")
                if one.compress_type not in PACKINGS:
                    raise UserError(f"{file}: {one.filename}: packed in a way "
                                    f"({one.compress_type}) that is not known here; unpack the "
                                    "archive")
                try:
                    header = os.pread(stream.fileno(), LOCAL_HEADER.size, one.header_offset)
                except (OSError, OverflowError):
                    # it lies before the beginning, or beyond any file's end
                    header = b""
                if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\3\4":
                    raise UserError(f"{file}: {one.filename}: damaged header; fetch the archive "
                                    "again")
                _, name, extra = LOCAL_HEADER.unpack(header)
                yield Picture(one.filename.removeprefix(top), -1, Path(archive),
                            one.header_offset + LOCAL_HEADER.size + name + extra, one.compress_size,
                            PACKINGS[one.compress_type])
                advance(1)


def opened_zip(file: Path) -> zipfile.ZipFile:
    """Raises UserError when it is no whole zip."""
    try:
        return zipfile.ZipFile(file)
    except (OSError, *BROKEN_ZIP) as error:
        raise UserError(f"{file}: not a whole zip ({error}); fetch it again") from None


def _tell(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}") from None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        raise UserError(f"{file}: a link to nothing; mend or remove it") from None
