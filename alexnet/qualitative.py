"""What the paper looks at in its figures 3 and 4, as numbers (P §6.1).

Figure 3: the kernels of one GPU are largely without colour, those of the other are coloured, in
every run. `colour()` is how coloured a kernel is, `specialisation()` how much further apart the two
columns are than chance would have them. Figure 4: the images whose last hidden layer is nearest
show the same thing, though their pixels are far apart. `nearest()` finds them by any features, and
`same_class()` is the fraction of them that have the query's class.
"""

from __future__ import annotations

from torch import Tensor

from alexnet.arithmetic.native import NATIVE, Arithmetic

NEAREST = 6  # P Fig. 4, right: six training images in each row
SPLITS = 1000  # random divisions of the kernels in halves; their mean is exact to about 1 %


def colour(kernels: Tensor, arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return the share of each kernel's energy that is not grey, float64 [k].

    It is from 0, with the same weights for R, G and B, to 1; a kernel of zeros has no colour.

    Args:
        kernels: [k, 3, s, s], RGB.
        arithmetic: that computes it.
    """
    return arithmetic.colours(kernels.detach().cpu())


def specialisation(colours: Tensor, arithmetic: Arithmetic = NATIVE) -> float:
    """Return how far the mean colours of the two columns are apart, less what chance would show.

    It is about 0 where the columns are alike, and at most 1. Chance is the mean over random
    divisions of the kernels, which are the same every time.

    Args:
        colours: [k], the first half of column 0, the second of column 1.
        arithmetic: that computes it.
    """
    return arithmetic.specialisation(colours, SPLITS)


def nearest(queries: Tensor, images: Tensor, count: int = NEAREST,
            arithmetic: Arithmetic = NATIVE) -> Tensor:
    """Return the images nearest to each query by Euclidean distance, int64 [q, count].

    The nearest is first.

    Args:
        queries: [q, features].
        images: [n, features], n >= count.
        count: images for each query.
        arithmetic: that computes the distances.
    """
    return arithmetic.smallest(arithmetic.distances(queries.float(), images.float()), count)


def same_class(neighbours: Tensor, query_labels: Tensor, labels: Tensor) -> float:
    """Return the fraction of the neighbours, over all queries, that have the query's label.

    Args:
        neighbours: int64 [q, count], as `nearest` returns them.
        query_labels: int64 [q].
        labels: int64 [n], of all images.
    """
    return float((labels[neighbours] == query_labels[:, None]).double().mean())
