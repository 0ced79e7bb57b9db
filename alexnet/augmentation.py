"""From stored 256 x 256 images to the network's input: order, crops, colours, mean (P §2, §4.1).

A run consumes an endless stream of positions: update number s takes the positions from s * batch to
(s + 1) * batch - 1, and position p is image p mod n of epoch p div n. Everything drawn is a
function of (seed, position), so any process can prepare any part of any batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet import draws
from alexnet.architectures import CHANNEL_MEAN
from alexnet.arithmetic.native import NATIVE, NOISE, Arithmetic
from alexnet.layers import CROP, STORED
from alexnet.recipe import Recipe
from alexnet.resized_crops import draw_boxes

MARGIN = STORED - CROP  # P §4.1: crops may begin 0 to 32 pixels from the edge
GREY_LEVELS = 255.0


@dataclass(frozen=True)
class Statistics:
    """Mean image and colour components of the training set.

    Attributes:
        mean: float32 [side, side, 3], RGB, 0..255.
        eigenvalues: float64 [3], of the covariance of R, G and B on the 0..255 scale, descending.
        eigenvectors: float64 [3, 3], its eigenvectors, in columns.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor


@dataclass(frozen=True)
class Views:
    """Which image, crop and flip each position of a batch is.

    Attributes:
        images: int64 [n], rows of the store.
        tops, lefts: int64 [n], where the crop begins, in pixels.
        flips: int64 [n], 1 for a mirrored crop, else 0.
        boxes: int64 [n, 5], where crops of other sizes, which are resized, begin (top, left), their
            height and width, and 1 for a mirrored one; the other fields are then those of the whole
            image. None where crops are not resized.
    """

    images: Tensor
    tops: Tensor
    lefts: Tensor
    flips: Tensor
    boxes: Tensor | None = None

    def part(self, part: slice) -> Views:
        """Return the views in this part of the batch."""
        return Views(self.images[part], self.tops[part], self.lefts[part], self.flips[part],
                     None if self.boxes is None else self.boxes[part])


class Order:
    """The order of the images: the stored one every epoch, or a new one (P §5).

    Args:
        recipe: has the switch `order`.
        seed: of the shuffling.
        count: training images.
    """

    def __init__(self, recipe: Recipe, seed: int, count: int) -> None:
        self.shuffled, self.seed, self.count = recipe.order == "epoch", seed, count
        # Of the last epoch asked for: replaced as one, since threads share an order.
        self._cached = (-1, torch.empty(0, dtype=torch.int64))

    def images(self, positions: Tensor) -> Tensor:
        """Return the image at each position of the stream, both int64 [n]."""
        if not self.shuffled:
            return positions % self.count
        images = torch.empty_like(positions)
        epochs = positions // self.count
        for epoch in sorted(set(epochs.tolist())):
            here = epochs == epoch
            images[here] = self._permutation(epoch)[positions[here] % self.count]
        return images

    def _permutation(self, epoch: int) -> Tensor:
        cached_epoch, permutation = self._cached
        if cached_epoch != epoch:
            permutation = draws.permutation(self.seed, "order", epoch, self.count)
            self._cached = epoch, permutation
        return permutation


