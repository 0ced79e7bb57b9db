"""What the paper looks at in its figures 3 and 4, as numbers (P §6.1).

Figure 3: the kernels of one GPU are largely without colour, those of the other are coloured, in
every run. `colour()` is how coloured a kernel is, `specialisation()` how much further apart the two
columns are than chance would have them. Figure 4: the images whose last hidden layer is nearest
show the same thing, though their pixels are far apart. `nearest()` finds them by any features, and
`same_class()` is the fraction of them that have the query's class.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEAREST = 6  # P Fig. 4, right: six training images in each row
SPLITS = 1000  # random divisions of the kernels in halves; their mean is exact to about 1 %


def colour(kernels: Tensor) -> Tensor:
    """Return the share of each kernel's energy that is not grey, float64 [k].

    It is from 0, with the same weights for R, G and B, to 1; a kernel of zeros has no colour.

    Args:
        kernels: [k, 3, s, s], RGB.
    """
    weights = kernels.detach().double().cpu()
    energy = weights.square().sum((1, 2, 3))
    grey = 3 * weights.mean(1).square().sum((1, 2))
    return torch.where(energy > 0, 1 - grey / energy.clamp(min=1e-300), 0.0).clamp(0, 1)


def specialisation(colours: Tensor) -> float:
    """Return how far the mean colours of the two columns are apart, less what chance would show.

    It is about 0 where the columns are alike, and at most 1. Chance is the mean over random
    divisions of the kernels, which are the same every time.

    Args:
        colours: [k], the first half of column 0, the second of column 1.
    """
    values = colours.numpy()
    half = len(values) // 2
    generator = np.random.Generator(np.random.Philox(2012))
    by_chance = [_distance(generator.permutation(values), half) for _ in range(SPLITS)]
    return float(_distance(values, half) - np.mean(by_chance))


def _distance(values: NDArray[np.float64], half: int) -> float:
    return float(abs(values[:half].mean() - values[half:].mean()))


def nearest(queries: Tensor, images: Tensor, count: int = NEAREST) -> Tensor:
    """Return the images nearest to each query by Euclidean distance, int64 [q, count].

    The nearest is first.

    Args:
        queries: [q, features].
        images: [n, features], n >= count.
        count: images for each query.
    """
    images = images.float()
    # |a - b|^2 = |a|^2 - 2 a b + |b|^2; |a|^2, of the query, is the same for all images.
    distances = images.square().sum(1) - 2 * queries.float() @ images.T
    return distances.topk(count, dim=1, largest=False).indices


def same_class(neighbours: Tensor, query_labels: Tensor, labels: Tensor) -> float:
    """Return the fraction of the neighbours, over all queries, that have the query's label.

    Args:
        neighbours: int64 [q, count], as `nearest` returns them.
        query_labels: int64 [q].
        labels: int64 [n], of all images.
    """
    return float((labels[neighbours] == query_labels[:, None]).double().mean())
