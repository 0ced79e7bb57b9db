"""From stored 256 x 256 images to the network's input: order, crops, flips, colour noise, mean (P §2, §4.1).

A run consumes an endless stream of positions: update number s takes positions s * batch .. (s + 1) * batch - 1, and
position p is image p mod n of epoch p div n. Everything drawn is a function of (seed, position), so any process can
prepare any part of any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alexnet import draws
from alexnet.layers import CROP, STORED
from alexnet.recipe import Recipe

MARGIN = STORED - CROP  # P §4.1: crops may begin 0 to 32 pixels from the edge
NOISE = 0.1  # P §4.1: the Gaussian's standard deviation; S color-noise
GREY_LEVELS = 255.0
CACHED_IMAGES = 4  # made into input at a time on the CPU


@dataclass(frozen=True)
class Statistics:
    """Of the training set: `mean` float32 [side, side, 3], 0..255; `eigenvalues` [3], descending, and `eigenvectors`
    [3, 3], in columns, float64, of the covariance of RGB on the 0..255 scale."""

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor


@dataclass(frozen=True)
class Views:
    """Which image, crop and flip each position of a batch is; int64 [n] each, flips 0 or 1."""

    images: Tensor
    tops: Tensor
    lefts: Tensor
    flips: Tensor

    def part(self, places: slice) -> Views:
        """The views at these places of the batch."""
        return Views(self.images[places], self.tops[places], self.lefts[places], self.flips[places])


class Order:
    """Which image stands at each position of the stream: the stored order every epoch, or a new one (P §5)."""

    def __init__(self, recipe: Recipe, seed: int, count: int) -> None:
        self.shuffled, self.seed, self.count = recipe.order == "epoch", seed, count
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def images(self, positions: Tensor) -> Tensor:
        """int64 [n]: the image at each position."""
        if not self.shuffled:
            return positions % self.count
        found = torch.empty_like(positions)
        for epoch in sorted(set((positions // self.count).tolist())):
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, draws.permutation(self.seed, "order", epoch, self.count)
            here = positions // self.count == epoch
            found[here] = self._permutation[positions[here] % self.count]
        return found


def draw_views(recipe: Recipe, seed: int, order: Order, positions: Tensor, margin: int = MARGIN) -> Views:
    """The crop of each position, 33 or 32 offsets per axis and a flip; 32 positions share one or not (S crop_chunk).

    With another margin than 32 (stored side less crop), the offsets are margin + 1 or margin.
    """
    if recipe.crops == "centre":
        middle = torch.full_like(positions, margin // 2)
        return Views(order.images(positions), middle, middle, torch.zeros_like(positions))
    drawn = draws.words(seed, "crop", 0, positions // recipe.images_per_crop)
    offsets = margin + recipe.crop_offsets - MARGIN
    return Views(order.images(positions), draws.integers(drawn[:, 0], offsets),
                 draws.integers(drawn[:, 1], offsets), draws.integers(drawn[:, 2], 2))


def colour_offsets(recipe: Recipe, seed: int, statistics: Statistics, positions: Tensor) -> Tensor:
    """float32 [n, 3]: what is added to R, G and B of every pixel (P §4.1, "PCA on the set of RGB pixel values")."""
    size = {"stdev": statistics.eigenvalues.sqrt(),
            "eigenvalue": statistics.eigenvalues,
            "eigenvalue-unit": statistics.eigenvalues / GREY_LEVELS}[recipe.colour_noise]  # l / 255^2 * 255
    alphas = draws.gaussians(draws.words(seed, "colour", 0, positions))[:, :3] * NOISE
    amounts = alphas * size
    # Written out, so that no library decides the order of the sums.
    vectors = statistics.eigenvectors
    return torch.stack([amounts[:, 0] * vectors[c, 0] + amounts[:, 1] * vectors[c, 1] + amounts[:, 2] * vectors[c, 2]
                        for c in range(3)], dim=1).to(torch.float32)


def training_input(recipe: Recipe, crops: Tensor, views: Views, mean: Tensor, offsets: Tensor | None) -> Tensor:
    """Crops less mean, plus colour noise, divided by 1.1 while there is noise (S): float32 [n, 3, 224, 224], with the
    channels last in memory.

    Args:
        crops: uint8 [n, 224, 224, 3], cropped and flipped.
        views: what they are, for the mean's window.
        mean: float32 [256, 256, 3]; or other sides, of another net.
        offsets: float32 [n, 3], or None without noise.
    """
    divisor = 1.0 + NOISE if recipe.noise_division else None
    return _centred(crops, _mean_windows(recipe, views, mean, crops.shape[1]), offsets, divisor)


def less_mean(crops: Tensor, mean: Tensor) -> Tensor:
    """uint8 [n, 224, 224, 3] less float32 [224, 224, 3], as float32 [n, 3, 224, 224], channels last."""
    return _centred(crops, [mean.flatten(1)], None, None)


def _centred(crops: Tensor, means: Sequence[Tensor] | Tensor, offsets: Tensor | None, divisor: float | None) -> Tensor:
    """(crops - means + offsets) / divisor, a few images at a time, which stay in the processor's cache.

    The last two are one pass: offsets / divisor + (1 / divisor) * (crops - means).

    Args:
        crops: uint8 [n, side, side, 3].
        means: float32 [side, side * 3] for each image, or one for all.
        offsets: float32 [n, 3] or None; without them nothing is divided.
    """
    n, side = crops.shape[:2]
    rows = crops.flatten(2)  # [n, side, side * 3]: a row is long enough for vector instructions, a pixel is not
    factor = 1.0 / (divisor or 1.0)
    added = None if offsets is None else (offsets * factor).repeat(1, side)[:, None]  # [n, 1, side * 3]
    x = torch.empty(rows.shape, dtype=torch.float32, device=crops.device)
    part = CACHED_IMAGES if crops.device.type == "cpu" else max(1, n)
    for start in range(0, n, part):
        here = slice(start, start + part)
        some = x[here].copy_(rows[here])
        if len(means) == 1:
            some.sub_(means[0])
        elif isinstance(means, Tensor):
            some.sub_(means[here])
        else:
            for image, mean in zip(some, means[here], strict=True):
                image.sub_(mean)
        if added is not None:
            torch.add(added[here], some, alpha=factor, out=some)
    return x.view(crops.shape).permute(0, 3, 1, 2)


def centre_window(mean: Tensor, crop: int = CROP) -> Tensor:
    """The central [crop, crop, 3] of the mean image (S convdata_jpeg.py: data_mean_crop)."""
    border = (len(mean) - crop) // 2
    return mean[border: border + crop, border: border + crop]


def _mean_windows(recipe: Recipe, views: Views, mean: Tensor, crop: int) -> Sequence[Tensor] | Tensor:
    """For `_centred`: views into the mean image on the CPU, and copies made in one go elsewhere."""
    if recipe.mean_window == "centre":
        return [centre_window(mean, crop).flatten(1)]
    side = len(mean)
    both = torch.stack([mean, mean.flip(1)])  # a mirrored window is a window of the mirrored mean
    lefts = torch.where(views.flips == 1, side - crop - views.lefts, views.lefts)
    if mean.device.type == "cpu":
        starts = (views.flips * side**2 + views.tops * side + lefts) * 3
        return [both.as_strided((crop, crop * 3), (3 * side, 1), start) for start in starts.tolist()]
    offsets = side - crop + 1
    every = both.as_strided((2, offsets, offsets, crop, crop * 3), (3 * side**2, 3 * side, 3, 3 * side, 1))
    return every[views.flips.to(mean.device), views.tops.to(mean.device), lefts.to(mean.device)]
