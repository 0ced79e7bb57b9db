"""A shard of the image store: up to 1,024 images in one file, in either of two encodings.

    raw   train-00000.npy    uint8 [n, 256, 256, 3], RGB, mapped into memory
    jpeg  train-00000.jpegs  n JPEGs of quality 95, end to end, mapped too, and decoded when they
                             are asked for; where each one lies is in the store's index. A sixth of
                             the bytes; 2012 kept its batches so

`shard_writer` yields a writer, `open_shard` the images. What is lossy is lost in the writer: its
`add` gives back the pixels that will be read, and the digest is of those.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.pixels import SIDE, Undecodable, decode_stored, encode_stored
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

Encoding = Literal["raw", "jpeg"]
SUFFIX: dict[Encoding, str] = {"raw": ".npy", "jpeg": ".jpegs"}
RAW_HEADER = 128  # bytes before the first image of a raw shard
# of a JPEG in its shard: the offset of its first byte, and how many there are
Place = tuple[int, int]


FIX = "get the store again with `dvc pull`, or make it with `alexnet resize`"


def shard_file(split: str, number: int, encoding: Encoding = "raw") -> str:
    """Return the name of a shard's file in the store's folder."""
    return f"{split}-{number:05}{SUFFIX[encoding]}"


class ShardDigest:
    """The sha256 over a shard's labels and pixels, image by image."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, image: NDArray[np.uint8], label: int) -> None:
        """Add an image, uint8 [side, side, 3], and its label."""
        self._sha256.update(label.to_bytes(8, "little"))
        self._sha256.update(np.ascontiguousarray(image).data)

    def hexdigest(self) -> str:
        """Return the SHA-256 over the labels and pixels so far, in hexadecimal."""
        return self._sha256.hexdigest()


