"""Element by element, pooling, normalisation, inputs and the update: docs/arithmetic.md, sections
4, 8 and 9. Maps are [n, rows, columns, channels], contiguous."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from alexnet.arithmetic.gpu.loss_triton import tanh_32
from alexnet.arithmetic.operators import Normalization, pooled

LANES = 1024  # values of a program
NARROW = 2**31 - 2**20  # values whose places, and those of their neighbours, 32 bits hold
RELU, RELU_GRADIENT, TANH, TANH_GRADIENT, ADD, DROPOUT, SCALE = (
    tl.constexpr(number) for number in range(7))


def _programs(written: Tensor) -> tuple[int]:
    return (triton.cdiv(written.numel(), LANES),)


def _tiles(largest: Tensor) -> dict[str, Any]:
    """Return how a kernel handles its values, of which the largest tensor has the most."""
    return {"TILE": LANES, "WIDE": largest.numel() > NARROW, "enable_fp_fusion": False}


def elementwise(operation: tl.constexpr, a: Tensor, b: Tensor | None = None,
                factor: float = 1.0) -> Tensor:
    """Return one of the operations above of a and b.

    Args:
        operation: RELU, TANH or SCALE of a; RELU_GRADIENT or TANH_GRADIENT of a gradient and the
            output; ADD; DROPOUT of a where b is true.
        a: float32, contiguous.
        b: of the same shape, contiguous; bool for DROPOUT, else float32.
        factor: of SCALE and DROPOUT; it is rounded to float32.
    """
    y = torch.empty_like(a)
    second = a if b is None else b.view(torch.uint8) if b.dtype == torch.bool else b
    _elementwise[_programs(y)](a, second, y, factor, a.numel(), OPERATION=operation, **_tiles(y))
    return y


def max_pool(x: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return the greatest of each window of x, and its place in it, uint8."""
    n, h, w, c = x.shape
    rows, columns = pooled(h, size, stride), pooled(w, size, stride)
    y = torch.empty((n, rows, columns, c), device=x.device)
    places = torch.empty(y.shape, dtype=torch.uint8, device=x.device)
    _max_pool[_programs(y)](x, y, places, y.numel(), h, w, c, rows, columns, SIZE=size,
                            STRIDE=stride, **_tiles(x))
    return y, places


