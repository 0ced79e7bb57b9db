"""Pictures by their paths, train/<class>/<name> and val/<class>/<name> or val/<name>, in a folder,
a tar or a zip.

`in_folder`, `in_tar` and `in_zip` yield the places; `assemble` makes a catalogue of them. A label
is found by its key: the class's folder, the number in ILSVRC2012_val_00000293, the row of a CSV.
"""

from __future__ import annotations

import os
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.sources.catalogue import Catalogue, Class, Contents, LeftOut, Place
from pipeline.data.sources.index import Row, TableBuilder
from pipeline.data.sources.tars import is_safe, members
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress

# what pipeline.data.pixels decodes
SUFFIXES = (".jpeg", ".jpg", ".png", ".ppm", ".bmp", ".gif", ".jpe", ".jfif", ".pgm", ".pnm")
OTHER_FORMATS = (".webp", ".tif", ".tiff", ".avif", ".heic", ".jp2", ".jxl", ".ico", ".svg")
HIDDEN = (".", "@eaDir", "__MACOSX")  # beginnings of what systems leave beside files
SPLITS = ("train", "val")
NESTED = "images"  # Tiny ImageNet's pictures are in train/<wnid>/images
# of a zip's member: signature, ..., lengths of its name and extra field
LOCAL_HEADER = struct.Struct("<4s22xHH")
PACKINGS = {zipfile.ZIP_STORED: "", zipfile.ZIP_DEFLATED: "deflate"}
# What Python's reader raises, also where it is encrypted, packed in a way that it does not know, or
# lies about itself.
BROKEN_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError,
              zlib.error)
WITH_CLASS = re.compile(r"(n\d{8}_\d+|ILSVRC2012_val_\d{8})_(n\d{8})(\.\w+)")
WNID_FIRST = re.compile(r"(n\d{2,})_\d+(?=[._])")
# what file managers append to the name of a copy
COPY = re.compile(r"( \(\d+\)| - Copy.*| copy( \d+)?|~)\.\w+$", re.IGNORECASE)


@dataclass
class Assembly:
    """How paths become names and labels, and what became of the files that got none.

    Attributes:
        classes: in label order; the folder of a class has its wnid as name.
        val_labels: of validation pictures, by their names without suffix.
        named_by_class: a picture is named `class/name`, as in a user's own folders; otherwise
            names are ImageNet's, and `n01440764_10026.JPEG` is of n01440764 wherever it lies.
    """

    classes: list[Class]
    val_labels: Mapping[str, int] = field(default_factory=dict)
    named_by_class: bool = False
    left_out: LeftOut = field(default_factory=LeftOut)
    strays: LeftOut = field(default_factory=LeftOut)
    conflicts: list[str] = field(default_factory=list)
    paths_of_keys: dict[str, str] = field(default_factory=dict)  # of val_labels

    def __post_init__(self) -> None:
        self.labels = {composed(one.wnid): label for label, one in enumerate(self.classes)}

    def rows(self, places: Iterable[Place]) -> Iterator[tuple[str, Row]]:
        """Yield split and row of each picture that has a label; note the other files.

        Raises:
            UserError: a name has a line break.
        """
        for place in places:
            check_name(place.path, place.file)
            split, *folders, name = place.path.split("/")
            if split not in SPLITS:
                self.left_out.add("outside train and val", place.path)
            elif reason := _no_picture(name, folders):
                self.left_out.add(reason, place.path)
            elif (label := self._label(split, folders, name, place.path)) is not None:
                named = (f"{self.classes[label].wnid}/{name}" if self.named_by_class
                         else without_class(name))
                yield split, (named, label, place.file, place.offset, place.size, place.packing)

    def _label(self, split: str, folders: list[str], name: str, path: str) -> int | None:
        """Return the label that all keys of this picture agree on; note it where there is none."""
        if split == "val" and folders == [NESTED] and NESTED not in self.labels:
            folders = []
        if reason := self._no_key(split, folders, name):
            self.strays.add(reason, path)
            return None
        keys = [(composed(folders[0]), "its folder")] if folders else []
        if not self.named_by_class:
            keys += [(match[group], "its name") for match, group in (
                (WNID_FIRST.match(name), 1), (WITH_CLASS.fullmatch(name), 2)) if match]
        labels = {self.labels.get(key) for key, _ in keys}
        stem = without_class(name).rpartition(".")[0]
        if split == "val" and stem in self.val_labels:
            keys.append((self.classes[self.val_labels[stem]].wnid, "the list of labels"))
            labels.add(self.val_labels[stem])
            if stem in self.paths_of_keys:
                self.conflicts.append(f"{stem} is there twice: {self.paths_of_keys[stem]}, {path}")
            self.paths_of_keys[stem] = path
        if len(labels) > 1:
            self.conflicts.append(
                f"{path}: {', but '.join(f'{source} says {key}' for key, source in keys)}")
        elif not labels:
            self.strays.add("in val without a label" if split == "val" else
                            "directly in train, where no folder says the class", path)
        elif None in labels:
            self.strays.add("in a folder that is none of the classes", path)
        return labels.pop() if len(labels) == 1 else None

    def _no_key(self, split: str, folders: list[str], name: str) -> str:
        """Return why the path is not of a form that has a key; nothing if it is."""
        if folders[1:] not in ([], [NESTED]):
            return f"deeper than {split}/<class>/"
        if not self.named_by_class and COPY.search(name):
            return "copies by their names"
        if split == "train" and without_class(name).rpartition(".")[0] in self.val_labels:
            return "validation pictures by their names, in train"
        return ""


