"""Pictures that cannot be read one by one where they are (in a compressed tar, in Parquet), put into a plain tar once.

The tar appears under its name when it is whole, so a run that was killed makes it again from the start.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import UserError
from pipeline.files import written_whole
from pipeline.sources.tars import is_safe


def repacked(target: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar of these paths and contents, in this order; same input, same bytes.

    Raises:
        UserError: a path occurs twice, or the tar cannot be written.
    """
    seen = set()
    try:
        with (written_whole(target) as stream,
              tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive):
            for path, content in pictures:
                if path in seen:
                    raise UserError(f"{target}: {path} occurs twice in what it is made from; fetch that again")
                seen.add(path)
                header = tarfile.TarInfo(path)  # owner 0, time 0, mode 644
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}; pictures are repacked into this file, so its folder must be "
                        "writable and have room for it") from None


def in_compressed_tar(stream: IO[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """The plain files of a gzipped tar, to its very end, so that gzip's checksum has been seen.

    Raises:
        UserError: a damaged archive; a link, device or sparse file in it; a name that leads out of its folder.
    """
    try:
        with gzip.open(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
            for member in archive:
                if not is_safe(member.name) or not (member.isdir() or (member.isfile() and not member.issparse())):
                    raise UserError(f"{where}: {member.name!r} leads out of its folder, or is not a plain file (type "
                                    f"{member.type!r}); no archive of this form holds such a thing")
                if member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name.removeprefix("./"), content.read()
            while plain.read(1 << 20):
                pass
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{where}: damaged or cut short ({error}); fetch it again") from None
