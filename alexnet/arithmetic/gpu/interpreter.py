"""Triton's interpreter, made to round as a GPU does.

Its own `fma` rounds twice (until Triton 3.6), and its `dot` is NumPy's product, whose order of
sums is a library's. Within `exact()` both are what the compiler makes of them: an fma that rounds
once, and a chain of those in the order of k. It is what the kernels are tested with on a CPU; that
a GPU does the same is for the check there to say (`check.py`). Tiles are larger within the block:
what takes time is the number of programs. Kernels of several threads, between which the interpreter
does not tell, take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
ROWS, DEPTH = 512, 64  # of a tile


def fma(a: F32, b: F32, c: F32) -> F32:
    """Return a * b + c, rounded once, float32, element by element.

    The product of two float32 is exact in float64. Where their sum, rounded to float64, is not
    just between two float32, it is rounded on as the exact sum would be.
    """
    product = a.astype(np.float64) * b.astype(np.float64)
    total = np.asarray(product + c)
    doubtful = (total.view(np.int64) & 0x1FFFFFFF == 0x10000000) | (np.abs(total) < SMALL)
    if doubtful.any():
        total = _rounded_to_odd(product, np.asarray(c, np.float64))
    return total.astype(np.float32)


SMALL = 2.0**-120  # where float32 has fewer bits, what is between two of them lies elsewhere


def _rounded_to_odd(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a + b rounded to odd, which a rounding to float32 cannot tell from the exact sum."""
    total = np.asarray(a + b)
    part = total - a
    error = (a - (total - part)) + (b - part)
    bits = total.view(np.int64)
    outward = np.where((error > 0) == (total > 0), 1, -1)
    bits = bits + np.where((error != 0) & (bits & 1 == 0), outward, 0)
    return np.asarray(bits).view(np.float64)


def chains(a: F32, b: F32, c: F32) -> F32:
    """Return chains over k of a [m, k] and b [k, n] that begin with c [m, n]."""
    for k in range(a.shape[1]):
        c = fma(a[:, k: k + 1], b[k: k + 1], c)
    return c


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Within the block the interpreter's fma and dot of float32 are exact.

    Raises:
        RuntimeError: kernels are not interpreted: TRITON_INTERPRET=1 must be set before anything
            imports Triton.
    """
    from triton import knobs
    from triton.runtime import interpreter

    from alexnet.arithmetic.gpu import products_triton as products

    if not knobs.runtime.interpret:
        raise RuntimeError("Triton does not interpret kernels here: set TRITON_INTERPRET=1")
    builder = interpreter.InterpreterBuilder
    before = builder.create_fma, builder.create_dot
    tiles, launch = (products.ROWS, products.DEPTH), interpreter.GridExecutor.__call__
    turn = threading.Lock()

    def in_turn(self: Any, *arguments: Any, **named: Any) -> None:
        with turn:
            launch(self, *arguments, **named)

    def create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return interpreter.TensorHandle(fma(x.data, y.data, z.data), z.dtype.scalar)

    def create_dot(self: Any, a: Any, b: Any, d: Any, precision: Any, imprecise: Any) -> Any:
        return interpreter.TensorHandle(chains(a.data, b.data, d.data), d.dtype.scalar)

    builder.create_fma, builder.create_dot = create_fma, create_dot
    products.ROWS, products.DEPTH, interpreter.GridExecutor.__call__ = ROWS, DEPTH, in_turn
    try:
        yield
    finally:
        builder.create_fma, builder.create_dot = before
        (products.ROWS, products.DEPTH), interpreter.GridExecutor.__call__ = tiles, launch
