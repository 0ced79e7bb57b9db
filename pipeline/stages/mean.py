"""The mean image: of every pixel of the stored 256x256 images, over the training set (P §2).

Yields data/mean.npy, float32 [256, 256, 3], RGB, 0..255, and data/mean.png, a picture of it. No
image is read: the sums were taken, exactly, when the images were stored.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config.parameters import Parameters
from pipeline.config.paths import MEAN, MEAN_PICTURE, STORE
from pipeline.data.arrays import array_in
from pipeline.data.moments import Moments
from pipeline.data.store import MOMENTS
from pipeline.system.errors import UserError
from pipeline.system.files import written_whole


def run(parameters: Parameters) -> dict[str, Any]:
    """Returns the mean of each channel, 0..255, and the sha256 of the mean image's values (float32,
    little-endian)."""
    moments = Moments.load(STORE / MOMENTS)
    mean = mean_image(moments)
    whole = io.BytesIO()
    np.save(whole, mean)
    with written_whole(MEAN) as stream:
        stream.write(whole.getbuffer())  # where there is no room, numpy itself would not say so
    with written_whole(MEAN_PICTURE) as stream:
        Image.fromarray(np.rint(mean).astype(np.uint8)).save(stream, "PNG")
    channels = [int(channel) / (moments.count * moments.pixels)
                for channel in moments.sums.sum(axis=(0, 1))]
    return {**{f"mean_{name}": value for name, value in zip("rgb", channels, strict=True)},
            "mean_digest": digest(mean)}


def mean_image(moments: Moments) -> NDArray[np.float32]:
    """float32 [256, 256, 3]: the exact quotients, rounded to nearest.

    The quotient of two integers is rounded to float64 and then to float32. For fewer than 2**28
    images that is the same as rounding once: a quotient with such a divisor is either a float32's
    rounding boundary or further from it than float64's error.

    Raises:
        UserError: there are no training images.
    """
    if moments.count == 0:
        raise UserError(f"{STORE}: no training images, so there is no mean image; see "
                        f"{STORE}/quarantine.json")
    return (moments.sums / np.float64(moments.count)).astype(np.float32)


def load() -> NDArray[np.float32]:
    """data/mean.npy, which is that of the store's moments, to the bit.

    Raises:
        UserError: it is missing, damaged, or of other images.
    """
    mean = array_in(MEAN, "make it with `alexnet mean`")
    exact = mean_image(Moments.load(STORE / MOMENTS))
    if (mean.dtype, mean.shape) != (exact.dtype, exact.shape) or digest(mean) != digest(exact):
        raise UserError(f"{MEAN}: damaged, or not that of {STORE}; make it again with "
                        "`alexnet mean`")
    return mean


def digest(mean: NDArray[np.float32]) -> str:
    """SHA-256 of the mean image's float32 numbers, little-endian, in hexadecimal."""
    return hashlib.sha256(mean.astype("<f4").tobytes()).hexdigest()
