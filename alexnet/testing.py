"""Centre-crop and ten-crop testing (P §4.1): five patches and their mirror images, averaged.

On CIFAR-10 2012 tested with nine views, which are not mirrored (S convdata_cifar.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.augmentation import centre_window, subtract_mean
from alexnet.layers import CROP

CENTRE = 4  # the centre's index among the views, of both kinds


def corners(margin: int) -> tuple[tuple[int, int], ...]:
    """Return top and left, in pixels, of the crops at the four corners and at the centre.

    Args:
        margin: side of the stored image less that of the crop; 32 in the paper, which gives offsets
            of 0, 16 and 32 (S convdata_jpeg.py).
    """
    return ((0, 0), (0, margin), (margin, 0), (margin, margin), (margin // 2, margin // 2))


def views_of(margin: int, views: int = 10) -> tuple[tuple[int, int, bool], ...]:
    """Return top and left, in pixels, of each view, and whether it is mirrored.

    Args:
        margin: side of the stored image less that of the crop.
        views: 10, `corners` and their mirror images; or 9, a grid of three by three (S
            convdata_cifar.py: start_positions).
    """
    if views == 9:
        steps = (0, margin // 2, margin)
        return tuple((top, left, False) for top in steps for left in steps)
    return tuple((top, left, mirrored) for mirrored in (False, True)
                 for top, left in corners(margin))


def ten_crops(images: Tensor, mean: Tensor, crop: int = CROP,
              arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return the network's ten inputs for each image.

    Args:
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3]; its central window is subtracted from every patch, after the
            flip (S).
        crop: side of the crops, in pixels.
        arithmetic: that computes them.

    Returns:
        float32 [10, n, 3, 224, 224]: the five patches, then their mirror images, in the order of
        `corners`.
    """
    return torch.stack(list(_crops(images, mean, crop, arithmetic,
                                   views_of(images.shape[1] - crop))))


def _crops(images: Tensor, mean: Tensor, crop: int, arithmetic: Arithmetic,
           views: Iterable[tuple[int, int, bool]]) -> Iterator[Tensor]:
    """Yield the views, each float32 [n, 3, 224, 224], made when it is asked for."""
    window = centre_window(mean, crop)
    for top, left, mirrored in views:
        patch = images[:, top: top + crop, left: left + crop]
        yield subtract_mean(patch.flip(2) if mirrored else patch, window, arithmetic)


def centre_crop(images: Tensor, mean: Tensor, crop: int = CROP,
                arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return the network's input at the centre, float32 [n, 3, 224, 224].

    Args:
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3].
        crop: side of the crop, in pixels.
        arithmetic: that computes it.
    """
    top, left = corners(images.shape[1] - crop)[CENTRE]
    patch = images[:, top: top + crop, left: left + crop]
    return subtract_mean(patch, centre_window(mean, crop), arithmetic)


@torch.no_grad()
def probabilities(network: Callable[[Tensor], Tensor], images: Tensor, mean: Tensor,
                  crop: int = CROP, arithmetic: Arithmetic = NATIVE, views: int = 10) -> Tensor:
    """Return the softmax outputs for the views of each image, in the order of `views_of`.

    Args:
        network: gives logits [n, classes] for float32 [n, 3, 224, 224].
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3].
        crop: side of the crops, in pixels.
        arithmetic: that computes them.
        views: of each image, 10 or 9.

    Returns:
        float32 [views, n, classes].
    """
    places = views_of(images.shape[1] - crop, views)
    # a whole image has one place: all nine views are it
    once = list(dict.fromkeys(places))
    distinct = {place: arithmetic.softmax(network(patch)) for place, patch in zip(
        once, _crops(images, mean, crop, arithmetic, once), strict=True)}
    return torch.stack([distinct[place] for place in places])


def errors(probabilities: Tensor, labels: Tensor, top: int,
           arithmetic: Arithmetic = NATIVE) -> float:
    """Return the fraction of images whose label is not among the `top` most probable classes.

    See `Arithmetic.errors` for ties.

    Args:
        probabilities: [n, classes].
        labels: int64 [n].
        top: 1 or 5.
        arithmetic: that computes it.
    """
    return arithmetic.errors(probabilities, labels, top)
