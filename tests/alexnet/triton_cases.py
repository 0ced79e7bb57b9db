"""The GPU's kernels against their plain twin.

`test_normalization_triton.py` runs this file with TRITON_INTERPRET=1, under which Triton's kernels
are interpreted on the CPU; the variable must be set before anything imports Triton."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alexnet import normalization
from alexnet import normalization_triton as kernels
from alexnet.normalization import _ACROSS_CHANNELS, _ACROSS_PIXELS

CASES = [(_ACROSS_CHANNELS, 5, 2.0, 2e-5, (70, 1, 1, 48)),
         (_ACROSS_CHANNELS, 9, 1.0, 1e-3, (9, 1, 1, 7)),
         (_ACROSS_PIXELS, 5, 1.0, 4e-5, (2, 7, 5, 6)), (_ACROSS_PIXELS, 5, 1.0, 4e-5, (1, 2, 9, 3))]
every = pytest.mark.parametrize(("dims", "size", "k", "scale", "shape"), CASES)


def signal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 200


@every
def test_they_are_the_twin(monkeypatch: pytest.MonkeyPatch, dims: tuple[int, ...], size: int,
                           k: float, scale: float, shape: tuple[int, ...]) -> None:
    monkeypatch.setattr(kernels, "VALUES", 256)  # several programs, the last one with rows to spare
    x, g = signal(shape, 1), signal(shape, 2)
    y, root = normalization._forward(x, len(x), dims, size, k, scale)
    actual = kernels.forward(x, dims, size, k, scale)
    torch.testing.assert_close(actual[0], y, rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(actual[1], root, rtol=2e-6, atol=0)
    dx = normalization._backward(x, root, g, len(x), dims, size, -1.5 * scale)
    torch.testing.assert_close(kernels.backward(x, root, g, dims, size, -1.5 * scale), dx,
                               rtol=1e-5, atol=1e-4)


@every
def test_a_changed_value_shows_within_its_window_and_nowhere_else(
        dims: tuple[int, ...], size: int, k: float, scale: float,
        shape: tuple[int, ...]) -> None:
    x = signal(shape, 1)
    other = x.clone()
    other[-1, -1, -1, -1] += 50.0
    differs = (kernels.forward(x, dims, size, k, scale)[1]
               != kernels.forward(other, dims, size, k, scale)[1]).nonzero()
    expected = (normalization._forward(x, len(x), dims, size, k, scale)[1]
                != normalization._forward(other, len(x), dims, size, k, scale)[1]).nonzero()
    assert len(expected)
    assert torch.equal(differs, expected)
