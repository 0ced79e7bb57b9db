"""What decides a run's course, besides the recipe and the network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The seed, the length and the batches of a run.

    Attributes:
        seed: of crops, flips, colour noise and, where it is shuffled anew, the order of images.
        steps: updates of the whole run, over which the schedule of the learning rate stretches.
        batch: images in one update, 128 in the paper (P §5).
        micro_batches: parts of a batch whose gradients are added, a power of two that divides
            `batch`.
    """

    seed: int
    steps: int
    batch: int
    micro_batches: int