def assemble(root: Path, places: Iterable[Place], assembly: Assembly,
             files: Sequence[str] | None = None) -> Contents:
    """Sort pictures into splits and classes.

    Args:
        root: the folder that the pictures' files are relative to.
        files: the archives that hold the pictures; None: each is a file of its own.

    Raises:
        UserError: two keys of a picture contradict each other, or a name or key occurs twice.
    """
    builders = {split: TableBuilder() for split in SPLITS}
    for split, row in assembly.rows(places):
        builders[split].add(row)
    if assembly.conflicts:
        more = f" ({len(assembly.conflicts):,} such pictures)" * (len(assembly.conflicts) > 1)
        raise UserError(f"{root}: {assembly.conflicts[0]}{more}. No label is guessed: correct what "
                        "is wrong, or fetch it again")
    train, val = (builders.pop(split).table(root) for split in SPLITS)
    train.sort("label", "name")
    val.sort("name")
    catalogue = Catalogue(assembly.classes, train, val)
    missing = sorted(assembly.val_labels.keys() - assembly.paths_of_keys.keys())
    return Contents(catalogue, files, left_out=assembly.left_out, strays=assembly.strays,
                    missing=missing)


def _no_picture(name: str, folders: list[str]) -> str:
    """Return why this is no picture, by its name; nothing if it is one."""
    if any(part.startswith(HIDDEN) for part in (*folders, name)):
        return "hidden"
    if name.lower().endswith(SUFFIXES):
        return ""
    suffix = os.path.splitext(name)[1].lower()
    return (f"of a format that is not decoded here ({suffix}); convert them to PNG or JPEG"
            if suffix in OTHER_FORMATS else f"no pictures by their names ({suffix or 'no suffix'})")


def is_picture(name: str) -> bool:
    """Return whether a file's name is that of a picture: by its suffix, and not hidden."""
    return not _no_picture(name, [])


def composed(name: str) -> str:
    """Return the name in the one Unicode form (NFC) in which names are compared: `é` is one
    character on Linux and two on a Mac's older disks."""
    return unicodedata.normalize("NFC", name)


def without_class(name: str) -> str:
    """Return ImageNet's own name of a picture: some copies append the class,
    "ILSVRC2012_val_00000293_n01440764.JPEG"."""
    match = WITH_CLASS.fullmatch(name)
    return f"{match[1]}{match[3]}" if match else name


