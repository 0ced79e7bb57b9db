"""The two normalisations of 2012: across channels (P §3.3) and across pixels (source only).

Both divide x by (k + scale * sum of squares in a window) ** 0.75. Their gradients are written out,
so that they are deterministic on every device (the stock layer's is not on CUDA), keep two tensors
instead of six, and handle a part at a time that stays in the processor's cache. A pixel's channels
are side by side in memory ("channels last"), which suits the convolutions and the pooling best;
windows are sums of a zero-padded copy and itself, shifted.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from alexnet.arithmetic.operators import Normalization
from alexnet.draws import has_triton
from alexnet.layers import Lrn

LRN = Lrn()  # P §3.3: n = 5, k = 2, alpha = 1e-4; beta = 0.75
SPATIAL_SIZE = 5  # S layers-145.cfg cnorm2a: size=5, scale=0.001, pow=0.75; k = 1
SPATIAL_K = 1.0
SPATIAL_SCALE = 0.001 / SPATIAL_SIZE**2  # S layer.py NormLayerParser: scale /= size ** 2
# beta is 0.75 in both: with r = rsqrt(d), d ** -0.75 is r * sqrt(r), several times faster than pow
BETA = 0.75

CACHE_VALUES = 1 << 18  # float32 values handled at a time on the CPU: a megabyte


def lrn(x: Tensor, divisor: str = "window", constants: Lrn = LRN) -> Tensor:
    """Normalise the local response, b_i = a_i / (k + alpha sum_j a_j^2) ^ beta (P §3.3).

    The sum is over the channels j within 2 of i, and cut off at the first and the last channel.

    Args:
        x: float32, float64 or bfloat16 [n, channels, height, width].
        divisor: `window` divides alpha by 5, as the source does (and torch.nn.LocalResponseNorm);
            `none` does not.
        constants: those of the paper, or another net's.

    Returns:
        The same shape, channels last.
    """
    scale = constants.alpha / constants.size if divisor == "window" else constants.alpha
    return cast(Tensor, _Normalize.apply(x, _ACROSS_CHANNELS, constants.size, constants.k, scale))


def spatial_norm(x: Tensor) -> Tensor:
    """Return x / (1 + 4e-5 * sum of squares over the 5 x 5 pixels around it in its map) ^ 0.75.

    Args:
        x: float32, float64 or bfloat16 [n, channels, height, width]; outside a map there is nothing
            to sum.

    Returns:
        The same shape, channels last.
    """
    return cast(Tensor, _Normalize.apply(x, _ACROSS_PIXELS, SPATIAL_SIZE, SPATIAL_K,
                                         SPATIAL_SCALE))


# Of [n, height, width, channels], the dimensions that windows extend in:
_ACROSS_CHANNELS, _ACROSS_PIXELS = (3,), (2, 1)
ACROSS = {_ACROSS_CHANNELS: "channels", _ACROSS_PIXELS: "pixels"}


class _Window:
    """Sums over windows of odd size, of a part of [n, height, width, channels] at a time.

    Args:
        like: the largest part, [n, height, width, channels].
        dims: the dimensions that the windows extend in.
        size: of the windows; they are cut off at the edges.
    """

    def __init__(self, like: Tensor, dims: tuple[int, ...], size: int) -> None:
        self.dims, self.size = dims, size
        self.shape = [length + (size - 1 if dim in dims else 0)
                      for dim, length in enumerate(like.shape)]
        self.strides = [math.prod(self.shape[dim + 1:]) for dim in range(4)]
        reach = sum((size - 1) * self.strides[dim] for dim in dims)  # past the end, for the shifts
        self.values = like.new_zeros(math.prod(self.shape) + reach)

    def inside(self, count: int) -> Tensor:
        """Return where the values of `count` images belong; what surrounds them stays 0."""
        return self._view(self.values, count, self.size // 2)

    def sums(self, count: int) -> Tensor:
        """Return the windows' sums over what `inside` holds, added in a fixed order."""
        sums = self.values
        for dim in self.dims:
            sums = _sliding_sums(sums, self.strides[dim], self.size)
        return self._view(sums, count, 0)

    def _view(self, flat: Tensor, count: int, offset: int) -> Tensor:
        view = flat[: math.prod(self.shape)].view(self.shape)[:count]
        for dim in self.dims:
            view = view.narrow(dim, offset, self.shape[dim] - self.size + 1)
        return view