class ShardWriter:
    """Writes images one after another, so that no shard is ever held in memory.

    Attributes:
        count: of the images so far.
        digest: of their labels and pixels, as they will be read.
        place: of the last image, in a JPEG shard; else None.
    """

    def __init__(self, stream: IO[bytes], side: int = SIDE, encoding: Encoding = "raw") -> None:
        self.count, self._side, self._encoding = 0, side, encoding
        self.digest = ShardDigest()
        self.place: Place | None = None
        self._stream = stream
        self._header()

    def add(self, image: NDArray[np.uint8], label: int) -> NDArray[np.uint8]:
        """Write an image, uint8 [side, side, 3]; return it as it will be read."""
        assert image.shape == (self._side, self._side, 3), image.shape
        assert image.dtype == np.uint8, image.dtype
        if self._encoding == "jpeg":
            content = encode_stored(image)
            self.place = (self._stream.tell(), len(content))
            image = decode_stored(content)
            self._stream.write(content)
        else:
            self._stream.write(np.ascontiguousarray(image).data)
        self.digest.add(image, label)
        self.count += 1
        return image

    def finish(self) -> None:
        """Write the number of images into the file's header."""
        self._stream.seek(0)
        self._header()  # numpy pads it, so that a longer count takes no more room
        self._stream.seek(0, 2)

    def _header(self) -> None:
        if self._encoding == "raw":
            shape = (self.count, self._side, self._side, 3)
            np.lib.format.write_array_header_1_0(
                self._stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextmanager
def shard_writer(file: Path, side: int = SIDE,
                 encoding: Encoding = "raw") -> Iterator[ShardWriter]:
    """Yield a writer to a file that appears, whole, when the block ends well."""
    with atomic_write(file) as stream:
        writer = ShardWriter(stream, side, encoding)
        yield writer
        writer.finish()


class Images(Protocol):
    """A shard's images, by their row: uint8 [side, side, 3], RGB, read-only. Any thread may ask."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]: ...


class _Mapped:
    """A file in memory, of which the kernel takes the pages away when somebody cuts it off: to
    touch them then ends the process by SIGBUS. So its length is looked at before each image; an
    instant remains."""

    def __init__(self, file: Path, mapping: mmap.mmap) -> None:
        self._file, self._bytes = file, mapping

    def _check_whole(self) -> None:
        if self._bytes.size() < len(self._bytes):  # of the file now, and as it was mapped
            raise damaged(self._file, "it was cut off while it was in use, from "
                                      f"{len(self._bytes)} to {self._bytes.size()} bytes")


class RawImages(_Mapped):
    """Views into the mapped file."""

    def __init__(self, file: Path, mapped: np.memmap[Any, Any]) -> None:
        assert isinstance(mapped.base, mmap.mmap)
        super().__init__(file, mapped.base)
        # without memmap's own indexing, which is slow
        self._images: NDArray[np.uint8] = np.asarray(mapped)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        self._check_whole()
        image: NDArray[np.uint8] = self._images[row]
        return image


class JpegImages(_Mapped):
    """Decodes an image when it is asked for. Python's lock is released meanwhile, so threads decode
    side by side."""

    def __init__(self, file: Path, places: NDArray[np.int64], side: int) -> None:
        with file.open("rb") as stream:
            super().__init__(file, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        self._places, self._side = places, side

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        offset, size = self._places[row].tolist()
        self._check_whole()
        try:
            image = decode_stored(self._bytes[offset: offset + size])
        except Undecodable as reason:
            raise damaged(self._file, f"image {row}: {reason}") from None
        if image.shape != (self._side, self._side, 3):
            raise damaged(self._file,
                          f"image {row} is {list(image.shape)}, not {[self._side, self._side, 3]}")
        return image


def open_shard(file: Path, length: int, side: int,
               places: NDArray[np.int64] | None = None) -> Images:
    """Return a shard's images: those at `places` (int64 [n, 2]) of a JPEG shard, or, without
    `places`, the rows of a raw one.

    Raises:
        UserError: the file is missing or something else. Of a JPEG shard only its size is looked at
            here.
    """
    check_size(file, length, side, places)
    if places is not None:
        return JpegImages(file, places, side)
    mapped = mapped_array(file, np.uint8, FIX)
    if mapped.shape != (length, side, side, 3):
        raise damaged(file, f"uint8 {list(mapped.shape)} where uint8 {[length, side, side, 3]} "
                            "belongs")
    return RawImages(file, mapped)


def mapped_array(file: Path, dtype: type[np.generic], fix: str) -> np.memmap[Any, Any]:
    """Return the array of a .npy file, mapped: it takes no memory by its header's word, and nothing
    is unpickled.

    Raises:
        UserError: the file is missing, damaged, longer than its array, or of another type; the
            message ends in `fix`.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(8) != b"\x93NUMPY\1\0":  # headers of later versions may have gigabytes
                raise ValueError("it is no .npy file of version 1.0")
        mapped: np.memmap[Any, Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {fix}") from None
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, RecursionError, OverflowError,
            tokenize.TokenError) as error:
        # the first are no fault of the file's
        if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        raise UserError(f"{file}: damaged: {error}; {fix}") from None
    if mapped.dtype != dtype:
        raise UserError(f"{file}: damaged: {mapped.dtype} {list(mapped.shape)}, not "
                        f"{np.dtype(dtype)}; {fix}")
    if mapped.offset + mapped.nbytes != file.stat().st_size:
        raise UserError(f"{file}: damaged: it goes on after its array; {fix}")
    return mapped


def byte_ranges(rows: NDArray[np.int64], side: int,
                places: NDArray[np.int64] | None = None) -> list[Place]:
    """Return where these rows (ascending) lie in their file; neighbours make one range."""
    size = side**2 * 3
    ranges = (places[rows] if places is not None
              else np.stack([RAW_HEADER + rows * size, np.full(len(rows), size)], axis=1))
    joined: list[Place] = []
    for offset, length in ranges.tolist():
        if joined and sum(joined[-1]) == offset:
            offset, length = joined[-1][0], joined[-1][1] + length
            joined.pop()
        joined.append((offset, length))
    return joined


def read_ahead(file: Path, ranges: list[Place]) -> None:
    """Have the system read these ranges of a file into memory; returns at once."""
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    with file.open("rb") as stream:
        for offset, length in ranges:
            os.posix_fadvise(stream.fileno(), offset, length, os.POSIX_FADV_WILLNEED)


def check_size(file: Path, length: int, side: int, places: NDArray[np.int64] | None = None) -> None:
    """See that a shard is neither missing nor truncated, at once, even among thousands."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise damaged(file, str(error.strerror)) from None
    needed = length * side * side * 3 if places is None else int(places[-1].sum())
    if size < needed:
        raise damaged(file, f"{size} bytes are too few for {length} images")


def digest_of_images(images: Images, labels: Sequence[int]) -> str:
    """Return what `ShardWriter.digest` was when it wrote these images."""
    digest = ShardDigest()
    for row, label in enumerate(labels):
        digest.add(images[row], int(label))
    return digest.hexdigest()


def damaged(file: Path, what: str) -> UserError:
    """Return the error for a file of a store that is not as it was written; it names the fix."""
    return UserError(f"{file}: damaged: {what}; {FIX}")
