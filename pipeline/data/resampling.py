"""Pillow's bicubic filter in the fixed-point arithmetic of pillow-simd: `resample` yields the same
bits on every processor.

pillow-simd does it where it is installed, which is where it can be: on x86-64. Stock Pillow rounds
its weights to more bits, which makes other pixels; beside it `resampling.c` does what pillow-simd
does, compiled on first use.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from pipeline.system.errors import UserError

SIMD = ".post" in PIL.__version__  # the version numbers of pillow-simd
Box = tuple[float, float, float, float]


def resample(image: Image.Image, box: Box, side: int) -> NDArray[np.uint8]:
    """Return what lies in a box of a picture, resampled to a square by the bicubic filter.

    Args:
        image: in mode RGB.
        box: left, top, right, bottom, in its pixels; taken in single precision.
        side: of the square, in pixels.

    Returns:
        uint8 [side, side, 3], RGB.

    Raises:
        UserError: stock Pillow is installed, and no C compiler.
    """
    if SIMD:
        return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return resample_in_c(np.asarray(image), box, side)


def resample_in_c(pixels: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """Return the same of pixels, uint8 [height, width, 3], by the code in C.

    Raises:
        UserError: there is no C compiler, or it failed.
        MemoryError: there is not enough memory.
    """
    pixels, result = np.ascontiguousarray(pixels), np.empty((side, side, 3), np.uint8)
    height, width, _ = pixels.shape
    edges = np.array(box, np.float32)
    if _compiled()(pixels.ctypes.data, height, width, edges.ctypes.data, side, result.ctypes.data):
        raise MemoryError
    return result


@functools.cache
def _compiled() -> Any:
    from alexnet.arithmetic import library  # only where it is needed

    try:
        file = library.built((), [Path(__file__).with_suffix(".c")])
    except library.LibraryError as error:
        raise UserError(f"Pillow {PIL.__version__} is not pillow-simd, whose place in resampling C "
                        f"takes: {error}") from None
    function = ctypes.CDLL(str(file)).alexnet_resample
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int,
                         ctypes.c_void_p]
    return function
