"""Exact sums over the pixels of training images, from which the mean image and the colour PCA
follow.

`Accumulator` takes images one by one, while each is in the processor's cache, and yields `Moments`:
integers, so that adding them in any order, split over any number of workers, gives the same bits.
`Moments` are kept in a .safetensors file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.pixels import SIDE
from pipeline.data.tensors import read_tensors, write_tensors
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

# A matrix product in float32 is exact, in any order of its additions, while no partial sum goes
# beyond 2**24. Values shifted to -128 .. 127 have products of at most 2**14, so 1,024 of them may
# be added. Four neighbouring pixels make one row of 12 values: a matrix large enough to multiply
# fast, small enough that no library splits it over threads.
_ROWS = 1024
_NEIGHBOURS = 4
_PARTS = 4  # of an image, one after another
_MIDDLE = 128
_UINT16_IMAGES = 257  # of 255 at most: 257 * 255 = 65,535


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over `count` images.

    Attributes:
        count: the number of images.
        sums: int64 [side, side, 3], of each value of each pixel. Overflows beyond 3.6e16 images.
        products: int64 [3, 3], symmetric: [i, j] is the sum of channel i times channel j over all
            pixels of all images. Overflows beyond 2.1e9 images.
    """

    count: int
    sums: NDArray[np.int64]
    products: NDArray[np.int64]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.sums + other.sums,
                       self.products + other.products)

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Moments) and self.count == other.count
                and np.array_equal(self.sums, other.sums)
                and np.array_equal(self.products, other.products))

    @staticmethod
    def zero(side: int = SIDE) -> Moments:
        """Return the sums over no image, side x side pixels."""
        return Moments(0, np.zeros((side, side, 3), np.int64), np.zeros((3, 3), np.int64))

    @property
    def pixels(self) -> int:
        """Return how many pixels an image has."""
        return int(self.sums.shape[0] * self.sums.shape[1])

    def save(self, file: Path) -> None:
        """Write the file; equal moments give equal files."""
        write_tensors(file, {"count": np.array(self.count, np.int64), "sums": self.sums,
                             "products": self.products})

    def save_for_old_code(self, file: Path) -> None:
        """Write the .npz that code reads whose records name no interface."""
        with atomic_write(file) as stream:
            np.savez(stream, count=np.int64(self.count), sums=self.sums, products=self.products)

    @staticmethod
    def load(file: Path) -> Moments:
        """Return the sums in a file; raises UserError when it is missing, damaged, or holds
        something else."""
        arrays = read_tensors(file, "make it with `alexnet resize` or `dvc repro resize`")
        side = len(arrays["sums"]) if arrays.get("sums", np.array(0)).ndim else 0
        shapes = {"count": (), "sums": (side, side, 3), "products": (3, 3)}
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != {
                name: (shape, np.dtype(np.int64)) for name, shape in shapes.items()}:
            raise UserError(f"{file}: not the moments of an image store; make it again with "
                            "`alexnet resize`")
        return Moments(int(arrays["count"]), arrays["sums"], arrays["products"])


class Accumulator:
    """Adds up the moments of images of side x side pixels, exactly."""

    def __init__(self, side: int = SIDE) -> None:
        self._count = 0
        self._sums = np.zeros((side, side, 3), np.int64)
        self._recent = np.zeros((side, side, 3), np.uint16)  # of the images since the last flush
        self._shifted = np.zeros((3, 3), np.int64)  # products of values less 128
        # Memory that is used for image after image, a part at a time: it stays in the cache.
        rows = math.gcd(_ROWS, side * side // _NEIGHBOURS)
        blocks = side * side // (_NEIGHBOURS * rows)
        self._parts = _PARTS if blocks % _PARTS == 0 else 1
        self._bytes = np.empty((side // self._parts, side, 3), np.uint8)
        self._values = np.empty((blocks // self._parts, rows, 3 * _NEIGHBOURS),
                                np.float32)  # [4, 1024, 12]
        self._blocks = np.empty((self._parts, len(self._values), 3 * _NEIGHBOURS, 3 * _NEIGHBOURS),
                                np.float32)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add an image, uint8 [side, side, 3]."""
        assert image.shape == self._sums.shape, image.shape
        assert image.dtype == np.uint8, image.dtype
        if self._count % _UINT16_IMAGES == 0:
            self._flush()
        height = len(self._bytes)
        for number in range(self._parts):
            part = slice(number * height, (number + 1) * height)
            self._recent[part] += image[part]
            np.bitwise_xor(image[part], _MIDDLE, out=self._bytes)  # of the bits of x, x - 128's
            self._values[...] = self._bytes.view(np.int8).reshape(self._values.shape)
            # [4, 12, 12], integers of at most 2**24
            np.matmul(self._values.transpose(0, 2, 1), self._values, out=self._blocks[number])
        self._count += 1
        products = self._blocks.sum(axis=(0, 1), dtype=np.float64).reshape(
            _NEIGHBOURS, 3, _NEIGHBOURS, 3)
        # the sum over pixels of (x - 128)(y - 128): each pixel with itself, not with its neighbours
        self._shifted += np.einsum("ncnd->cd", products).astype(np.int64)

    def _flush(self) -> None:
        self._sums += self._recent
        self._recent[...] = 0

    def moments(self) -> Moments:
        """Return the sums over all images so far."""
        sums = self._sums + self._recent
        pixels = sums.shape[0] * sums.shape[1]
        channels = sums.sum(axis=(0, 1))
        # (x - 128)(y - 128) = xy - 128 (x + y) + 128**2
        products = (self._shifted + _MIDDLE * (channels[:, None] + channels[None, :])
                    - _MIDDLE**2 * pixels * self._count)
        return Moments(self._count, sums, products)
