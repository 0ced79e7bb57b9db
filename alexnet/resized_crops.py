"""torchvision's RandomResizedCrop (the recipe's `crops: resized`): boxes of any size, brought to
that of the input.

Boxes are a function of (seed, position), as everything that is drawn. Pixels are those of Pillow's
bilinear filter, in whole numbers, hence the same everywhere. torchvision crops the picture; here it
is the stored square.
"""

from __future__ import annotations

import math
from functools import cache

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
    return _resampled(_resampled(image, side, 1), side, 0)


def _resampled(image: NDArray[np.uint8], side: int, axis: int) -> NDArray[np.uint8]:
    """Return the image with `side` pixels along an axis."""
    if image.shape[axis] == side:  # Pillow leaves an axis alone that keeps its length
        return image
    along = [1, 1, 1]
    along[axis] = side
    sums = np.full(along, 1 << (BITS - 1), np.int32)  # below 2 ** 31: weights come to 2 ** 22
    for places, weights in zip(*_windows(image.shape[axis], side), strict=True):
        sums = sums + np.take(image, places, axis) * weights.reshape(along)
    levels: NDArray[np.uint8] = (sums >> BITS).astype(np.uint8)
    return levels


@cache
def _windows(length: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return which of `length` pixels count for each of `side`, and the whole numbers by which
    (Pillow's Resample.c: precompute_coeffs, normalize_coeffs_8bpc): the first of every window, then
    the second and so on, both [pixels of a window, side]. A window is as wide as what it is reduced
    by; beyond its end the weights are 0."""
    scale = length / side
    support = max(scale, 1.0)
    most = math.ceil(2 * support) + 1
    places, weights = np.zeros((most, side), np.int64), np.zeros((most, side), np.int32)
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
        places[: stop - first, place] = np.arange(first, stop)
        weights[: stop - first, place] = np.floor(0.5 + normalized * 2.0**BITS)
    return places, weights
