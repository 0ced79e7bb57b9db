"""Cross-entropy, its gradient, and the functions of float64 that they need: docs/arithmetic.md,
sections 5 and 6."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from alexnet.arithmetic.gpu.products_triton import add_in_order

IMAGES = 32  # of a program that adds over classes


def cross_entropy(logits: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of the images' losses, how many are wrong, and the gradient of the logits.

    Args:
        logits: float32 [n, classes], contiguous.
        labels: int64 [n], 0 .. classes - 1.
        batch: images in the whole update, by which the gradient is divided.

    Returns:
        float64 [1], int64 scalar, float32 [n, classes].
    """
    n, classes = logits.shape
    exponentials = torch.empty((n, classes), dtype=torch.float64, device=logits.device)
    sums = torch.empty(n, dtype=torch.float64, device=logits.device)
    losses = torch.empty_like(sums)
    wrong = torch.empty(n, dtype=torch.int64, device=logits.device)
    gradient = torch.empty_like(logits)
    tile = triton.next_power_of_2(classes)
    _exponentials[(n,)](logits, labels, exponentials, losses, wrong, classes, TILE=tile,
                        enable_fp_fusion=False)
    _over_classes[(triton.cdiv(n, IMAGES),)](exponentials, sums, losses, n, classes, TILE=IMAGES,
                                             num_warps=1, enable_fp_fusion=False)
    _gradient[(n,)](exponentials, sums, labels, gradient, classes, batch, TILE=tile,
                    enable_fp_fusion=False)
    total = torch.zeros((1, 1), dtype=torch.float64, device=logits.device)
    add_in_order(losses.view(1, n, 1), total)
    return total.view(1), wrong.sum(), gradient


def mean(total: Tensor, batch: int) -> Tensor:
    """Return total / batch, float64 [1], as a float32 scalar.

    PyTorch's division by a number is a product with its inverse on a GPU.
    """
    result = torch.empty((), dtype=torch.float32, device=total.device)
    _divide[(1,)](total, result, batch, num_warps=1, enable_fp_fusion=False)
    return result


ROUNDING = tl.constexpr(float.fromhex("0x1.8p52"))  # x + this - this: the nearest integer
PER_LN2, LN2_UPPER, LN2_LOWER = (tl.constexpr(float.fromhex(text)) for text in (
    "0x1.71547652b82fep+0", "0x1.62e42feep-1", "0x1.a39ef35793c76p-33"))
P1, P2, P3, P4, P5 = (tl.constexpr(float.fromhex(text)) for text in (
    "0x1.555555555553ep-3", "-0x1.6c16c16bebd93p-9", "0x1.1566aaf25de2cp-14",
    "-0x1.bbd41c5d26bf1p-20", "0x1.6376972bea4d0p-25"))
L1, L2, L3, L4, L5, L6, L7 = (tl.constexpr(float.fromhex(text)) for text in (
    "0x1.5555555555593p-1", "0x1.999999997fa04p-2", "0x1.2492494229359p-2",
    "0x1.c71c51d8e78afp-3", "0x1.7466496cb03dep-3", "0x1.39a09d078c69fp-3",
    "0x1.2f112df3e5244p-3"))
T1, T2, T3 = (tl.constexpr(number) for number in (-1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0))


@triton.jit
def exp_64(x):  # type: ignore[no-untyped-def]
    """exp of float64, x <= 709."""
    k = (x * PER_LN2 + ROUNDING) - ROUNDING
    h, low = x - k * LN2_UPPER, k * LN2_LOWER
    r = h - low
    t = r * r
    c = r - t * (t * (t * (t * (t * P5 + P4) + P3) + P2) + P1)
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - h)
    # two factors, since 2 ** 1024 is none
    half = k.to(tl.int64) >> 1
    first = ((half + 1023) << 52).to(tl.float64, bitcast=True)
    second = ((k.to(tl.int64) - half + 1023) << 52).to(tl.float64, bitcast=True)
    return tl.where(x < -708.0, 0.0, (y * first) * second)