def in_folder(root: Path, folder: str, split: str) -> Iterator[Place]:
    """Yield the files below `root / folder`, in order of name, under paths that begin with `split`;
    links are followed. Of a tar of one class, <wnid>.tar, its members are yielded.

    Raises:
        UserError: a folder cannot be read, a name is not UTF-8, a link leads to nothing.
    """
    for item in scan(root / folder):
        file, path = f"{folder}/{item.name}", f"{split}/{item.name}"
        try:
            item.name.encode()
            if item.is_dir():
                yield from in_folder(root, file, path)
                continue
            size = item.stat().st_size
        except UnicodeEncodeError:
            raise UserError(f"{item.path!r}: this name is not UTF-8; rename it") from None
        except OSError:
            raise broken_link(Path(item.path)) from None
        if re.fullmatch(r"n\d{8}\.tar", item.name) and split == "train":
            for member in members(Path(item.path)):
                yield Place(f"{path.removesuffix('.tar')}/{member.name}", file, member.offset,
                            member.size)
        else:
            yield Place(path, file, 0, size)


def broken_link(link: Path) -> UserError:
    """Return the error for a link that leads to nothing: a class or picture that is elsewhere."""
    target = os.readlink(link) if link.is_symlink() else "?"
    return UserError(f"{link}: a link to {target}, where nothing is: mount the disk that it leads "
                     "to, or make the link anew")


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in the folder, in order of name.

    Raises:
        UserError: it cannot be read, or a name in it has a line break.
    """
    try:
        with os.scandir(folder) as items:
            found = sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    for item in found:
        check_name(item.name, folder)
    return found


def check_name(name: str, place: object) -> None:
    """Refuse a name of more than one line: in messages and tables its second line would stand as
    one of ours.

    Raises:
        UserError: it has a line break.
    """
    if name.splitlines() not in ([], [name]):
        raise UserError(f"{place}: the name {name!r} has a line break; rename it")


def in_tar(root: Path, archive: str, top: str = "") -> Iterator[Place]:
    """Yield the members of a tar that are below `top`."""
    for member in members(root / archive, folders=True):
        path = member.name.removeprefix("./")
        if path.startswith(top):
            yield Place(path.removeprefix(top), archive, member.offset, member.size)


def in_zip(root: Path, archive: str, top: str = "") -> Iterator[Place]:
    """Yield the members of a zip that are below `top`, stored or deflated.

    Raises:
        UserError: a damaged zip, a member that is encrypted, a link, or packed in another way, or
            whose name leads out of its folder.
    """
    file = root / archive
    with opened_zip(file) as directory, file.open("rb", buffering=0) as stream:
        infos = [info for info in directory.infolist() if info.filename.startswith(top)
                 and not info.filename.endswith("/")]
        with progress(f"reading the table of {archive}", len(infos), "members") as advance:
            for info in infos:
                _check_member(file, info)
                try:
                    header = os.pread(stream.fileno(), LOCAL_HEADER.size, info.header_offset)
                except (OSError, OverflowError):
                    # it lies before the beginning, or beyond any file's end
                    header = b""
                if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\3\4":
                    raise UserError(f"{file}: {info.filename}: damaged header; fetch the archive "
                                    "again")
                _, name, extra = LOCAL_HEADER.unpack(header)
                yield Place(info.filename.removeprefix(top), archive,
                            info.header_offset + LOCAL_HEADER.size + name + extra,
                            info.compress_size, PACKINGS[info.compress_type])
                advance(1)


def _check_member(file: Path, info: zipfile.ZipInfo) -> None:
    if (not is_safe(info.filename) or info.flag_bits & 1
            or (info.external_attr >> 28) not in (0, 8)):
        raise UserError(f"{file}: {info.filename!r} leads out of its folder, is encrypted or is "
                        "not a plain file; no archive of this form holds such a thing")
    if info.compress_type not in PACKINGS:
        raise UserError(f"{file}: {info.filename}: packed in a way ({info.compress_type}) that is "
                        "not known here; unpack the archive")


def opened_zip(file: Path) -> zipfile.ZipFile:
    """Open a zip.

    Raises:
        UserError: it is no whole zip.
    """
    try:
        return zipfile.ZipFile(file)
    except (OSError, *BROKEN_ZIP) as error:
        raise UserError(f"{file}: not a whole zip ({error}); fetch it again") from None
