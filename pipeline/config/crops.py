"""What is measured with several crops of an image: of ten (P §4.1), metrics end in `_10crop`; of
the nine that the nets on CIFAR-10 are tested with, in `_9crop`."""

from __future__ import annotations

from collections.abc import Iterable

SUFFIXES = {"_10crop": "ten crops", "_9crop": "nine crops"}


def suffix(views: int) -> str:
    """Return the end of the names of metrics of so many views, 10 or 9."""
    return f"_{views}crop"


def suffix_of(metrics: Iterable[str]) -> str:
    """Return the end of those of a run's metrics that are of several crops; that of ten where there
    are none."""
    names = list(metrics)
    return next((end for end in SUFFIXES if any(name.endswith(end) for name in names)), "_10crop")
