"""torchvision's RandomResizedCrop (the recipe's `crops: resized`): boxes of any size, brought to
that of the input.

Boxes are a function of (seed, position), as everything that is drawn. Pixels are those of Pillow's
bilinear filter, in whole numbers, hence the same everywhere. torchvision crops the picture; here it
is the stored square.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet import draws
from alexnet.arithmetic.native import NATIVE, Arithmetic

AREA = (0.08, 1.0)  # torchvision transforms.py: RandomResizedCrop, scale
LOG_ASPECT = 0.28768207245178085  # log(4 / 3): aspects from 3/4 to 4/3, evenly in the logarithm
TRIES = 10  # boxes are drawn until their sides fit, else the whole image is taken
BITS = 22  # Pillow's Resample.c: PRECISION_BITS, 32 - 8 - 2


def draw_boxes(seed: int, positions: Tensor, stored: int,
               arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Draw a box for each position, int64 [n, 5]: top, left, height, width, and 1 if mirrored.

    Args:
        seed: of the crops.
        positions: int64 [n], in the stream of images.
        stored: side of the images, in pixels.
        arithmetic: that computes the sides.
    """
    n = len(positions)
    boxes = torch.tensor([0, 0, stored, stored]).repeat(n, 1)
    drawn_already = torch.zeros(n, dtype=torch.bool)
    for attempt in range(TRIES):
        words = draws.words(seed, "resized crop", attempt, positions)
        drawn = draws.uniform(words[:, :2])
        area = stored**2 * (AREA[0] + drawn[:, 0] * (AREA[1] - AREA[0]))
        aspect = arithmetic.exponential((2.0 * drawn[:, 1] - 1.0) * LOG_ASPECT)
        width = arithmetic.square_root(area * aspect).round().long()
        height = arithmetic.square_root(area / aspect).round().long()
        fits = (width <= stored) & (height <= stored) & ~drawn_already
        tops = draws.integers(words[:, 2], stored - height + 1)
        lefts = draws.integers(words[:, 3], stored - width + 1)
        boxes[fits] = torch.stack([tops, lefts, height, width], dim=1)[fits]
        drawn_already |= fits
    flips = draws.integers(draws.words(seed, "crop", 0, positions)[:, 2], 2)
    return torch.cat([boxes, flips[:, None]], dim=1)


def resized_crops(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return the boxes of images, resized and mirrored, uint8 [n, side, side, 3].

    Args:
        images: uint8 [n, stored, stored, 3].
        boxes: int64 [n, 5], as `draw_boxes` returns them.
        side: of the result, in pixels.
    """
    result = torch.empty(len(images), side, side, 3, dtype=torch.uint8)
    for row, (image, box) in enumerate(zip(images, boxes.tolist(), strict=True)):
        top, left, height, width, flip = box
        crop = image[top: top + height, left: left + width].numpy()
        resized = torch.from_numpy(bilinear(crop, side))
        result[row] = resized.flip(1) if flip else resized
    return result


def bilinear(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image, uint8 [height, width, 3], resampled to [side, side, 3] as Pillow does it:
    first the rows' pixels, then the columns', each rounded to whole levels."""
    height, width, channels = image.shape
    rows = _weighted(np.ascontiguousarray(image.transpose(1, 0, 2)).reshape(width, -1), side)
    columns = rows.reshape(side, height, channels).transpose(1, 0, 2).reshape(height, -1)
    return _weighted(np.ascontiguousarray(columns), side).reshape(side, side, channels)


def _weighted(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return [side, k] of pixels [length, k] along their first axis."""
    if len(pixels) == side:  # Pillow leaves an axis alone that keeps its length
        return pixels
    sums = _weights(len(pixels), side) @ pixels.astype(np.float64)  # whole numbers below 2 ** 31
    return np.clip(np.floor((sums + 2.0 ** (BITS - 1)) / 2.0**BITS), 0, 255).astype(np.uint8)


def _weights(length: int, side: int) -> NDArray[np.float64]:
    """Return the whole numbers by which pixels count, [side, length] (Pillow's Resample.c:
    precompute_coeffs, normalize_coeffs_8bpc). A window is as wide as what it is reduced by."""
    scale = length / side
    support = max(scale, 1.0)
    weights = np.zeros((side, length))
    for place in range(side):
        centre = (place + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        stop = min(int(centre + support + 0.5), length)
        distance = np.abs((np.arange(first, stop) - centre + 0.5) * (1.0 / support))
        triangle = np.where(distance < 1.0, 1.0 - distance, 0.0)
        total = 0.0
        for weight in triangle:  # in order: a library's sum may be in another
            total += weight
        normalized = triangle * (1.0 / total) if total else triangle
        weights[place, first:stop] = np.floor(0.5 + normalized * 2.0**BITS)
    return weights
