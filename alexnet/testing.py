"""Centre-crop and ten-crop testing (P §4.1): five patches and their mirror images, the ten softmax outputs averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from alexnet.augmentation import centre_window, less_mean
from alexnet.layers import CROP

CENTRE = 4  # the place of the centre among the crops


def corners(margin: int) -> tuple[tuple[int, int], ...]:
    """Top and left of the four corners and the centre; S convdata_jpeg.py: offsets 0, 16, 32."""
    return ((0, 0), (0, margin), (margin, 0), (margin, margin), (margin // 2, margin // 2))


def ten_crops(images: Tensor, mean: Tensor, crop: int = CROP) -> Tensor:
    """The network's ten inputs for each image.

    Args:
        images: uint8 [n, 256, 256, 3].
        mean: float32 [256, 256, 3]; its central window is subtracted from every patch (S), after the flip.

    Returns:
        float32 [10, n, 3, 224, 224]: the five patches, then their mirror images, in the order of `corners`.
    """
    return torch.stack(list(_one_by_one(images, mean, crop)))


def _one_by_one(images: Tensor, mean: Tensor, crop: int) -> Iterator[Tensor]:
    """The ten crops, each float32 [n, 3, 224, 224], made when it is asked for."""
    window = centre_window(mean, crop)
    for mirrored in (False, True):
        for top, left in corners(images.shape[1] - crop):
            patch = images[:, top: top + crop, left: left + crop]
            yield less_mean(patch.flip(2) if mirrored else patch, window)


def centre_crop(images: Tensor, mean: Tensor, crop: int = CROP) -> Tensor:
    """float32 [n, 3, 224, 224] of uint8 [n, 256, 256, 3]."""
    top, left = corners(images.shape[1] - crop)[CENTRE]
    return less_mean(images[:, top: top + crop, left: left + crop], centre_window(mean, crop))


@torch.no_grad()
def probabilities(network: Callable[[Tensor], Tensor], images: Tensor, mean: Tensor, crop: int = CROP) -> Tensor:
    """Softmax outputs float32 [10, n, classes] for uint8 images [n, 256, 256, 3], in the order of `ten_crops`."""
    return torch.stack([torch.softmax(network(view), dim=1) for view in _one_by_one(images, mean, crop)])


def errors(probabilities: Tensor, labels: Tensor, top: int) -> float:
    """The fraction of images whose label is not among the `top` most probable classes.

    Args:
        probabilities: [n, classes].
        labels: int64 [n].
        top: 1 or 5; with fewer classes than that, nothing can be wrong.

    A label that ties with others counts by the share of the tied places that fall within the top (S LogregCostLayer).
    One whose probability is not a number, after training diverged, stands behind all others.
    """
    own = probabilities.gather(1, labels[:, None])
    above = (~(probabilities <= own)).sum(1)  # not ">": nothing compares with what is not a number
    tied = (probabilities == own).sum(1).clamp(min=1)  # with itself
    share = ((top - above).clamp(min=0) / tied).clamp(max=1.0)
    return float((1.0 - share.double()).mean())