def _sliding_sums(values: Tensor, stride: int, size: int) -> Tensor:
    """Return values[i] + values[i + stride] + ..., of `size` values, for each i that has them.

    They are put together of sums of one, two, four, ... values.
    """
    total, covered, powers, width = values, 0, values, 1
    while True:
        if size & width:
            total = powers if not covered else _added(total, powers, covered * stride)
            covered += width
        if 2 * width > size:
            return total
        powers, width = _added(powers, powers, width * stride), 2 * width


def _added(a: Tensor, b: Tensor, shift: int) -> Tensor:
    length = min(len(a), len(b) - shift)
    return a[:length] + b[shift: shift + length]


def _layout(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, int]:
    """Return x with its channels last, and how many of its rows to handle at a time.

    It is contiguous [n, height, width, channels], or [n * height * width, 1, 1, channels] where
    pixels do not mix. On a CPU as many rows are handled as fit the cache, elsewhere all of them.
    """
    last = x.permute(0, 2, 3, 1).contiguous()
    if last.dtype == torch.bfloat16:
        last = last.float()  # squares and their sums are not left to 8 bits
    if dims == _ACROSS_CHANNELS:
        last = last.view(-1, 1, 1, last.shape[3])
    part = len(last)
    if x.device.type == "cpu" and len(last):
        part = CACHE_VALUES // max(1, last[0].numel())
    return last, max(1, min(part, len(last)))


class _Normalize(Function):
    """y = x * d ** -beta with d = k + scale * window(x ** 2), for any symmetric window."""

    @staticmethod
    def forward(context: Any, x: Tensor, dims: tuple[int, ...], size: int, k: float,
                scale: float) -> Tensor:
        values, part = _layout(x, dims)
        if _has_kernel(values):
            from alexnet.arithmetic.gpu import maps_triton

            y, kept = maps_triton.normalized(values, Normalization(size, k, scale), ACROSS[dims])
        else:
            y, kept = _forward(values, part, dims, size, k, scale)
        context.save_for_backward(values, kept)
        context.dims, context.size, context.k, context.scale = dims, size, k, scale
        return _maps(y, x.shape).to(x.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, kept = context.saved_tensors
        g, part = _layout(gradient, context.dims)
        dims, size, k, scale = context.dims, context.size, context.k, context.scale
        if _has_kernel(values):
            from alexnet.arithmetic.gpu import maps_triton

            dx = maps_triton.normalized_gradient(g, values, kept, Normalization(size, k, scale),
                                                 ACROSS[dims])
        else:
            dx = _backward(values, kept, g, part, dims, size, -2.0 * BETA * scale)
        return _maps(dx, gradient.shape).to(gradient.dtype), None, None, None, None


def _has_kernel(values: Tensor) -> bool:
    """Return whether there is a kernel: for float32 on a GPU, where PyTorch comes with Triton."""
    return values.is_cuda and values.dtype == torch.float32 and has_triton()


def _forward(values: Tensor, part: int, dims: tuple[int, ...], size: int, k: float,
             scale: float) -> tuple[Tensor, Tensor]:
    """Return y and root = d ** -0.5, computed some rows at a time."""
    y, root = torch.empty_like(values), torch.empty_like(values)
    window = _Window(values[:part], dims, size)
    for start in range(0, len(values), part):
        here = slice(start, start + part)
        count = len(values[here])
        torch.square(values[here], out=window.inside(count))
        torch.mul(window.sums(count), scale, out=root[here])
        root[here].add_(k).rsqrt_()
        torch.sqrt(root[here], out=y[here])
        y[here].mul_(root[here]).mul_(values[here])
    return y, root


def _backward(values: Tensor, root: Tensor, gradient: Tensor, part: int, dims: tuple[int, ...],
              size: int, factor: float) -> Tensor:
    """Return dx = g * d^-b + factor x * window(g * x * d^-b / d), where factor = -2 b scale."""
    dx = torch.empty_like(values)
    window = _Window(values[:part], dims, size)
    for start in range(0, len(values), part):
        here = slice(start, start + part)
        count = len(values[here])
        direct = root[here].sqrt().mul_(root[here]).mul_(gradient[here])
        through = (direct * values[here]).mul_(root[here])
        torch.mul(through, root[here], out=window.inside(count))
        torch.addcmul(direct, window.sums(count), values[here], value=factor, out=dx[here])
    return dx


def _maps(values: Tensor, shape: torch.Size) -> Tensor:
    """Return what `_layout` made of maps as [n, channels, height, width] again."""
    n, channels, height, width = shape
    return values.view(n, height, width, channels).permute(0, 3, 1, 2)
