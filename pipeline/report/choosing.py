"""Which of many are shown: chosen by a rule, not by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST_LIST = 100  # rows of a table


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most so many positions in a list of `count`, at equal distances, the first and last
    among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def evenly(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return so many of the indices, from first to last at equal distances."""
    chosen: NDArray[np.int64] = indices[spread(len(indices), most)]
    return chosen
