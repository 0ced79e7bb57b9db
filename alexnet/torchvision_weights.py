"""Weights of torchvision's alexnet as canonical ones, and back: only the names differ."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

# torchvision/models/alexnet.py: the places of the learned layers among all of a Sequential's
PLACES = {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6",
          "conv4": "features.8", "conv5": "features.10", "fc6": "classifier.1",
          "fc7": "classifier.4", "fc8": "classifier.6"}
DIMENSIONS = {"conv": {"weight": 4, "bias": 1}, "fc": {"weight": 2, "bias": 1}}
KINDS = ("weight", "bias")


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return canonical weights, {"conv1.weight": [64, 3, 11, 11], ...}, of a state dict.

    Raises:
        ValueError: it is not one of torchvision's alexnet; the message has the first name that
            shows it.
    """
    wanted = {f"{place}.{kind}": f"{layer}.{kind}" for layer, place in PLACES.items()
              for kind in KINDS}
    if unlike := sorted(set(state) ^ set(wanted)):
        there = "it has" if unlike[0] in state else "it lacks"
        raise ValueError(f"not torchvision's alexnet: {there} {unlike[0]}")
    for name, own in wanted.items():
        layer, kind = own.split(".")
        dimensions = DIMENSIONS[layer.rstrip("0123456789")][kind]
        tensor = state[name]
        if tensor.dim() != dimensions or not tensor.is_floating_point():
            raise ValueError(f"not torchvision's alexnet: {name} is {tensor.dtype} "
                             f"{list(tensor.shape)}")
    return {own: state[name].detach() for name, own in wanted.items()}


def to_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's state dict of canonical weights.

    Raises:
        ValueError: they are not of a net with these layers; the message has the first name or
            shape that shows it.
    """
    wanted = {f"{layer}.{kind}" for layer in PLACES for kind in KINDS}
    if unlike := sorted(set(weights) ^ wanted):
        raise ValueError(f"not of torchvision's net: {unlike[0]}")
    shapes = {layer: weights[f"{layer}.weight"].shape for layer in PLACES}
    for before, layer in pairwise(("conv1", "conv2", "conv3", "conv4", "conv5")):
        if shapes[layer][1] != shapes[before][0]:
            raise ValueError(f"not of torchvision's net: a kernel of {layer} reads "
                             f"{shapes[layer][1]} of {shapes[before][0]} maps")
    if shapes["conv4"][0] != shapes["conv5"][0]:
        raise ValueError(f"not of torchvision's net: conv4 has {shapes['conv4'][0]} kernels and "
                         f"conv5 {shapes['conv5'][0]}")
    return {f"{place}.{kind}": weights[f"{layer}.{kind}"] for layer, place in PLACES.items()
            for kind in KINDS}