def max_pool_gradient(g: Tensor, places: Tensor, shape: tuple[int, ...], size: int,
                      stride: int) -> Tensor:
    """Return the gradient of max pooling's input, of this shape."""
    dx = torch.empty(shape, device=g.device)
    _, h, w, c = shape
    _max_pool_gradient[_programs(dx)](
        g, places, dx, dx.numel(), h, w, c, g.shape[1], g.shape[2], SIZE=size, STRIDE=stride,
        WINDOWS=-(-size // stride), **_tiles(dx))
    return dx


def average_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Return the mean of what each window of x has within the map."""
    n, h, w, c = x.shape
    y = torch.empty((n, pooled(h, size, stride), pooled(w, size, stride), c), device=x.device)
    _average_pool[_programs(y)](x, y, y.numel(), h, w, c, *y.shape[1:3], SIZE=size, STRIDE=stride,
                                **_tiles(x))
    return y


def average_pool_gradient(g: Tensor, shape: tuple[int, ...], size: int, stride: int) -> Tensor:
    """Return the gradient of average pooling's input, of this shape."""
    dx = torch.empty(shape, device=g.device)
    _, h, w, c = shape
    _average_pool_gradient[_programs(dx)](
        g, dx, dx.numel(), h, w, c, g.shape[1], g.shape[2], SIZE=size, STRIDE=stride,
        WINDOWS=-(-size // stride), **_tiles(dx))
    return dx


def normalized(x: Tensor, constants: Normalization, across: str) -> tuple[Tensor, Tensor]:
    """Return y and q = 1 / d for maps x.

    Args:
        x: float32 [n, h, w, c].
        constants: of the normalisation.
        across: `channels` or `pixels`, which the windows extend in.
    """
    y, quotient = torch.empty_like(x), torch.empty_like(x)
    _normalize[_programs(x)](
        x, x, y, quotient, constants.k, constants.a, x.numel(), *x.shape[1:], BACKWARD=False,
        **_reach(constants, across), **_tiles(x))
    return y, quotient


def normalized_gradient(g: Tensor, x: Tensor, quotient: Tensor, constants: Normalization,
                        across: str) -> Tensor:
    """Return the gradient of `normalized`'s input; g is the gradient of y."""
    direct, through, dx = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    _through[_programs(x)](g, x, quotient, direct, through, x.numel(), **_tiles(x))
    _normalize[_programs(x)](
        through, x, dx, direct, 0.0, -(1.5 * constants.a), x.numel(), *x.shape[1:], BACKWARD=True,
        **_reach(constants, across), **_tiles(x))
    return dx


def _reach(constants: Normalization, across: str) -> dict[str, int]:
    half = constants.size // 2
    return {"REACH_C": half, "REACH": 0} if across == "channels" else {"REACH_C": 0, "REACH": half}


def update(weight: Tensor, velocity: Tensor, gradient: Tensor, momentum: float, lr: float,
           decay: float) -> None:
    """Do one update in place, of contiguous float32 tensors of one shape; a rate of 0 changes
    nothing."""
    if lr != 0.0:
        _update[_programs(weight)](
            weight, velocity, gradient, momentum, -lr, -(decay * lr), weight.numel(),
            DECAY=torch.tensor(-(decay * lr), dtype=torch.float32).item() != 0.0,
            **_tiles(weight))


def centred(crops: Tensor, mean: Tensor, windows: tuple[Tensor, Tensor, Tensor] | None,
            offsets: Tensor | None, factor: float) -> Tensor:
    """Return crops less the mean of their place, with colour noise, float32 [n, side, side, 3].

    Args:
        crops: uint8 [n, side, side, 3], contiguous, mirrored where they are.
        mean: float32 [stored, stored, 3], contiguous.
        windows: of the mean for each crop: tops, lefts, flips, int64 [n]; None for the central one.
        offsets: float32 [n, 3], contiguous, or None: then there is no factor either.
        factor: rounded to float32.
    """
    n, side, stored = len(crops), crops.shape[1], len(mean)
    x = torch.empty(crops.shape, device=crops.device)
    tops, lefts, flips = windows or (crops, crops, crops)
    _centred[(triton.cdiv(3 * side * side, LANES), n)](
        crops, mean, tops, lefts, flips, x if offsets is None else offsets, x, factor, side, stored,
        WINDOWS=windows is not None, NOISE=offsets is not None, TILE=LANES, enable_fp_fusion=False)
    return x


@triton.jit
def _places(TILE: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return which values a program handles; they are counted in 64 bits where 32 do not do, and
    divisions take several times longer."""
    first = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    return first * TILE + tl.arange(0, TILE)


@triton.jit(do_not_specialize=["count"])
def _elementwise(a, b, y, factor, count,  # type: ignore[no-untyped-def]
                 OPERATION: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    value = tl.load(a + at, here, 0.0)
    if OPERATION == RELU:
        result = tl.where(value <= 0.0, 0.0, value)
    elif OPERATION == RELU_GRADIENT:
        result = tl.where(tl.load(b + at, here, 0.0) <= 0.0, 0.0, value)
    elif OPERATION == TANH:
        result = tanh_32(value)
    elif OPERATION == TANH_GRADIENT:
        output = tl.load(b + at, here, 0.0)
        one = tl.full((TILE,), 1.0, tl.float32)
        result = value * tl.fma(output * -1.0, output, one)  # -x can be 0 - x, which has no -0
    elif OPERATION == ADD:
        result = value + tl.load(b + at, here, 0.0)
    elif OPERATION == DROPOUT:
        result = tl.where(tl.load(b + at, here, 0) != 0, value * factor, 0.0)
    else:
        result = value * factor
    tl.store(y + at, result, here)


@triton.jit(do_not_specialize=["count", "h", "w", "rows", "columns"])
def _max_pool(x, y, places, count, h, w, c, rows, columns,  # type: ignore[no-untyped-def]
              SIZE: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    pixel = at // c
    top, left = pixel // columns % rows * STRIDE, pixel % columns * STRIDE
    first = (pixel // (rows * columns) * h * w + top * w + left) * c + at % c
    best = tl.load(x + first, here, 0.0)
    place = tl.zeros((TILE,), tl.int32)
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            if i + j > 0:
                inside = here & (top + i < h) & (left + j < w)
                value = tl.load(x + first + (i * w + j) * c, inside, 0.0)
                taken = inside & ((value > best) | (value != value))
                best = tl.where(taken, value, best)
                place = tl.where(taken, i * SIZE + j, place)
    tl.store(y + at, best, here)
    tl.store(places + at, place.to(tl.uint8), here)


@triton.jit(do_not_specialize=["count", "h", "w", "rows", "columns"])
def _max_pool_gradient(g, places, dx, count, h, w, c,  # type: ignore[no-untyped-def]
                       rows, columns, SIZE: tl.constexpr, STRIDE: tl.constexpr,
                       WINDOWS: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    pixel = at // c
    row, column = pixel // w % h, pixel % w
    last_p, last_q = row // STRIDE, column // STRIDE  # the last windows that begin at or before it
    image = pixel // (h * w) * rows * columns
    total = tl.zeros((TILE,), tl.float32)
    for i in tl.static_range(WINDOWS):
        for j in tl.static_range(WINDOWS):
            p, q = last_p - (WINDOWS - 1) + i, last_q - (WINDOWS - 1) + j
            down, right = row - p * STRIDE, column - q * STRIDE
            inside = here & (p >= 0) & (p < rows) & (q >= 0) & (q < columns)
            inside = inside & (down < SIZE) & (right < SIZE)
            window = (image + p * columns + q) * c + at % c
            own = inside & (tl.load(places + window, inside, 0).to(tl.int32) == down * SIZE + right)
            total = total + tl.load(g + window, own, 0.0)
    tl.store(dx + at, total, here)


@triton.jit(do_not_specialize=["count", "h", "w", "rows", "columns"])
def _average_pool(x, y, count, h, w, c, rows, columns,  # type: ignore[no-untyped-def]
                  SIZE: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    pixel = at // c
    top, left = pixel // columns % rows * STRIDE, pixel % columns * STRIDE
    first = (pixel // (rows * columns) * h * w + top * w + left) * c + at % c
    total = tl.zeros((TILE,), tl.float32)
    for i in tl.static_range(SIZE):
        for j in tl.static_range(SIZE):
            inside = here & (top + i < h) & (left + j < w)
            total = total + tl.load(x + first + (i * w + j) * c, inside, 0.0)
    values = tl.minimum(SIZE, h - top) * tl.minimum(SIZE, w - left)
    tl.store(y + at, tl.div_rn(total, values.to(tl.float32)), here)


@triton.jit(do_not_specialize=["count", "h", "w", "rows", "columns"])
def _average_pool_gradient(g, dx, count, h, w, c,  # type: ignore[no-untyped-def]
                           rows, columns, SIZE: tl.constexpr, STRIDE: tl.constexpr,
                           WINDOWS: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    pixel = at // c
    row, column = pixel // w % h, pixel % w
    last_p, last_q = row // STRIDE, column // STRIDE
    image = pixel // (h * w) * rows * columns
    total = tl.zeros((TILE,), tl.float32)
    for i in tl.static_range(WINDOWS):
        for j in tl.static_range(WINDOWS):
            p, q = last_p - (WINDOWS - 1) + i, last_q - (WINDOWS - 1) + j
            inside = here & (p >= 0) & (p < rows) & (q >= 0) & (q < columns)
            inside = inside & (row - p * STRIDE < SIZE) & (column - q * STRIDE < SIZE)
            height, width = tl.minimum(SIZE, h - p * STRIDE), tl.minimum(SIZE, w - q * STRIDE)
            values = tl.where(inside, height * width, 1).to(tl.float32)
            gradient = tl.load(g + (image + p * columns + q) * c + at % c, inside, 0.0)
            total = total + tl.div_rn(gradient, values)
    tl.store(dx + at, total, here)


@triton.jit(do_not_specialize=["count", "h", "w"])
def _normalize(values, x, y, other, k, a, count, h, w, c,  # type: ignore[no-untyped-def]
               BACKWARD: tl.constexpr, REACH: tl.constexpr, REACH_C: tl.constexpr,
               TILE: tl.constexpr, WIDE: tl.constexpr):
    """Forward: values is x, other gets 1 / d. Backward: values is u, other is e, a is -C, y is
    dx."""
    at = _places(TILE, WIDE)
    here = at < count
    channel, pixel = at % c, at // c
    row, column = pixel // w % h, pixel % w
    window = tl.zeros((TILE,), tl.float32)
    for dy in tl.static_range(-REACH, REACH + 1):
        line = tl.zeros((TILE,), tl.float32)
        for dx in tl.static_range(-REACH, REACH + 1):
            for dc in tl.static_range(-REACH_C, REACH_C + 1):
                there = here & (row + dy >= 0) & (row + dy < h) & (column + dx >= 0)
                there = there & (column + dx < w) & (channel + dc >= 0) & (channel + dc < c)
                value = tl.load(values + at + (dy * w + dx) * c + dc, there, 0.0)
                line = line + value if BACKWARD else tl.fma(value, value, line)
        window = window + line
    own = tl.load(x + at, here, 0.0)
    if BACKWARD:
        tl.store(y + at, tl.fma(a * own, window, tl.load(other + at, here, 0.0)), here)
    else:
        one = tl.full((TILE,), 1.0, tl.float32)
        quotient = tl.div_rn(one, tl.fma(one * a, window, one * k))
        root = tl.sqrt_rn(quotient)
        tl.store(other + at, quotient, here)
        tl.store(y + at, own * (root * tl.sqrt_rn(root)), here)


@triton.jit(do_not_specialize=["count"])
def _through(g, x, quotient, direct, through, count,  # type: ignore[no-untyped-def]
             TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    q = tl.load(quotient + at, here, 1.0)
    root = tl.sqrt_rn(q)
    e = tl.load(g + at, here, 0.0) * (root * tl.sqrt_rn(root))
    tl.store(direct + at, e, here)
    tl.store(through + at, (e * tl.load(x + at, here, 0.0)) * q, here)


@triton.jit(do_not_specialize=["count", "momentum", "lr", "decay"])
def _update(weight, velocity, gradient, momentum, lr, decay,  # type: ignore[no-untyped-def]
            count, DECAY: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr):
    at = _places(TILE, WIDE)
    here = at < count
    w, g = tl.load(weight + at, here, 0.0), tl.load(gradient + at, here, 0.0)
    one = tl.full((TILE,), 1.0, tl.float32)
    v = tl.fma(one * lr, g, tl.load(velocity + at, here, 0.0) * momentum)
    if DECAY:
        v = tl.fma(one * decay, w, v)
    tl.store(velocity + at, v, here)
    tl.store(weight + at, w + v, here)


@triton.jit(do_not_specialize=["factor", "side", "stored"])
def _centred(crops, mean, tops, lefts, flips, offsets, x,  # type: ignore[no-untyped-def]
             factor, side, stored, WINDOWS: tl.constexpr, NOISE: tl.constexpr, TILE: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    here = at < 3 * side * side
    channel, column, row = at % 3, at // 3 % side, at // 3 // side
    if WINDOWS:
        top, left = tl.load(tops + image), tl.load(lefts + image)
        column = tl.where(tl.load(flips + image) != 0, side - 1 - column, column)
    else:
        top, left = (stored - side) // 2, (stored - side) // 2
    own = tl.load(mean + ((top + row) * stored + left + column) * 3 + channel, here, 0.0)
    value = tl.load(crops + image * 3 * side * side + at, here, 0).to(tl.float32) - own
    if NOISE:
        one = tl.full((TILE,), 1.0, tl.float32)
        added = tl.load(offsets + image * 3 + channel, here, 0.0) * factor
        value = tl.fma(one * factor, value, added)
    tl.store(x + image * 3 * side * side + at, value, here)
