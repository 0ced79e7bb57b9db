"""The members of a tar archive, or of a tar within a tar, found by their headers alone; damage is
never passed over.

Python's `tarfile` takes a damaged header past the first for the archive's end, and so loses the
rest in silence. This walk parses each header with `tarfile.TarInfo.frombuf` (checksum included) and
insists on the end mark.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.system.errors import UserError

BLOCK = 512


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or in an archive within it: where its bytes lie."""

    name: str
    offset: int  # of its first byte in the file that holds the outermost archive
    size: int


def members(file: Path, within: Member | None = None, folders: bool = False) -> Iterator[Member]:
    """Walk the plain files of the archive `file`, or of the archive that is its member `within`, in
    their order.

    Only headers are read: a 140 GB archive takes as many reads of 512 bytes as it has members. With
    `folders` its names are paths of any depth, and the folders among its members are passed over.

    Raises:
        UserError: no such file, a damaged header, a missing end, a name that is not a plain one or
            leads elsewhere, anything but a plain file (links, devices, sparse and extended
            headers).
    """
    start = within.offset if within else 0
    where = f"{file}: {within.name}" if within else f"{file}"
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    try:
        end = start + within.size if within else os.fstat(descriptor).st_size
        at = start
        while True:
            block = os.pread(descriptor, max(0, min(BLOCK, end - at)), at)
            if len(block) < BLOCK:
                raise UserError(f"{where}: cut short: no end mark by byte {end - start}; fetch it "
                                "again")
            if not any(block):
                return
            header = _header(block, f"{where}: byte {at - start}", folders)
            member = Member(header.name, at + BLOCK, header.size)
            if member.offset + member.size > end:
                raise UserError(f"{where}: cut short: ends within {member.name}; fetch it again")
            if not header.isdir():
                yield member
            at = member.offset + -(-member.size // BLOCK) * BLOCK
    finally:
        os.close(descriptor)


def _header(block: bytes, where: str, folders: bool) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: damaged header ({error}); fetch the archive again") from None
    if not (header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) or (folders and header.isdir())):
        raise UserError(f"{where}: {header.name!r} is not a plain file (type {header.type!r}); no "
                        "archive of this form holds such a thing")
    fits = is_safe(header.name, header.isdir()) if folders else is_plain(header.name)
    if header.size < 0 or (header.isdir() and header.size) or not fits:
        raise UserError(f"{where}: {header.name!r} (size {header.size}) is not the name of a "
                        "picture or a class, or leads out of its folder")
    return header


def is_plain(name: str) -> bool:
    """Return whether it names something in this very folder."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def is_safe(path: str, folder: bool = False) -> bool:
    """Return whether it leads to something below this folder, without detours; "./" may stand
    before it, as in some archives. That of a folder may end in "/", and be this one."""
    if folder:
        return path in (".", "./") or is_safe(path.removesuffix("/"))
    return all(is_plain(part) for part in path.removeprefix("./").split("/"))
