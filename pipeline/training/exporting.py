"""Trained weights as other programs read them."""

from __future__ import annotations

from pathlib import Path

import torch

from alexnet.torchvision_weights import to_torchvision
from pipeline.config.paths import STORE
from pipeline.data.store import Store
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.training.loading import from_sorted, read_weights, reordered


def export_torchvision(weights: Path, file: Path) -> None:
    """Write canonical weights as a state dict of torchvision's alexnet.

    Its outputs are in the order of the sorted keys of the store's classes, as torchvision numbers
    them.

    Args:
        weights: a file of this project's.
        file: the new one, which PyTorch's `torch.load` reads.

    Raises:
        UserError: the weights are missing, damaged, or of another architecture.
    """
    read = read_weights(weights, "train first")
    keys = [each.wnid for each in Store(STORE).classes]
    if len(read.get("fc8.bias", ())) != len(keys):
        raise UserError(f"{weights}: of {len(read.get('fc8.bias', ()))} classes, and {STORE} has "
                        f"{len(keys)}")
    places = from_sorted(keys)
    labels = [places.index(place) for place in range(len(keys))]
    try:
        state = to_torchvision(reordered(read, labels))
    except ValueError as error:
        raise UserError(f"{weights}: {error}") from None
    with atomic_write(file) as stream:
        torch.save(state, stream)
