"""The members of a tar archive, or of a tar within a tar, found by their headers alone; damage is never passed over.

Python's `tarfile` takes a damaged header past the first for the archive's end, and so loses the rest in silence. This
walk parses each header with `tarfile.TarInfo.frombuf` (checksum included) and insists on the end mark.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

BLOCK = 512


@dataclass(frozen=True)
class Member:
    name: str
    offset: int  # of its first byte in the file that holds the outermost archive
    size: int


def members(file: Path, within: Member | None = None) -> Iterator[Member]:
    """Walk the plain files of the archive `file`, or of the archive that is its member `within`, in their order.

    Only headers are read: a 140 GB archive takes as many reads of 512 bytes as it has members.

    Raises:
        UserError: a damaged header, a missing end, a name that is not a plain one, anything but a plain file.
    """
    start = within.offset if within else 0
    where = f"{file}: {within.name}" if within else f"{file}"
    with file.open("rb", buffering=0) as stream:
        end = start + within.size if within else os.fstat(stream.fileno()).st_size
        at = start
        while True:
            block = os.pread(stream.fileno(), max(0, min(BLOCK, end - at)), at)
            if len(block) < BLOCK:
                raise UserError(f"{where}: cut short: no end mark by byte {end - start}; fetch it again")
            if not any(block):
                return
            header = _header(block, f"{where}: byte {at - start}")
            member = Member(header.name, at + BLOCK, header.size)
            if member.offset + member.size > end:
                raise UserError(f"{where}: cut short: ends within {member.name}; fetch it again")
            yield member
            at = member.offset + -(-member.size // BLOCK) * BLOCK


def _header(block: bytes, where: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: damaged header ({error}); fetch the archive again") from None
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise UserError(f"{where}: {header.name!r} is not a plain file (type {header.type!r}); no archive of this "
                        "form holds such a thing")
    if header.size < 0 or not header.name or header.name in (".", "..") or set(header.name) & set("/\\\0"):
        raise UserError(f"{where}: {header.name!r} (size {header.size}) is not the name of a picture or a class")
    return header
