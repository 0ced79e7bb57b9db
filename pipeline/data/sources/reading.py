"""`read_picture` yields the bytes of one picture, wherever it lies."""

from __future__ import annotations

import gzip
import io
import os
import zlib

from pipeline.data.sources.catalogue import Picture
from pipeline.system.errors import UserError

LARGEST = 1 << 28  # bytes of one picture's file; ImageNet's largest has some 15 million


def read_picture(picture: Picture) -> bytes:
    """Return the picture's bytes: a JPEG, PNG or PPM file, still encoded.

    Raises:
        UserError: the file is gone, shorter than it was when it was listed, or broken where the
            picture is packed.
    """
    if not 0 <= picture.size <= LARGEST:
        raise UserError(f"{picture.file}: {picture.name}: {picture.size:,} bytes are no picture; "
                        "put the right file in its place, and run `alexnet download` again")
    try:
        descriptor = os.open(picture.file, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{picture.file}: {error.strerror}, though it was listed for "
                        f"{picture.name}; run `alexnet download` again") from None
    try:
        content = os.pread(descriptor, picture.size, picture.offset)
    finally:
        os.close(descriptor)
    if len(content) != picture.size:
        raise UserError(f"{picture.file}: ends within {picture.name}: {picture.size} bytes "
                        f"expected at {picture.offset}, {len(content)} there; run "
                        "`alexnet download` again")
    return _unpacked(content, picture) if picture.packing else content


def _unpacked(content: bytes, picture: Picture) -> bytes:
    try:
        if picture.packing == "gzip":
            with gzip.open(io.BytesIO(content)) as stream:
                unpacked = stream.read(LARGEST + 1)
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            unpacked = inflater.decompress(content, LARGEST + 1)
            if not inflater.eof and len(unpacked) <= LARGEST:
                raise EOFError("it does not come to its end")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{picture.file}: {picture.name}: cannot be unpacked ({error}); fetch the "
                        "archive again") from None
    if len(unpacked) > LARGEST:
        raise UserError(f"{picture.file}: {picture.name}: unpacks to more than {LARGEST:,} bytes, "
                        "which is no picture")
    return unpacked
