"""Canonical weights, both columns merged: {"conv1.weight": float32 [96, 3, 11, 11], ...}."""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.network import Network


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the canonical weights in a merged state, as `Training.state` returns it."""
    return {name.removeprefix("weights/"): tensor for name, tensor in state.items()
            if name.startswith("weights/")}


@torch.no_grad()
def load_weights(network: Network, weights: dict[str, Tensor]) -> None:
    """Put canonical weights into the columns of the network that are held here.

    Parameters whose names are not there stay as they are. Shapes must be the network's:
    `matching_weights` chooses those that are.
    """
    for name, column, parameter in network.named_columns():
        if name in weights:
            parameter.copy_(part_of_column(weights[name], column, len(parameter)))


def part_of_column(merged: Tensor, column: int, rows: int) -> Tensor:
    """Return the part of a merged tensor that belongs to a column: `rows` of its rows."""
    return merged[column * rows: (column + 1) * rows]


def matching_weights(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return those of another network's canonical weights whose layers have the same shape here.

    It is for fine-tuning (P §6: a net pre-trained on 22,000 classes goes on with 1000): layers of
    another width, as the output layer then is, keep their initial weights. A layer is taken whole,
    weights and biases, or not at all.
    """
    shapes = network.table.canonical()
    different = {name.split(".")[0] for name, shape in shapes.items()
                 if name not in weights or tuple(weights[name].shape) != shape}
    return {name: weights[name] for name in shapes if name.split(".")[0] not in different}


def initial_state(network: Network) -> dict[str, Tensor]:
    """Return the merged state of a training before its first update, as `Training.state` does: the
    weights of a network that holds all columns, and no momentum."""
    columns: dict[str, list[Tensor]] = {}
    for name, _, parameter in network.named_columns():
        columns.setdefault(name, []).append(parameter.detach())
    weights = {name: torch.cat(parts) for name, parts in columns.items()}
    return {f"{kind}/{name}": weight if kind == "weights" else torch.zeros_like(weight)
            for kind in ("weights", "momentum") for name, weight in weights.items()}
