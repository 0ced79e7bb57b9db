"""The reference's own gradients are those of its outputs, by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.alexnet import reference
from tests.alexnet.reference import Array

STEP = 1e-6


def slope(f: Callable[[Array], float], at: Array, direction: Array) -> float:
    return (f(at + STEP * direction) - f(at - STEP * direction)) / (2 * STEP)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


LAYERS: dict[str, Callable[[Array], tuple[Array, Any]]] = {
    "lrn": lambda x: reference.lrn(x, 0.1),  # a large alpha, so that the denominator matters
    "lrn of nine": lambda x: reference.lrn(x, 0.1, 1.0, 9),
    "spatial": lambda x: reference.spatial_norm(30 * x),
    "pool 3/2": lambda x: reference.max_pool(x, 3, 2),
    "pool 2/2": lambda x: reference.max_pool(x, 2, 2),
    "relu": reference.relu,
    "tanh": reference.tanh,
    "times": lambda x: reference.times(x, 0.5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_without_weights(name: str) -> None:
    x, direction = random(2, 7, 6, 6), random(2, 7, 6, 6, seed=1)
    y, back = LAYERS[name](x)
    g = random(*y.shape, seed=2)
    gradient = back(g) * (30 if name == "spatial" else 1)
    assert np.sum(gradient * direction) == pytest.approx(
        slope(lambda at: float(np.sum(LAYERS[name](at)[0] * g)), x, direction), rel=1e-6)


@pytest.mark.parametrize("layer", ["hanging over", "padded", "local", "fully connected"])
def test_layers_with_weights(layer: str) -> None:
    x, weight, bias = random(2, 3, 9, 9), random(4, 3, 4, 4, seed=1), random(4, seed=2)
    if layer == "fully connected":
        weight = random(4, 243, seed=1)
    elif layer == "local":
        weight, bias = random(81, 4, 3, 3, 3, seed=1), random(81, 4, seed=2)

    def run(x: Array, weight: Array, bias: Array) -> tuple[Array, Any]:
        if layer == "fully connected":
            return reference.fully_connected(x, weight, bias)
        if layer == "local":
            return reference.local(x, weight, bias)
        return reference.convolution(x, weight, bias,
                                     *((3, 0, 3) if layer == "hanging over" else (1, 1, 8)))

    y, back = run(x, weight, bias)
    g = random(*y.shape, seed=3)
    inputs = [x, weight, bias]
    for position, gradient in enumerate(back(g)):
        direction = random(*inputs[position].shape, seed=4)

        def f(at: Array, position: int = position) -> float:
            return float(np.sum(run(*[at if i == position else each
                                      for i, each in enumerate(inputs)])[0] * g))

        assert np.sum(gradient * direction) == pytest.approx(slope(f, inputs[position], direction),
                                                             rel=1e-6)


def test_cross_entropy() -> None:
    logits, labels, direction = random(3, 5), np.array([4, 0, 0]), random(3, 5, seed=1)
    _, gradient = reference.cross_entropy(logits, labels)
    assert np.sum(gradient * direction) == pytest.approx(
        slope(lambda at: reference.cross_entropy(at, labels)[0], logits, direction), rel=1e-6)
    assert reference.cross_entropy(np.zeros((3, 5)), labels)[0] == pytest.approx(np.log(5))