def draw_views(recipe: Recipe, seed: int, order: Order, positions: Tensor,
               margin: int = MARGIN, stored: int = STORED,
               arithmetic: Arithmetic = NATIVE) -> Views:
    """Draw the crop of each position: 33 or 32 offsets on each axis, and a flip.

    With `images_per_crop`, 32 positions share one crop (S crop_chunk).

    Args:
        recipe: has the switches.
        seed: of the crops.
        order: which image is at each position.
        positions: int64 [n], in the stream.
        margin: side of the stored images less that of the crops; there are margin + 1 or margin
            offsets.
        stored: side of the stored images, for crops that are resized.
        arithmetic: that draws these.
    """
    if recipe.crops == "resized":
        nothing, drawn_at = torch.zeros_like(positions), positions // recipe.images_per_crop
        return Views(order.images(positions), nothing, nothing, nothing,
                     draw_boxes(seed, drawn_at, stored, arithmetic))
    if recipe.crops != "random":  # of whole images the margin is 0
        middle = torch.full_like(positions, margin // 2)
        return Views(order.images(positions), middle, middle, torch.zeros_like(positions))
    drawn = draws.words(seed, "crop", 0, positions // recipe.images_per_crop)
    offsets = margin + recipe.crop_offsets - MARGIN
    return Views(order.images(positions), draws.integers(drawn[:, 0], offsets),
                 draws.integers(drawn[:, 1], offsets), draws.integers(drawn[:, 2], 2))


def copy_crop(crop: NDArray[np.uint8], image: NDArray[np.uint8], top: int, left: int,
              mirrored: bool) -> None:
    """Fill a crop, uint8 [size, size, 3], from an image, and exchange left and right if it is to be
    mirrored."""
    size = len(crop)
    crop[...] = image[top: top + size, left: left + size]
    if mirrored:  # PyTorch turns whole pixels around, numpy single bytes
        there = torch.from_numpy(crop)
        there.copy_(there.flip(1))


def colour_offsets(recipe: Recipe, seed: int, statistics: Statistics, positions: Tensor,
                   arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Draw what is added to R, G and B of every pixel of an image, float32 [n, 3].

    P §4.1: "PCA on the set of RGB pixel values".

    Args:
        recipe: has the switch `colour_noise`, which is not "none".
        seed: of the noise.
        statistics: has the components.
        positions: int64 [n], in the stream.
        arithmetic: that draws the Gaussians.
    """
    eigenvalues = statistics.eigenvalues
    size = {"stdev": arithmetic.square_root(eigenvalues),
            "eigenvalue": eigenvalues,
            "eigenvalue-unit": eigenvalues / GREY_LEVELS}[recipe.colour_noise]  # l / 255^2 * 255
    gaussians = arithmetic.gaussians(draws.words(seed, "colour", 0, positions))
    return arithmetic.colour_offsets(gaussians, size, statistics.eigenvectors)


def training_input(recipe: Recipe, crops: Tensor, views: Views, mean: Tensor,
                   offsets: Tensor | None, arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return crops less mean, plus colour noise, divided by 1.1 while there is noise (S).

    Args:
        recipe: has the switches.
        crops: uint8 [n, 224, 224, 3], cropped and flipped.
        views: where they were cut, for the mean's window.
        mean: float32 [256, 256, 3]; another net has other sides.
        offsets: float32 [n, 3], or None without noise.
        arithmetic: that computes it.

    Returns:
        float32 [n, 3, 224, 224], with the channels last in memory.
    """
    factor = 1.0 / (1.0 + NOISE) if recipe.noise_division else 1.0
    central = recipe.mean_window == "centre" or views.boxes is not None
    windows = None if central else (views.tops, views.lefts, views.flips)
    return arithmetic.centred(crops, mean, windows, offsets, factor)


def input_mean(recipe: Recipe, mean: Tensor) -> Tensor:
    """Return what is subtracted from stored images: the mean image (P §2), or the same of every
    pixel where the recipe's input is by channels.

    Args:
        recipe: has the switch `input`.
        mean: float32 [256, 256, 3], of the training images.
    """
    if recipe.input == "mean image":
        return mean
    return torch.tensor(CHANNEL_MEAN, dtype=mean.dtype, device=mean.device).expand(
        mean.shape).contiguous()


def subtract_mean(crops: Tensor, mean: Tensor, arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return crops less a mean, float32 [n, 3, 224, 224], with the channels last in memory.

    Args:
        crops: uint8 [n, 224, 224, 3].
        mean: float32 [224, 224, 3], or larger: its central window counts.
        arithmetic: that computes it.
    """
    return arithmetic.centred(crops, mean, None, None, 1.0)


def centre_window(mean: Tensor, crop: int = CROP) -> Tensor:
    """Return the central [crop, crop, 3] of the mean image (S convdata_jpeg.py: data_mean_crop).

    Args:
        mean: [side, side, 3].
        crop: side of the window, in pixels.
    """
    border = (len(mean) - crop) // 2
    return mean[border: border + crop, border: border + crop]
