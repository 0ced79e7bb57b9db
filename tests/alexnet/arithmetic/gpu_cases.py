"""The kernels of portable arithmetic for GPUs against the table of digests, interpreted.

`test_gpu.py` runs this file with TRITON_INTERPRET=1; the variable must be set before anything
imports Triton."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from alexnet import draws, normalization
from alexnet.arithmetic import table
from alexnet.arithmetic.gpu import check, draws_triton, interpreter
from alexnet.arithmetic.gpu import loss_triton as loss
from alexnet.arithmetic.gpu import maps_triton as maps
from alexnet.arithmetic.gpu import products_triton as products
from alexnet.arithmetic.gpu.operators_triton import GpuOperators
from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.portable import Portable
from tests.alexnet.arithmetic.narrow_nets import DIGESTS, advanced, digest
from tests.alexnet.arithmetic.reference import fma

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with interpreter.exact():
        yield


def test_every_operator_has_the_bits() -> None:
    assert check.differing(CPU) == []


class OneUlpOff(GpuOperators):
    """Changes the last bit of one element of what an operator computes."""

    def __init__(self, name: str) -> None:
        right = getattr(self, name)

        def off(*arguments: object) -> object:
            result = right(*arguments)
            changed = arguments[0] if result is None else result
            changed = changed[-1] if isinstance(changed, tuple) else changed
            assert isinstance(changed, Tensor)
            flat = changed.view(-1).view(torch.uint8)
            flat[len(flat) // changed.element_size() // 2 * changed.element_size()] ^= 1
            return result

        setattr(self, name, off)


@pytest.mark.parametrize("name", sorted(set(check.CASES) - {
    "convolution_input_gradient", "convolution_weight_gradient", "convolution"}))
def test_one_ulp_is_seen_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CASES", (name,))
    operators = OneUlpOff(name)
    assert check.differing(CPU, operators) == [name]
    difference = check.difference(name, CPU, operators)
    assert difference is not None
    assert difference.count >= 1
    assert f"{name}: " in str(difference)
    assert check.difference(name, CPU) is None


def test_the_first_element_is_named_with_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: GpuOperators, a: Tensor, b: Tensor) -> Tensor:
        result = a + b
        result[7] = 3.0
        return result

    monkeypatch.setattr(GpuOperators, "add", add)
    right = table.values(1, 1003, wide=True)[7] + table.values(2, 1003, wide=True)[7]
    assert str(check.difference("add", CPU)) == (
        f"add: 1 elements differ, the first at [7] of [1003]: {3.0.hex()} here, "
        f"{float(right).hex()} by the definition")


def test_every_operator_of_a_training_is_checked() -> None:
    methods = {name for name in vars(GpuOperators) if not name.startswith("_")}
    within = {"scale": "dropout", "rescale": "update", "mean_loss": "cross_entropy"}
    assert {within.get(name, name) for name in methods} == set(check.CASES)


def test_a_training_has_the_bits_of_every_machine() -> None:
    """Of the smallest of the nets; the others take a minute each, and are not compared here."""
    assert digest(advanced("cifar", Portable(gpu=True))) == DIGESTS["cifar"]


def test_a_training_that_is_off_is_seen() -> None:
    portable = Portable(gpu=True)
    portable._gpu = OneUlpOff("relu_gradient")
    assert digest(advanced("cifar", portable)) != DIGESTS["cifar"]


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (17, 33, 129), (130, 3, 64)])
@pytest.mark.parametrize("block", [None, 128])
@pytest.mark.parametrize("programs", [1, 1000])  # a program for all chains of a sum, or each
def test_products_of_any_shape(monkeypatch: pytest.MonkeyPatch, m: int, n: int, k: int,
                               block: int | None, programs: int) -> None:
    monkeypatch.setattr(products, "PROGRAMS", programs)
    a, b = table.values(1, 1, m, k, wide=True), table.values(2, 1, k, n)
    y = products.product(torch.from_numpy(a), torch.from_numpy(b), None, block)[0].numpy()
    expected = np.zeros((m, n), np.float32)
    for start in range(0, k, block or k):
        here = slice(start, start + (block or k))
        expected += interpreter.chains(a[0, :, here], b[0, here], np.zeros((m, n), np.float32))
    assert np.array_equal(y, expected)
    if k > 1:  # in another order the sums are others
        turned = interpreter.chains(a[0, :, ::-1], b[0, ::-1], np.zeros((m, n), np.float32))
        assert not np.array_equal(y, turned)


def test_gradients_of_weights_in_groups_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    g, x = (torch.from_numpy(table.values(1, *shape)) for shape in ((5, 4, 4, 7), (5, 6, 6, 3)))
    whole = products.convolution_weight_gradient(g, x, 3, 1, 0)
    monkeypatch.setattr(products, "PARTIAL", 2 * 7 * 27)
    assert torch.equal(products.convolution_weight_gradient(g, x, 3, 1, 0), whole)


@pytest.mark.parametrize(("first", "count", "units", "seed", "when"), [
    (0, 3, 300, 1, 0), (70000, 2, 128, 2**63 - 5, 2**31 + 7), (5, 4, 31, 2**40, 9)])
def test_coins_are_those_of_every_device(first: int, count: int, units: int, seed: int,
                                         when: int) -> None:
    expected = draws.coins(seed, "dropout fc6", when, first, count, units, CPU)
    key, fixed = draws._key(seed), draws._fixed("dropout fc6", when)
    assert torch.equal(draws_triton.coins(key, fixed, first, count, units, CPU), expected)
    other = draws_triton.coins(key, fixed, first + 1, count, units, CPU)
    assert not torch.equal(other, expected)
    assert torch.equal(other[:-1], expected[1:])


@pytest.mark.parametrize("noise", [False, True])
def test_native_inputs_and_updates_by_the_kernels_are_near_the_plain_ones(noise: bool) -> None:
    crops = torch.from_numpy(table.integers(1, 256, 3, 11, 11, 3).astype(np.uint8))
    mean = torch.from_numpy(np.abs(table.values(2, 16, 16, 3, size=255.0)))
    windows = [torch.from_numpy(table.integers(key, 6, 3)) for key in (3, 5)]
    places = windows[0], windows[1], torch.tensor([0, 1, 1])
    offsets = torch.from_numpy(table.values(7, 3, 3, size=30.0)) if noise else None
    for own in (places, None):
        plain = NATIVE.centred(crops, mean, own, offsets, 0.9)
        kernel = maps.centred(crops, mean, own, offsets, 0.9).permute(0, 3, 1, 2)
        torch.testing.assert_close(kernel, plain, rtol=1e-6, atol=1e-4)
    w, v, g = (torch.from_numpy(table.values(key, 1003)) for key in (1, 2, 3))
    plain_w, plain_v = w.clone(), v.clone()
    NATIVE.update(plain_w, plain_v, g, 0.9, 0.01, 0.0005)
    maps.update(w, v, g, 0.9, 0.01, 0.0005)
    torch.testing.assert_close(w, plain_w, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(v, plain_v, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("dims", "size", "k", "scale", "shape"), [
    ((3,), 5, 2.0, 2e-5, (70, 1, 1, 48)), ((3,), 9, 1.0, 1e-3, (9, 1, 1, 7)),
    ((2, 1), 5, 1.0, 4e-5, (2, 7, 5, 6)), ((2, 1), 5, 1.0, 4e-5, (1, 2, 9, 3))])
def test_native_normalisations_by_the_kernels_are_near_the_plain_ones(
        monkeypatch: pytest.MonkeyPatch, dims: tuple[int, ...], size: int, k: float, scale: float,
        shape: tuple[int, ...]) -> None:
    x, g = (torch.from_numpy(table.values(key, *shape, size=200.0)) for key in (1, 2))
    results = []
    for kernel in (False, True):
        monkeypatch.setattr(normalization, "_has_kernel", lambda values, kernel=kernel: kernel)
        maps_of = x.permute(0, 3, 1, 2).requires_grad_()
        y = normalization._Normalize.apply(maps_of, dims, size, k, scale)
        results.append((y.detach(), *torch.autograd.grad(y, maps_of, g.permute(0, 3, 1, 2))))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-5, atol=1e-4)
    assert not torch.allclose(results[0][1], g.permute(0, 3, 1, 2))


@pytest.mark.parametrize("limit", [0, 2**31])
def test_places_counted_in_64_bits_are_those_in_32(monkeypatch: pytest.MonkeyPatch,
                                                   limit: int) -> None:
    monkeypatch.setattr(maps, "NARROW", limit)
    x = torch.from_numpy(table.values(1, 2, 9, 7, 5))
    assert maps._tiles(x)["WIDE"] == (limit == 0)
    y, places = maps.max_pool(x, 3, 2)
    like = x.permute(0, 3, 1, 2).requires_grad_()
    expected = torch.nn.functional.max_pool2d(like, 3, 2, ceil_mode=True)
    assert torch.equal(y.permute(0, 3, 1, 2), expected)
    [gradient] = torch.autograd.grad(expected, like, torch.ones_like(expected))
    dx = maps.max_pool_gradient(torch.ones_like(y), places, x.shape, 3, 2)
    assert torch.equal(dx.permute(0, 3, 1, 2), gradient)
    moved = maps.max_pool_gradient(torch.ones_like(y), places.roll(1, 1), x.shape, 3, 2)
    assert not torch.equal(moved, dx)


def test_the_loss_of_a_batch() -> None:
    total = torch.tensor([1.0 / 3.0], dtype=torch.float64)
    assert float(loss.mean(total, 7)) == float(np.float32(1.0 / 3.0 / 7.0))


def test_the_interpreters_fma_is_libms() -> None:
    """Of numbers of any size, and of sums that are next to nothing."""
    a, b = (table.values(key, 3000, wide=True) for key in (1, 2))
    c = np.where(np.arange(3000) % 2 == 0, -(a * b), table.values(3, 3000, wide=True))
    expected = np.array([fma(*three) for three in zip(a, b, c, strict=True)])
    assert interpreter.fma(a, b, c).tobytes() == expected.tobytes()
    assert (a * b + c).tobytes() != expected.tobytes()
