"""Centre-crop and ten-crop testing (P §4.1): five patches and their mirror images, averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from alexnet.augmentation import centre_window, subtract_mean
from alexnet.layers import CROP

CENTRE = 4  # the centre's index among the corners


def corners(margin: int) -> tuple[tuple[int, int], ...]:
    """Return top and left, in pixels, of the crops at the four corners and at the centre.

    Args:
        margin: side of the stored image less that of the crop; 32 in the paper, which gives offsets
            of 0, 16 and 32 (S convdata_jpeg.py).
    """
    return ((0, 0), (0, margin), (margin, 0), (margin, margin), (margin // 2, margin // 2))


def ten_crops(images: Tensor, mean: Tensor, crop: int = CROP) -> Tensor:
    """Return the network's ten inputs for each image.

    Args:
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3]; its central window is subtracted from every patch, after the
            flip (S).
        crop: side of the crops, in pixels.

    Returns:
        float32 [10, n, 3, 224, 224]: the five patches, then their mirror images, in the order of
        `corners`.
    """
    return torch.stack(list(_crops(images, mean, crop)))


def _crops(images: Tensor, mean: Tensor, crop: int) -> Iterator[Tensor]:
    """Yield the ten crops, each float32 [n, 3, 224, 224], made when it is asked for."""
    window = centre_window(mean, crop)
    for mirrored in (False, True):
        for top, left in corners(images.shape[1] - crop):
            patch = images[:, top: top + crop, left: left + crop]
            yield subtract_mean(patch.flip(2) if mirrored else patch, window)


def centre_crop(images: Tensor, mean: Tensor, crop: int = CROP) -> Tensor:
    """Return the network's input at the centre, float32 [n, 3, 224, 224].

    Args:
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3].
        crop: side of the crop, in pixels.
    """
    top, left = corners(images.shape[1] - crop)[CENTRE]
    patch = images[:, top: top + crop, left: left + crop]
    return subtract_mean(patch, centre_window(mean, crop))


@torch.no_grad()
def probabilities(network: Callable[[Tensor], Tensor], images: Tensor, mean: Tensor,
                  crop: int = CROP) -> Tensor:
    """Return the softmax outputs for the ten crops of each image, in the order of `ten_crops`.

    Args:
        network: gives logits [n, classes] for float32 [n, 3, 224, 224].
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3].
        crop: side of the crops, in pixels.

    Returns:
        float32 [10, n, classes].
    """
    return torch.stack([torch.softmax(network(patch), dim=1)
                        for patch in _crops(images, mean, crop)])


def errors(probabilities: Tensor, labels: Tensor, top: int) -> float:
    """Return the fraction of images whose label is not among the `top` most probable classes.

    A label that ties with others counts by the share of the tied places that are within the top (S
    LogregCostLayer). A probability that is not a number, after training diverged, ranks below all
    others.

    Args:
        probabilities: [n, classes].
        labels: int64 [n].
        top: 1 or 5; with fewer classes than that, nothing can be wrong.
    """
    own = probabilities.gather(1, labels[:, None])
    above = (~(probabilities <= own)).sum(1)  # not ">": nothing compares with what is not a number
    tied = (probabilities == own).sum(1).clamp(min=1)  # with itself
    share = ((top - above).clamp(min=0) / tied).clamp(max=1.0)
    return float((1.0 - share.double()).mean())
