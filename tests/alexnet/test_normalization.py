"""Both normalisations and their gradients: against the slow ones, autograd and the stock layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alexnet import normalization
from alexnet.layers import Lrn
from alexnet.normalization import lrn, spatial_norm
from tests.alexnet import reference
from tests.alexnet.reference import Array, Back

Norm = Callable[[Tensor], Tensor]
PAIRS: dict[str, tuple[Norm, Callable[[Array], tuple[Array, Back]]]] = {
    "window": (lrn, lambda x: reference.lrn(x, 1e-4 / 5)),
    "none": (partial(lrn, divisor="none"), lambda x: reference.lrn(x, 1e-4)),
    "nine": (partial(lrn, constants=Lrn(9, 1.0, 0.001)),
             lambda x: reference.lrn(x, 0.001 / 9, 1.0, 9)),
    "spatial": (spatial_norm, reference.spatial_norm),
}
every = pytest.mark.parametrize("name", PAIRS)


def signal(*shape: int, seed: int = 0, size: float = 200.0) -> Tensor:
    """float64; large enough to double a denominator."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed),
                       dtype=torch.float64) * size


@every
@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9),
       st.integers(0, 9))
def test_output_and_gradient(name: str, n: int, channels: int, height: int, width: int,
                             seed: int) -> None:
    ours, slow = PAIRS[name]
    x = signal(n, channels, height, width, seed=seed).requires_grad_()
    g = signal(n, channels, height, width, seed=99)
    y, back = slow(x.detach().numpy())
    actual = ours(x)
    actual.backward(g)
    np.testing.assert_allclose(actual.detach().numpy(), y, rtol=1e-12)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), back(g.numpy()), rtol=1e-9, atol=1e-9)


@every
def test_float32_is_the_same_within_its_precision(name: str) -> None:
    ours, slow = PAIRS[name]
    x, g = signal(3, 48, 13, 13).float().requires_grad_(), signal(3, 48, 13, 13, seed=1).float()
    y, back = slow(x.detach().double().numpy())
    actual = ours(x)
    actual.backward(g)
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.detach().numpy(), y, rtol=1e-5)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), back(g.double().numpy()), rtol=1e-4, atol=1e-3)


@every
def test_gradient_by_differences(name: str) -> None:
    assert torch.autograd.gradcheck(PAIRS[name][0], (signal(2, 7, 6, 6).requires_grad_(),),
                                    eps=1e-3, atol=1e-6)


def test_lrn_by_hand() -> None:
    """P §3.3 with one pixel of seven channels: the windows of the first and the last have three."""
    x = torch.tensor([100.0, -200, 300, -400, 500, -600, 700], dtype=torch.float64).view(1, 7, 1, 1)
    sums = [1 + 4 + 9, 1 + 4 + 9 + 16, 55, 90, 135, 16 + 25 + 36 + 49, 25 + 36 + 49]
    for divisor, alpha in (("window", 2e-5), ("none", 1e-4)):
        expected = [a / (2 + alpha * s * 1e4) ** 0.75
                    for a, s in zip(x.flatten().tolist(), sums, strict=True)]
        assert lrn(x, divisor).flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_spatial_by_hand() -> None:
    """Of ones everywhere, a corner sees 3 x 3, an edge 3 x 5, the middle 5 x 5; other maps none."""
    y = spatial_norm(torch.ones(1, 2, 7, 7, dtype=torch.float64))
    for (row, column), count in {(0, 0): 9, (0, 3): 15, (6, 6): 9, (1, 1): 16, (3, 3): 25}.items():
        assert float(y[0, 1, row, column]) == pytest.approx((1 + 4e-5 * count) ** -0.75, rel=1e-12)


def test_the_divisor_window_is_that_of_the_stock_layer() -> None:
    x, g = signal(2, 96, 5, 5).requires_grad_(), signal(2, 96, 5, 5, seed=1)
    stock = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    ours, theirs = (torch.autograd.grad(norm(x), x, g)[0] for norm in (lrn, stock))
    torch.testing.assert_close(lrn(x), stock(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(lrn(x, "none"), stock(x), rtol=1e-3)


@pytest.mark.parametrize(("maps", "touching"),
                         [(48, {46, 47, 48, 49}), (128, {126, 127, 128, 129})])
def test_windows_cut_off_at_the_column_change_two_channels_on_either_side(
        maps: int, touching: set[int]) -> None:
    """Facts: channels 46-49 of layer 1 and 126-129 of layer 2."""
    x = signal(1, 2 * maps, 3, 3)
    whole, apart = lrn(x), torch.cat([lrn(x[:, :maps]), lrn(x[:, maps:])], dim=1)
    differ = (whole != apart).any(dim=3).any(dim=2)[0]
    assert set(differ.nonzero().flatten().tolist()) == touching


@every
def test_the_parts_that_fit_the_cache_do_not_change_a_bit(name: str,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[Tensor, Tensor]:
        x = signal(7, 6, 5, 5).float().requires_grad_()
        y = PAIRS[name][0](x)
        return y.detach(), torch.autograd.grad(y, x, signal(7, 6, 5, 5, seed=1).float())[0]

    whole = run()
    for values in (1, 150 * 2, 150 * 3):
        monkeypatch.setattr(normalization, "CACHE_VALUES", values)
        assert all(torch.equal(a, b) for a, b in zip(run(), whole, strict=True))


@every
def test_memory_formats_do_not_change_a_bit(name: str) -> None:
    def run(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_()
        y = PAIRS[name][0](x)
        return y.detach(), torch.autograd.grad(y, x, g)[0]

    plain = run(signal(2, 6, 5, 4).float(), signal(2, 6, 5, 4, seed=1).float())
    last = run(signal(2, 6, 5, 4).float().contiguous(memory_format=torch.channels_last),
               signal(2, 6, 5, 4, seed=1).float().contiguous(memory_format=torch.channels_last))
    strided = run(signal(2, 6, 5, 4).float().repeat_interleave(2, dim=3)[..., ::2],
                  signal(2, 6, 5, 4, seed=1).float().transpose(2, 3).contiguous().transpose(2, 3))
    assert all(torch.equal(a, b) for other in (last, strided)
               for a, b in zip(other, plain, strict=True))


@every
def test_no_images(name: str) -> None:
    x = torch.zeros(0, 6, 5, 5, requires_grad=True)
    y = PAIRS[name][0](x)
    y.sum().backward()
    assert y.shape == (0, 6, 5, 5)


@every
def test_two_tensors_are_kept_for_the_gradient(name: str) -> None:
    kept: list[Tensor] = []
    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        PAIRS[name][0](signal(2, 6, 5, 5).requires_grad_())
    assert len(kept) == 2
