"""From stored 256 x 256 images to the network's input: order, crops, colours, mean (P §2, §4.1).

A run consumes an endless stream of positions: update number s takes the positions from s * batch to
(s + 1) * batch - 1, and position p is image p mod n of epoch p div n. Everything drawn is a
function of (seed, position), so any process can prepare any part of any batch.
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
    """

    images: Tensor
    tops: Tensor
    lefts: Tensor
    flips: Tensor

    def part(self, part: slice) -> Views:
        """Return the views in this part of the batch."""
        return Views(self.images[part], self.tops[part], self.lefts[part], self.flips[part])


class Order:
    """The order of the images: the stored one every epoch, or a new one (P §5).

    Args:
        recipe: has the switch `order`.
        seed: of the shuffling.
        count: training images.
    """

    def __init__(self, recipe: Recipe, seed: int, count: int) -> None:
        self.shuffled, self.seed, self.count = recipe.order == "epoch", seed, count
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def images(self, positions: Tensor) -> Tensor:
        """Return the image at each position of the stream, both int64 [n]."""
        if not self.shuffled:
            return positions % self.count
        images = torch.empty_like(positions)
        epochs = positions // self.count
        for epoch in sorted(set(epochs.tolist())):
            if epoch != self._epoch:
                self._epoch = epoch
                self._permutation = draws.permutation(self.seed, "order", epoch, self.count)
            here = epochs == epoch
            images[here] = self._permutation[positions[here] % self.count]
        return images


def draw_views(recipe: Recipe, seed: int, order: Order, positions: Tensor,
               margin: int = MARGIN) -> Views:
    """Draw the crop of each position: 33 or 32 offsets on each axis, and a flip.

    With `images_per_crop`, 32 positions share one crop (S crop_chunk).

    Args:
        recipe: has the switches.
        seed: of the crops.
        order: which image is at each position.
        positions: int64 [n], in the stream.
        margin: side of the stored images less that of the crops; there are margin + 1 or margin
            offsets.
    """
    if recipe.crops == "centre":
        middle = torch.full_like(positions, margin // 2)
        return Views(order.images(positions), middle, middle, torch.zeros_like(positions))
    drawn = draws.words(seed, "crop", 0, positions // recipe.images_per_crop)
    offsets = margin + recipe.crop_offsets - MARGIN
    return Views(order.images(positions), draws.integers(drawn[:, 0], offsets),
                 draws.integers(drawn[:, 1], offsets), draws.integers(drawn[:, 2], 2))


def colour_offsets(recipe: Recipe, seed: int, statistics: Statistics, positions: Tensor) -> Tensor:
    """Draw what is added to R, G and B of every pixel of an image, float32 [n, 3].

    P §4.1: "PCA on the set of RGB pixel values".

    Args:
        recipe: has the switch `colour_noise`, which is not "none".
        seed: of the noise.
        statistics: has the components.
        positions: int64 [n], in the stream.
    """
    eigenvalues = statistics.eigenvalues
    size = {"stdev": eigenvalues.sqrt(),
            "eigenvalue": eigenvalues,
            "eigenvalue-unit": eigenvalues / GREY_LEVELS}[recipe.colour_noise]  # l / 255^2 * 255
    alphas = draws.gaussians(draws.words(seed, "colour", 0, positions))[:, :3] * NOISE
    amounts = alphas * size
    # Written out, so that no library decides the order of the sums.
    a, vectors = amounts, statistics.eigenvectors
    offsets = [a[:, 0] * vectors[c, 0] + a[:, 1] * vectors[c, 1] + a[:, 2] * vectors[c, 2]
               for c in range(3)]
    return torch.stack(offsets, dim=1).to(torch.float32)


def training_input(recipe: Recipe, crops: Tensor, views: Views, mean: Tensor,
                   offsets: Tensor | None) -> Tensor:
    """Return crops less mean, plus colour noise, divided by 1.1 while there is noise (S).

    Args:
        recipe: has the switches.
        crops: uint8 [n, 224, 224, 3], cropped and flipped.
        views: where they were cut, for the mean's window.
        mean: float32 [256, 256, 3]; another net has other sides.
        offsets: float32 [n, 3], or None without noise.

    Returns:
        float32 [n, 3, 224, 224], with the channels last in memory.
    """
    divisor = 1.0 + NOISE if recipe.noise_division else None
    return _centred(crops, _mean_windows(recipe, views, mean, crops.shape[1]), offsets, divisor)


def subtract_mean(crops: Tensor, mean: Tensor) -> Tensor:
    """Return crops less a mean, float32 [n, 3, 224, 224], with the channels last in memory.

    Args:
        crops: uint8 [n, 224, 224, 3].
        mean: float32 [224, 224, 3].
    """
    return _centred(crops, [mean.flatten(1)], None, None)


def _centred(crops: Tensor, means: Sequence[Tensor] | Tensor, offsets: Tensor | None,
             divisor: float | None) -> Tensor:
    """Return (crops - means + offsets) / divisor as [n, 3, side, side].

    A few images are handled at a time, which stay in the processor's cache. Noise and division are
    one pass: offsets / divisor + (1 / divisor) * (crops - means).

    Args:
        crops: uint8 [n, side, side, 3].
        means: float32 [side, side * 3] for each image, or one for all.
        offsets: float32 [n, 3] or None; without them nothing is divided.
    """
    n, side = crops.shape[:2]
    # [n, side, side * 3]: a row is long enough for vector instructions, a pixel is not
    rows = crops.flatten(2)
    factor = 1.0 / (divisor or 1.0)
    # [n, 1, side * 3]
    added = None if offsets is None else (offsets * factor).repeat(1, side)[:, None]
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
    """Return the central [crop, crop, 3] of the mean image (S convdata_jpeg.py: data_mean_crop).

    Args:
        mean: [side, side, 3].
        crop: side of the window, in pixels.
    """
    border = (len(mean) - crop) // 2
    return mean[border: border + crop, border: border + crop]


def _mean_windows(recipe: Recipe, views: Views, mean: Tensor,
                  crop: int) -> Sequence[Tensor] | Tensor:
    """Return each crop's window of the mean image, [crop, crop * 3], or the one for all.

    On the CPU they share the memory of one copy; elsewhere they are copied in one go.
    """
    if recipe.mean_window == "centre":
        return [centre_window(mean, crop).flatten(1)]
    side = len(mean)
    both = torch.stack([mean, mean.flip(1)])  # a mirrored window is a window of the mirrored mean
    lefts = torch.where(views.flips == 1, side - crop - views.lefts, views.lefts)
    if mean.device.type == "cpu":
        starts = (views.flips * side**2 + views.tops * side + lefts) * 3
        return [both.as_strided((crop, crop * 3), (3 * side, 1), start)
                for start in starts.tolist()]
    offsets = side - crop + 1
    windows = both.as_strided((2, offsets, offsets, crop, crop * 3),
                              (3 * side**2, 3 * side, 3, 3 * side, 1))
    flips, tops = views.flips.to(mean.device), views.tops.to(mean.device)
    return windows[flips, tops, lefts.to(mean.device)]
