"""Triton's interpreter, made to round as a GPU does.

Its own `fma` rounds twice (until Triton 3.6), and its `dot` is NumPy's product, whose order of
sums is a library's. Within `exact()` both are what the compiler makes of them: an fma that rounds
once, and a chain of those in the order of k. It is what the kernels are tested with on a CPU; that
a GPU does the same is for the check there to say (`check.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def fma(a: F32, b: F32, c: F32) -> F32:
    """Return a * b + c, rounded once, float32, element by element.

    The product of two float32 is exact in float64; the sum is rounded to odd, which the rounding to
    float32 that follows cannot tell from the exact sum.
    """
    product, wide = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = np.asarray(product + wide)
    part = total - product
    error = (product - (total - part)) + (wide - part)
    bits = total.view(np.int64)
    outward = np.where((error > 0) == (total > 0), 1, -1)
    bits = bits + np.where((error != 0) & (bits & 1 == 0), outward, 0)
    return np.asarray(bits).view(np.float64).astype(np.float32)


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

    if not knobs.runtime.interpret:
        raise RuntimeError("Triton does not interpret kernels here: set TRITON_INTERPRET=1")
    builder = interpreter.InterpreterBuilder
    before = builder.create_fma, builder.create_dot

    def create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return interpreter.TensorHandle(fma(x.data, y.data, z.data), z.dtype.scalar)

    def create_dot(self: Any, a: Any, b: Any, d: Any, precision: Any, imprecise: Any) -> Any:
        return interpreter.TensorHandle(chains(a.data, b.data, d.data), d.dtype.scalar)

    builder.create_fma, builder.create_dot = create_fma, create_dot
    try:
        yield
    finally:
        builder.create_fma, builder.create_dot = before
