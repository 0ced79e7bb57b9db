"""Pictures that cannot be read one by one where they are (in a compressed tar, in Parquet), put
into a plain tar once.

The tar appears under its name when it is whole, so a run that was killed makes it again from the
start. What is compressed may unpack to anything: a member has a picture's or a CIFAR batch's size
at most, all of them together a few times the archive's own.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pipeline.data.sources.reading import LARGEST
from pipeline.data.sources.tars import is_safe
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

LONGEST_NAME = 1 << 16  # bytes of an extended header, which holds a name
# times the compressed size; of pictures it is less than two, but many small members add headers
MOST_UNPACKED = 50
AT_ONCE = 1 << 20


def write_tar(target: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar of these paths and contents, in this order; same input, same bytes.

    Raises:
        UserError: a path occurs twice, or the tar cannot be written.
    """
    seen = set()
    try:
        with (atomic_write(target) as stream,
              tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive):
            for path, content in pictures:
                if path in seen:
                    raise UserError(f"{target}: {path} occurs twice in what it is made from; fetch "
                                    "that again")
                seen.add(path)
                header = tarfile.TarInfo(path)  # owner 0, time 0, mode 644
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}; pictures are repacked into this file, so its "
                        "folder must be writable and have room for it") from None


def in_compressed_tar(stream: IO[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """Yield paths and contents of the plain files of a gzipped tar, to its very end, so that gzip's
    checksum has been seen.

    Raises:
        UserError: a damaged archive, or a bomb; a link, device or sparse file in it; a name that
            leads out of its folder.
    """
    def check_sizes() -> None:
        if plain.tell() > MOST_UNPACKED * (stream.tell() + AT_ONCE):
            raise UserError(f"{where}: unpacks to more than {MOST_UNPACKED} times its size, which "
                            "pictures never do; fetch it from a place that you trust")

    try:
        with gzip.open(stream) as plain, tarfile.open(fileobj=plain, mode="r|",
                                                      tarinfo=_Header) as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                plain_file = (member.isreg() and not member.issparse()
                              and 0 <= member.size <= LARGEST)
                if not is_safe(member.name, member.isdir()) or not (member.isdir() or plain_file):
                    raise UserError(f"{where}: {member.name!r} leads out of its folder, or is not "
                                    f"a plain file (type {member.type!r}, size {member.size}); no "
                                    "archive of this form holds such a thing")
                check_sizes()
                if member.isreg():
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name.removeprefix("./"), content.read()
            while plain.read(AT_ONCE):
                check_sizes()
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError,
            RecursionError) as error:
        raise UserError(f"{where}: damaged or cut short ({error}); fetch it again") from None


class _Header(tarfile.TarInfo):
    """A header that refuses what `tarfile` would read into memory whatever its size, and a damaged
    header, which `tarfile` takes for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end mark
            raise tarfile.ReadError(f"damaged header: {error}") from None
        extended = header.type not in tarfile.REGULAR_TYPES
        if not 0 <= header.size <= (LONGEST_NAME if extended else LARGEST):
            raise tarfile.ReadError(f"{header.name!r} (type {header.type!r}) has {header.size:,} "
                                    "bytes")
        return header
