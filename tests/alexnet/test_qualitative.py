"""Figures 3 and 4 as numbers, against what loops find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet.architectures import architecture
from alexnet.network import Network
from alexnet.qualitative import colour, nearest, same_class, specialisation
from alexnet.recipe import recipe


def test_colour_is_the_share_of_energy_that_is_not_grey() -> None:
    generator = torch.Generator().manual_seed(1)
    kernels = torch.randn(5, 3, 4, 4, generator=generator)
    kernels[0] = kernels[0].mean(0)  # grey
    kernels[1] -= kernels[1].mean(0)  # no grey in it
    kernels[2] = 0
    actual = colour(kernels)
    for k, kernel in enumerate(kernels.double().numpy()):
        grey = sum(3 * (sum(kernel[c, y, x] for c in range(3)) / 3) ** 2 for y in range(4)
                   for x in range(4))
        energy = sum(float(w) ** 2 for w in kernel.ravel())
        assert float(actual[k]) == pytest.approx(1 - grey / energy if energy else 0.0, abs=1e-12)
    assert float(actual[0]) == pytest.approx(0, abs=1e-12)
    assert float(actual[1]) == pytest.approx(1, abs=1e-12)


@given(factor=st.floats(1e-3, 1e3))
def test_colour_does_not_depend_on_a_kernels_strength(factor: float) -> None:
    kernels = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(2),
                          dtype=torch.float64)
    assert torch.allclose(colour(kernels * factor), colour(kernels))


def test_columns_that_differ_are_told_from_columns_that_do_not() -> None:
    random = np.random.default_rng(3)
    apart = torch.from_numpy(np.concatenate([random.uniform(0, 0.1, 48),
                                             random.uniform(0.5, 1.0, 48)]))
    assert specialisation(apart) > 0.5
    # whichever column it is
    assert specialisation(apart.flip(0)) == pytest.approx(specialisation(apart), abs=0.02)
    alike = [specialisation(torch.from_numpy(random.uniform(0, 1, 96))) for _ in range(15)]
    assert abs(float(np.mean(alike))) < 0.04
    assert specialisation(apart) == specialisation(apart)  # the divisions are the same every time


def test_nearest_images_are_those_of_loops() -> None:
    random = np.random.default_rng(4)
    queries, images = (torch.from_numpy(random.normal(size=(n, 8)).astype(np.float32))
                       for n in (7, 30))
    q_labels, labels = (torch.from_numpy(random.integers(0, 3, n)) for n in (7, 30))
    hits, actual = 0, nearest(queries, images)
    for q in range(7):
        order = sorted(range(30),
                       key=lambda i: float(((queries[q] - images[i]).double() ** 2).sum()))
        assert actual[q].tolist() == order[:6]
        hits += sum(int(labels[i] == q_labels[q]) for i in order[:6])
    assert same_class(actual, q_labels, labels) == pytest.approx(hits / 42)


def test_the_last_hidden_layer_is_what_the_output_layer_reads() -> None:
    chosen = recipe("source")
    network = Network(architecture("two-column", chosen, 10, 0.0625), chosen, 1).eval()
    images = 30 * torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    hidden = network.last_hidden(images)
    weight, bias = ({name: tensor for name, _, tensor in network.named_columns()}[f"fc8.{kind}"]
                    for kind in ("weight", "bias"))
    assert hidden.shape == (2, 256)
    assert torch.equal(torch.nn.functional.linear(hidden, weight, bias), network(images))
