"""The `mean` stage: the mean of every pixel of the stored 256x256 images over the training set
(P §2).

Yields data/mean.npy, float32 [256, 256, 3], RGB, 0..255, and data/mean.png, a picture of it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config.parameters import Parameters
from pipeline.config.paths import MEAN, MEAN_PICTURE
from pipeline.data.statistics import mean_digest, mean_image, store_moments
from pipeline.data.store import check_made_with
from pipeline.system.files import atomic_write


def run(parameters: Parameters) -> dict[str, Any]:
    """Run the stage.

    Returns:
        mean_r, mean_g, mean_b: of each channel, 0..255; mean_digest: the sha256 of the mean image's
        values (float32, little-endian).

    Raises:
        UserError: there is no store, or it has no training images.
    """
    check_made_with(parameters)
    moments = store_moments()
    mean = mean_image(moments)
    content = io.BytesIO()
    np.save(content, mean)
    with atomic_write(MEAN) as stream:
        stream.write(content.getbuffer())  # np.save to a full disk would raise no error
    with atomic_write(MEAN_PICTURE) as stream:
        Image.fromarray(np.rint(mean).astype(np.uint8)).save(stream, "PNG")
    channels = [int(channel) / (moments.count * moments.pixels)
                for channel in moments.sums.sum(axis=(0, 1))]
    return {**{f"mean_{name}": value for name, value in zip("rgb", channels, strict=True)},
            "mean_digest": mean_digest(mean)}
