"""Arrays from .npy and .npz files that anybody may have written: nothing is unpickled, and no more
memory is taken than the file has bytes, whatever its header says."""

from __future__ import annotations

import contextlib
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.system.errors import UserError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def array_in(file: Path, mend: str) -> NDArray[Any]:
    """That of a .npy.

    Raises:
        UserError: the file is missing, damaged, or holds something else; the message ends in
            `mend`.
    """
    with _telling(file, mend), file.open("rb") as stream:
        return _array(stream, file.stat().st_size)


def arrays_in(file: Path, mend: str) -> dict[str, NDArray[Any]]:
    """Those of a .npz, by name; checksums are looked at. Raises UserError as `array_in`."""
    found = {}
    with _telling(file, mend), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > file.stat().st_size:
                raise ValueError(f"{member.filename!r} is compressed, or larger than the file")
            with archive.open(member) as stream:
                found[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
                if stream.read(1):  # at the end the checksum is compared
                    raise ValueError(f"{member.filename!r} goes on behind its array")
    return found


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = HEADERS[version](stream)
    left = size - stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds objects, which only pickle reads")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"an array of {dtype} {list(shape)} is not in {left} bytes")
    content, filled = bytearray(left), 0
    while filled < left:
        read = stream.readinto(memoryview(content)[filled:])  # type: ignore[attr-defined]
        if not read:
            raise EOFError("it is cut short")
        filled += read
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


@contextlib.contextmanager
def _telling(file: Path, mend: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {mend}") from None
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, RecursionError,
            tokenize.TokenError, zlib.error, zipfile.BadZipFile, NotImplementedError,
            RuntimeError) as error:  # of numpy, of zipfile
        raise UserError(f"{file}: damaged ({error}); {mend}") from None
