"""Every operator against the reference, to the bit, on every instruction set of this machine."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alexnet.arithmetic import eigen, rates
from alexnet.arithmetic.operators import F32, Normalization, error_rate
from alexnet.arithmetic.table import integers, values
from tests.alexnet.arithmetic import reference
from tests.alexnet.arithmetic.machines import all_operators, assert_same_bits

few = settings(max_examples=12, deadline=None, derandomize=True)
keys = st.integers(1, 10_000)


def last(maps: F32) -> F32:
    """[n, h, w, c] of [n, c, h, w]."""
    return np.ascontiguousarray(np.moveaxis(maps, 1, -1))


def check_convolution(n: int, h: int, w: int, c: int, o: int, size: int, stride: int, before: int,
                      after: int, key: int, wide: bool) -> None:
    x, weight, bias = values(key, n, c, h, w, wide=wide), values(key + 1,
                                                                 o,
                                                                 c,
                                                                 size,
                                                                 size,
                                                                 wide=wide), values(key + 2, o)
    bias[0] = -0.0
    y = reference.convolution(x, weight, bias, stride, before, after)
    g = values(key + 3, *y.shape, wide=wide)
    dx = reference.convolution_input_gradient(g, weight, x.shape, stride, before)
    dw = reference.convolution_weight_gradient(g, x, size, stride, before)
    unbiased = reference.convolution(x, weight, None, stride, before, after)
    for o_ in all_operators():
        padding, isa = (before, after), o_.library.isa
        assert_same_bits(o_.convolution(last(x), weight, bias, stride, padding), last(y), isa)
        assert_same_bits(o_.convolution(last(x), weight, None, stride, padding), last(unbiased),
                         isa)
        assert_same_bits(
            o_.convolution_input_gradient(last(g), weight,
                                          last(x).shape, stride, padding), last(dx), isa)
        assert_same_bits(o_.convolution_weight_gradient(last(g), last(x), size, stride, padding),
                         dw, isa)


@pytest.mark.parametrize(
    ("n", "h", "w", "c", "o", "size", "stride", "before", "after"),
    [
        (2, 4, 17, 5, 35, 3, 1, 1, 1),  # more than one panel and one tile
        (1, 19, 23, 3, 5, 11, 4, 0, 3),  # conv1, its windows hanging over
        (1, 20, 18, 3, 2, 11, 4, 2, 2),  # symmetric
        (2, 5, 4, 4, 3, 5, 1, 2, 2),  # more padding than map
        (3, 3, 3, 1, 1, 3, 1, 1, 1),  # one channel, one kernel
        (1, 1, 1, 2, 3, 1, 1, 0, 0),
        (1, 9, 7, 2, 3, 3, 2, 0, 0),  # pixels that no window reaches
        (1, 23, 27, 3, 5, 11, 4, 0, 0),  # Caffe's conv1: no padding, windows to the edge
        (1, 6, 6, 3, 2, 5, 1, 1, 1),  # S layers-147.cfg: conv2 with pad 1
    ])
@pytest.mark.parametrize("wide", [False, True])
def test_convolution(n: int, h: int, w: int, c: int, o: int, size: int, stride: int, before: int,
                     after: int, wide: bool) -> None:
    check_convolution(n, h, w, c, o, size, stride, before, after, 7, wide)


@few
@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 16), st.integers(1,
                                                                             4), st.integers(1, 5),
       st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), keys,
       st.booleans())
def test_any_convolution(n: int, h: int, w: int, c: int, o: int, size: int, stride: int,
                         before: int, after: int, key: int, wide: bool) -> None:
    before = min(before, size - 1)
    if min(h, w) + before + after >= size:
        check_convolution(n, h, w, c, o, size, stride, before, after, key, wide)


def check_linear(n: int, inputs: int, outputs: int, key: int, wide: bool) -> None:
    x, weight, bias = values(key, n, inputs,
                             wide=wide), values(key + 1, outputs, inputs,
                                                wide=wide), values(key + 2, outputs)
    g = values(key + 3, n, outputs, wide=wide)
    bias[0] = -0.0
    y, unbiased = reference.linear(x, weight, bias), reference.linear(x, weight, None)
    dx, dw = reference.linear_input_gradient(g, weight), reference.linear_weight_gradient(g, x)
    for o in all_operators():
        assert_same_bits(o.squares(x), reference.squares(x), o.library.isa)
        assert_same_bits(o.linear(x, weight, bias), y, o.library.isa)
        assert_same_bits(o.linear(x, weight, None), unbiased, o.library.isa)
        assert_same_bits(o.linear_input_gradient(g, weight), dx, o.library.isa)
        assert_same_bits(o.linear_weight_gradient(g, x), dw, o.library.isa)


@pytest.mark.parametrize(
    ("n", "inputs", "outputs"),
    [
        (2, 530, 3),  # more blocks than are handled together
        (2, 3, 530),
        (530, 3, 2),
        (17, 129, 35),
        (3, 128, 1),
        (1, 1, 1),
        (40, 2, 9)
    ])
@pytest.mark.parametrize("wide", [False, True])
def test_linear(n: int, inputs: int, outputs: int, wide: bool) -> None:
    check_linear(n, inputs, outputs, 11, wide)


@few
@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 20), keys, st.booleans())
def test_any_linear(n: int, inputs: int, outputs: int, key: int, wide: bool) -> None:
    check_linear(n, inputs, outputs, key, wide)


@pytest.mark.parametrize(("n", "h", "w", "c", "o", "size"),
                         [(2, 3, 4, 2, 3, 3), (130, 1, 2, 2, 2, 3), (1, 2, 2, 35, 2, 1),
                          (15, 2, 1, 1, 34, 5), (1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("wide", [False, True])
def test_local(n: int, h: int, w: int, c: int, o: int, size: int, wide: bool) -> None:
    x, weight = values(3, n, c, h, w, wide=wide), values(4, h, w, o, c, size, size, wide=wide)
    bias, g, before = values(5, h, w, o), values(6, n, o, h, w, wide=wide), size // 2
    y, dx = reference.local(x, weight, bias,
                            before), reference.local_input_gradient(g, weight, before)
    dw = reference.local_weight_gradient(g, x, size, before)
    flat = weight.reshape(h * w, o, c, size, size)
    for o_ in all_operators():
        assert_same_bits(o_.local(last(x), flat, bias.reshape(h * w, o), before), last(y))
        assert_same_bits(o_.local_input_gradient(last(g), flat, before), last(dx))
        assert_same_bits(o_.local_weight_gradient(last(g), last(x), size, before),
                         dw.reshape(flat.shape))


@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (5, 67), (1, 1), (2, 3, 3, 129)])
def test_bias_gradient(shape: tuple[int, ...]) -> None:
    g = values(9, *shape)
    wanted = reference.bias_gradient(np.moveaxis(g.reshape(shape[0], -1, shape[-1]), 2, 1))
    for o in all_operators():
        assert_same_bits(o.bias_gradient(g), wanted)


@pytest.mark.parametrize("wide", [False, True])
def test_elements(wide: bool) -> None:
    x, g = values(1, 1037, wide=wide), values(2, 1037, wide=wide)
    kept = integers(3, 2, 1037).astype(np.bool_)
    for o in all_operators():
        assert_same_bits(o.relu(x), reference.relu(x))
        assert_same_bits(o.relu_gradient(g, x), reference.relu_gradient(g, x))
        assert_same_bits(o.tanh_gradient(g, x), reference.tanh_gradient(g, x))
        assert_same_bits(o.add(x, g), np.array([a + b for a, b in zip(x, g, strict=True)]))
        for factor in (1.0, 2.0, 0.5):
            assert_same_bits(o.dropout(x, kept, factor), reference.dropout(x, kept, factor))
            assert_same_bits(o.scale(x, factor), reference.dropout(x, np.ones_like(kept), factor))


@pytest.mark.parametrize("size", [2.0**-130, 2.0**-7, 0.02, 1.0, 9.5, 100.0])
def test_tanh(size: float) -> None:
    x = values(4, 500, size=size)
    for o in all_operators():
        assert_same_bits(o.tanh(x), np.array([reference.tanh(v) for v in x]))


@pytest.mark.parametrize(("n", "h", "w", "c", "size"), [(2, 7, 5, 3, 3), (1, 6, 8, 66, 3),
                                                        (1, 5, 4, 2, 2), (1, 2, 2, 1, 3)])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool(n: int, h: int, w: int, c: int, size: int, ties: bool) -> None:
    x = values(5, n, c, h, w)
    x = (np.round(x * np.float32(2))
         / np.float32(2)).astype(np.float32) if ties else x  # with zeros of both signs
    y, places = reference.max_pool(x, size, 2)
    g = values(6, *y.shape)
    dx = reference.max_pool_gradient(g, places, x.shape)
    for o in all_operators():
        found, taken = o.max_pool(last(x), size, 2)
        assert_same_bits(found, last(y))
        assert_same_bits(o.max_pool_gradient(last(g), taken, last(x).shape, size, 2), last(dx))


@pytest.mark.parametrize(("n", "h", "w", "c", "size"), [(2, 7, 5, 3, 3), (1, 6, 8, 66, 3),
                                                        (1, 2, 2, 1, 3)])
@pytest.mark.parametrize("wide", [False, True])
def test_average_pool(n: int, h: int, w: int, c: int, size: int, wide: bool) -> None:
    x = values(5, n, c, h, w, wide=wide)
    y = reference.average_pool(x, size, 2)
    g = values(6, *y.shape, wide=wide)
    dx = reference.average_pool_gradient(g, x.shape, size, 2)
    for o in all_operators():
        assert_same_bits(o.average_pool(last(x), size, 2), last(y))
        assert_same_bits(o.average_pool_gradient(last(g), last(x).shape, size, 2), last(dx))


@pytest.mark.parametrize("across", ["channels", "pixels"])
@pytest.mark.parametrize(("shape", "constants", "size"),
                         [((1, 20, 3, 4), Normalization(5, 2.0, 1e-4 / 5), 200.0),
                          ((2, 2, 6, 3), Normalization(5, 2.0, 1e-4), 3.0),
                          ((1, 19, 2, 7), Normalization(9, 1.0, 0.001 / 9), 1.0),
                          ((1, 3, 5, 8), Normalization(5, 1.0, 0.001 / 25), 900.0),
                          ((1, 12, 3, 5), Normalization(5, 1.0, 1e-4 / 5), 300.0),
                          ((1, 1, 1, 1), Normalization(3, 1.0, 0.5), 1.0),
                          ((1, 35, 2, 2), Normalization(5, 2.0, 1e-4 / 5), 1e-22)])
def test_normalization(across: str, shape: tuple[int, ...], constants: Normalization,
                       size: float) -> None:
    x, g = values(7, *shape, size=size), values(8, *shape)
    numbers = (constants.size, constants.k, constants.a, across)
    y, dx = reference.normalized(x, *numbers), reference.normalized_gradient(g, x, *numbers)
    for o in all_operators():
        forward, backward = (o.lrn,
                             o.lrn_gradient) if across == "channels" else (o.spatial,
                                                                           o.spatial_gradient)
        found, quotient = forward(last(x), constants)
        assert_same_bits(found, last(y))
        assert_same_bits(backward(last(g), last(x), quotient, constants), last(dx))


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 16, 31, 33, 48, 100, 129])
def test_a_pixel_is_normalised_alone(channels: int) -> None:
    """Whatever of its neighbours shares a vector or a task with it: thousands of values at once, in
    pieces, and beside one that is no number."""
    constants, pixels = Normalization(5, 2.0, 1e-4 / 5), 2 + 9000 // channels
    x, g = values(3, pixels, channels, size=100.0), values(4, pixels, channels)
    x[pixels // 2, channels // 2] = np.nan
    others = np.arange(pixels) != pixels // 2
    for o in all_operators():
        y, quotient = o.lrn(x, constants)
        dx = o.lrn_gradient(g, x, quotient, constants)
        assert np.isfinite(y[others]).all()
        assert np.isfinite(dx[others]).all()
        for piece in (slice(0, 1), slice(1, 4), slice(4, pixels - 7), slice(pixels - 7, pixels)):
            alone, kept = o.lrn(x[piece].copy(), constants)
            back = o.lrn_gradient(g[piece].copy(), x[piece].copy(), kept, constants)
            same = others[piece]
            assert_same_bits(y[piece][same], alone[same])
            assert_same_bits(dx[piece][same], back[same])


@pytest.mark.parametrize(("n", "classes", "size"), [(4, 10, 3.0), (2, 1000, 30.0), (3, 2, 800.0),
                                                    (2, 1, 1.0)])
def test_loss(n: int, classes: int, size: float) -> None:
    logits, labels = values(9, n, classes, size=size), integers(10, classes, n)
    logits[0] = logits[0, 0]  # all equal
    loss, wrong, gradient = reference.cross_entropy(logits, labels, 24)
    for o in all_operators():
        found = o.cross_entropy(logits, labels, 24)
        assert found[:2] == (loss, wrong)
        assert_same_bits(found[2], gradient)
        assert_same_bits(o.softmax(logits), reference.softmax(logits))


def test_average() -> None:
    p = np.abs(values(11, 10, 3, 7))
    for o in all_operators():
        assert_same_bits(o.average(p), reference.average(p))


@pytest.mark.parametrize(("lr", "decay"), [(0.01, 0.0005), (0.02, 0.0), (0.0, 0.1),
                                           (1e-30, 0.0005)])
@pytest.mark.parametrize("wide", [False, True])
def test_update(lr: float, decay: float, wide: bool) -> None:
    w, v, g = (values(key, 777, wide=wide) for key in (1, 2, 3))
    wanted = reference.update(w, v, g, 0.9, lr, decay)
    for o in all_operators():
        weight, velocity = w.copy(), v.copy()
        o.update(weight, velocity, g, 0.9, lr, decay)
        assert_same_bits(weight, wanted[0])
        assert_same_bits(velocity, wanted[1])


@few
@given(st.lists(st.floats(-800, 800), min_size=1, max_size=50))
def test_functions(numbers: list[float]) -> None:
    x = np.array(numbers)
    positive = np.maximum(np.abs(x), 1e-300)
    for o in all_operators():
        assert_same_bits(o.exp(x), np.array([reference.exp(v) for v in numbers]))
        assert_same_bits(o.log(positive), np.array([reference.log(v) for v in positive.tolist()]))
        assert_same_bits(o.sin(x), np.array([reference.sin(v) for v in numbers]))
        assert_same_bits(o.cos(x), np.array([reference.cos(v) for v in numbers]))


def test_draws() -> None:
    words = integers(12, 1 << 32, 300, 4)
    words[:3] = [[0] * 4, [2**32 - 1] * 4, [2**31, 2**30, 1, 3 << 30]]
    size, vectors = np.array([121.78, 37.094, 19.721]), values(13, 3, 3).astype(np.float64)
    z = reference.gaussians(words)
    for o in all_operators():
        assert_same_bits(o.gaussians(words), z)
        assert_same_bits(o.initial_weights(words, 1198, 0.01),
                         reference.initial_weights(words, 1198, 0.01))
        assert_same_bits(o.colour_offsets(z, size, vectors),
                         reference.colour_offsets(z, size, vectors))


@pytest.mark.parametrize("side", [1, 5, 12])
@pytest.mark.parametrize("factor", [None, 1.0, 1 / (1 + 0.1)])
def test_centred(side: int, factor: float | None) -> None:
    crops: NDArray[np.uint8] = integers(14, 256, 3, side, side, 3).astype(np.uint8)
    mean, offsets = np.abs(values(
        15, 12, 12, 3, size=255.0)), None if factor is None else values(16, 3, 3, size=20.0)
    tops, lefts, flips = integers(17, 12 - side + 1, 3), integers(18, 12 - side + 1,
                                                                  3), np.array([0, 1, 1])
    wanted = reference.centred(crops, mean, tops, lefts, flips, offsets, factor or 1.0)
    for o in all_operators():
        assert_same_bits(o.centred(crops, mean, tops, lefts, flips, offsets, factor or 1.0), wanted)


@few
@given(st.lists(st.integers(-9, 9), min_size=6, max_size=6))
def test_eigenvectors(entries: list[int]) -> None:
    a, b, c, d, e, f = (entry / 7.0 for entry in entries)
    matrix = [[a, b, c], [b, d, e], [c, e, f]]
    found, wanted = eigen.components(matrix), reference.eigen(matrix)
    assert_same_bits(np.array(found[0]), np.array(wanted[0]))
    assert_same_bits(np.array(found[1]), np.array(wanted[1]))


def test_learning_rates() -> None:
    assert [rates.by_hand(k) for k in range(4)] == [1.0, 0.1, 0.01, 0.001]
    assert (rates.automatic(250, 4,
                            0), rates.automatic(250, 4,
                                                3), rates.automatic(10, 2,
                                                                    1)) == (1.0, 1 / 250, 0.1)
    for k in (1, 2):  # between the midpoints to its neighbours, in exact numbers: x^3 = 250^-k
        x = rates.automatic(250, 4, k)
        lower, upper = ((Fraction(x) + Fraction(math.nextafter(x, side))) / 2
                        for side in (0.0, 1.0))
        assert lower**3 * 250**k < 1 < upper**3 * 250**k


def test_errors_are_exact() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    labels = np.array([0, 1, 2])
    assert error_rate(p, labels, 1) == float((0.5 + 1 + np.float64(2) / 3) / 3)
    assert error_rate(p, labels, 3) == 0.0


def test_what_is_not_a_number_reaches_the_loss() -> None:
    x = np.full((1, 5, 5, 3), 1.0, np.float32)
    x[0, 2, 3, 1] = np.nan
    for o in all_operators():
        for y in (o.relu(x), o.tanh(x), o.max_pool(x, 3, 2)[0], o.average_pool(x, 3, 2),
                  o.lrn(x, Normalization(5, 2.0, 1e-4))[0],
                  o.spatial(x, Normalization(5, 1.0, 1e-4))[0],
                  o.convolution(x, np.ones((2, 3, 3, 3), np.float32), None, 1, (1, 1))):
            assert np.isnan(y).any()
        z = np.array([[1.0, np.nan, 0.0]], np.float32)
        assert np.isnan(o.cross_entropy(z, np.array([0]), 1)[0])
        assert np.isnan(o.softmax(z)).all()


def test_wrong_shapes_are_named() -> None:
    o = next(all_operators())
    x = np.zeros((1, 3, 3, 2), np.float32)
    with pytest.raises(ValueError, match=r"weight: float64 \[4, 2, 3, 3\]; wanted float32"):
        o.convolution(x, np.zeros((4, 2, 3, 3)), None, 1, (1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"maps \[1, 3, 3, 2\] with weights"):
        o.convolution(x, np.zeros((4, 3, 3, 3), np.float32), None, 1, (1, 1))
    with pytest.raises(ValueError, match="not contiguous"):
        o.relu(x[:, :, :, :1])
    with pytest.raises(ValueError, match="no windows of 3 pixels"):
        o.max_pool(np.zeros((1, 1, 1, 1), np.float32), 3, 2)
    with pytest.raises(ValueError, match="labels: 3 to 3; there are 3 classes"):
        o.cross_entropy(np.zeros((1, 3), np.float32), np.array([3]), 1)
