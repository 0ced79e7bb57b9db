"""The kernels of an instruction set under AddressSanitizer, as a program of its own, which the
sanitizer's library has to be loaded before: `test_sanitized.py` starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from alexnet.arithmetic import library, table
from alexnet.arithmetic.operators import Normalization, Operators
from alexnet.arithmetic.table import values

# Pixels of which a task's last has one, as many as fill it, or a few less; alone and several.
PIXELS = (1, 2, 3, 17, 341, 2064, 2065, 2066, 4129)
CHANNELS = (1, 2, 3, 6, 16, 33, 128)
MOST = 30_000  # values
CONVOLUTIONS = (  # n, side, channels, outputs, size, stride, padding
    (2, 30, 3, 6, 11, 4, (0, 3)), (3, 30, 3, 1, 11, 4, (2, 1)), (2, 9, 5, 3, 3, 1, (1, 1)),
    (2, 7, 33, 2, 3, 2, (1, 1)), (1, 5, 1, 1, 3, 1, (1, 1)), (2, 12, 6, 40, 5, 1, (2, 2)))


def main(isa: str, file: Path) -> None:
    """Run every operator, and what reads and writes at the edges of arrays."""
    o = Operators(library.Library(isa, file), 2)
    assert table.differing(o) == []
    for pixels in PIXELS:
        for channels in (each for each in CHANNELS if each * pixels <= MOST):
            for size in (3, 9):
                normalise(o, pixels, channels, size)
    normalise(o, 3000, 2, 4201)  # a window that is wider than a task
    for n, side, channels, outputs, size, stride, padding in CONVOLUTIONS:
        x, weight = values(3, n, side, side, channels), values(4, outputs, channels, size, size)
        g = o.convolution(x, weight, None, stride, padding)
        o.convolution_weight_gradient(g, x, size, stride, padding)
        o.convolution_input_gradient(g, weight, x.shape, stride, padding)


def normalise(o: Operators, pixels: int, channels: int, size: int) -> None:
    constants = Normalization(size, 2.0, 1e-4)
    x, g = values(1, pixels, channels), values(2, pixels, channels)
    o.lrn_gradient(g, x, o.lrn(x, constants)[1], constants)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
