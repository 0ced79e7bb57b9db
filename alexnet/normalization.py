"""The two normalisations of 2012: across neighbouring channels (P §3.3) and across neighbouring pixels (source only).

Both divide x by (k + scale * sum of squares in a window) ** 0.75. Their gradients are written out, so that they are
deterministic on every device (the stock layer's is not on CUDA), keep two tensors instead of six, and run through
a few images at a time, which then stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from alexnet.layers import Lrn

LRN = Lrn()  # P §3.3: n = 5, k = 2, alpha = 1e-4; beta = 0.75
SPATIAL_SIZE = 5  # S layers-145.cfg cnorm2a: size=5, scale=0.001, pow=0.75; k = 1
SPATIAL_K = 1.0
SPATIAL_SCALE = 0.001 / SPATIAL_SIZE**2  # S layer.py NormLayerParser: scale /= size ** 2
# beta is 0.75 in both: d ** -0.75 is computed as rsqrt(d) * sqrt(rsqrt(d)), several times faster than pow
BETA = 0.75

CACHE_VALUES = 1 << 17  # float32 values handled at a time on the CPU: half a megabyte

Window = Callable[[Tensor, Tensor], None]


def lrn(x: Tensor, divisor: str = "window", constants: Lrn = LRN) -> Tensor:
    """Local response normalisation, b_i = a_i / (k + alpha sum_j a_j^2) ^ beta, j within 2 channels of i (P §3.3).

    Args:
        x: float32 or float64 [n, channels, height, width]; windows are cut off at the first and the last channel.
        divisor: `window` divides alpha by 5, as the source does (and torch.nn.LocalResponseNorm); `none` does not.
        constants: those of the paper, or another net's.
    """
    scale = constants.alpha / constants.size if divisor == "window" else constants.alpha
    window = partial(channel_sums, size=constants.size)
    return cast(Tensor, _Normalize.apply(x, window, constants.k, scale))


def spatial_norm(x: Tensor) -> Tensor:
    """x / (1 + 4e-5 * sum of squares over the 5 x 5 pixels around it in its own map) ^ 0.75.

    Args:
        x: float32 or float64 [n, channels, height, width]; outside a map there is nothing to sum.
    """
    return cast(Tensor, _Normalize.apply(x, pixel_sums, SPATIAL_K, SPATIAL_SCALE))


def channel_sums(values: Tensor, sums: Tensor, size: int) -> None:
    """sums[:, c] = sum of values[:, c - size // 2 : c + size // 2 + 1], both [n, channels, height, width]."""
    _sliding_sums(values, sums, 1, size)


def pixel_sums(values: Tensor, sums: Tensor) -> None:
    """sums[..., y, x] = sum of values[..., y - 2 : y + 3, x - 2 : x + 3], all [n, channels, height, width]."""
    rows = torch.empty_like(values)
    _sliding_sums(values, rows, 3, SPATIAL_SIZE)
    _sliding_sums(rows, sums, 2, SPATIAL_SIZE)


def _sliding_sums(values: Tensor, sums: Tensor, dim: int, size: int) -> None:
    """Windows of odd size along one dimension, cut off at its ends; always added in the same order."""
    length = values.shape[dim]
    sums.copy_(values)
    for shift in range(1, size // 2 + 1):
        if shift < length:
            before, behind = values.narrow(dim, 0, length - shift), values.narrow(dim, shift, length - shift)
            sums.narrow(dim, shift, length - shift).add_(before)
            sums.narrow(dim, 0, length - shift).add_(behind)


def _parts(x: Tensor) -> int:
    """Images handled at a time: as many as fit the cache on a CPU, all of them elsewhere."""
    return max(1, CACHE_VALUES // max(1, x[0].numel())) if x.device.type == "cpu" and len(x) else max(1, len(x))


class _Normalize(Function):
    """y = x * d ** -beta with d = k + scale * window(x ** 2), for any symmetric window."""

    @staticmethod
    def forward(context: Any, x: Tensor, window: Window, k: float, scale: float) -> Tensor:
        x = x.contiguous()
        y, d = torch.empty_like(x), torch.empty_like(x)
        for start in range(0, len(x), part := _parts(x)):
            here = slice(start, start + part)
            window(x[here].square(), d[here])
            d[here].mul_(scale).add_(k)
            torch.mul(x[here], _power(d[here]), out=y[here])
        context.save_for_backward(x, d)
        context.window, context.scale = window, scale
        return y

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # dx = g * d^-b  -  2 b scale x * window(g * x * d^-b / d)
        x, d = context.saved_tensors
        gradient = gradient.contiguous()
        dx = torch.empty_like(x)
        for start in range(0, len(x), part := _parts(x)):
            here = slice(start, start + part)
            direct = _power(d[here]).mul_(gradient[here])
            through = (direct * x[here]).div_(d[here])
            sums = torch.empty_like(through)
            context.window(through, sums)
            torch.addcmul(direct, sums, x[here], value=-2.0 * BETA * context.scale, out=dx[here])
        return dx, None, None, None


def _power(d: Tensor) -> Tensor:
    """d ** -0.75, for d > 0."""
    root = d.rsqrt()
    return root.sqrt().mul_(root)
