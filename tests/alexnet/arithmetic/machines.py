"""The instruction sets of this machine, and equality to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alexnet.arithmetic import library
from alexnet.arithmetic.operators import Operators


def all_operators() -> Iterator[Operators]:
    """One for each instruction set that this machine offers, with numbers of threads that
    differ."""
    for isa, threads in zip(library.offered(), (3, 2, 1), strict=False):
        yield Operators(library.load(isa), threads)


def assert_same_bits(found: NDArray[np.generic],
                     wanted: NDArray[np.generic],
                     where: object = "") -> None:
    assert found.dtype == wanted.dtype, where
    assert found.shape == wanted.shape, where
    width = {4: np.int32, 8: np.int64, 1: np.uint8}[found.dtype.itemsize]
    differing = np.argwhere(
        np.ascontiguousarray(found).view(width) != np.ascontiguousarray(wanted).view(width))
    assert not len(differing), (
        f"{where}: {len(differing)} of {found.size} differ, first {differing[0].tolist()}: "
        f"{found[tuple(differing[0])]!r}, wanted {wanted[tuple(differing[0])]!r}")