@triton.jit
def log_64(x):  # type: ignore[no-untyped-def]
    """log of float64, x positive and normal; what is not finite stays what it is."""
    bits = x.to(tl.int64, bitcast=True)
    k = ((bits >> 32) - 0x3FE6A09E) >> 20
    f = (bits - (k << 52)).to(tl.float64, bitcast=True) - 1.0
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    a = w * (w * (w * L6 + L4) + L2)
    b = z * (w * (w * (w * L7 + L5) + L3) + L1)
    q = (f * 0.5) * f
    d = k.to(tl.float64)
    result = d * LN2_UPPER - ((q - (s * (q + (b + a)) + d * LN2_LOWER)) - f)
    return tl.where(x < float("inf"), result, x)


@triton.jit
def tanh_32(x):  # type: ignore[no-untyped-def]
    """tanh of float32, through float64."""
    a = tl.abs(x).to(tl.float64)
    z = a * a
    small = a + (a * z) * (z * (z * T3 + T2) + T1)
    large = 1.0 - 2.0 / (exp_64(tl.minimum(a, 10.0) * 2.0) + 1.0)
    t = tl.where(a < 0.0078125, small, tl.where(a >= 10.0, 1.0, large)).to(tl.float32)
    bits = t.to(tl.int32, bitcast=True) | (x.to(tl.int32, bitcast=True) & -2147483648)
    return tl.where(x != x, x, bits.to(tl.float32, bitcast=True))


@triton.jit(do_not_specialize=["classes"])
def _exponentials(logits, labels, exponentials, losses, wrong,  # type: ignore[no-untyped-def]
                  classes, TILE: tl.constexpr):
    """losses gets the logit of the label, less the greatest one."""
    image = tl.program_id(0).to(tl.int64)
    number = tl.arange(0, TILE)
    here = number < classes
    z = tl.load(logits + image * classes + number, here, float("-inf"))
    greatest = tl.max(z, 0)
    first = tl.min(tl.where(here & (z == greatest), number, TILE), 0)
    label = tl.load(labels + image)
    top = greatest.to(tl.float64)
    x = tl.where(here, z, greatest).to(tl.float64) - top
    tl.store(exponentials + image * classes + number, exp_64(x), here)
    own = tl.load(logits + image * classes + label).to(tl.float64)
    tl.store(losses + image, own - top)
    tl.store(wrong + image, (first != label).to(tl.int64))


@triton.jit(do_not_specialize=["n", "classes"])
def _over_classes(exponentials, sums, losses, n, classes,  # type: ignore[no-untyped-def]
                  TILE: tl.constexpr):
    image = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    here = image < n
    total = tl.zeros((TILE,), tl.float64)
    for start in range(0, classes, 8):
        for part in tl.static_range(8):
            number = tl.full((TILE,), part, tl.int64) + start
            at = exponentials + image * classes + number
            total = total + tl.load(at, here & (number < classes), 0.0)
    total = tl.where(here, total, 1.0)
    tl.store(sums + image, total, here)
    tl.store(losses + image, log_64(total) - tl.load(losses + image, here, 0.0), here)


@triton.jit(do_not_specialize=["classes", "batch"])
def _gradient(exponentials, sums, labels, gradient, classes,  # type: ignore[no-untyped-def]
              batch, TILE: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    number = tl.arange(0, TILE)
    here = number < classes
    e = tl.load(exponentials + image * classes + number, here, 0.0)
    right = (number == tl.load(labels + image)).to(tl.float64)
    divided = (e / tl.load(sums + image) - right) / batch.to(tl.float64)
    tl.store(gradient + image * classes + number, divided.to(tl.float32), here)


@triton.jit(do_not_specialize=["batch"])
def _divide(total, result, batch):  # type: ignore[no-untyped-def]
    tl.store(result, (tl.load(total) / batch.to(tl.float64)).to(tl.float32))
