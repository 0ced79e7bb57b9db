"""The normalisations' two passes for NVIDIA GPUs, each a Triton kernel that reads its inputs once.

The plain twin is `normalization.py`, whose formulas these are; the sums of a window may be added in
another order. A program computes some pixels with all their channels; every output value is written
by one program, which adds its window in a fixed order, so nothing depends on scheduling. Triton
comes with PyTorch's builds for CUDA.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

VALUES = 4096  # handled by a program


def forward(values: Tensor, dims: tuple[int, ...], size: int, k: float,
            scale: float) -> tuple[Tensor, Tensor]:
    """Return y and root = d ** -0.5, where d = k + scale * window(x ** 2).

    Args:
        values: x, contiguous float32 [n, height, width, channels].
        dims: the dimensions that windows extend in.
        size: of the windows.
        k, scale: constants of the normalisation.

    Returns:
        Two tensors of the shape of `values`.
    """
    y, root = torch.empty_like(values), torch.empty_like(values)
    grid, shape = _grid(values, dims, size)
    _forward[grid](values, y, root, k, scale, **shape)
    return y, root


def backward(values: Tensor, root: Tensor, gradient: Tensor, dims: tuple[int, ...], size: int,
             factor: float) -> Tensor:
    """Return g * d ** -0.75 + factor * x * window(g * x * d ** -1.75).

    Args:
        values: x, as for `forward`.
        root: d ** -0.5, as `forward` returned it.
        gradient: g, of the loss by y, of the same shape.
        dims, size: as for `forward`.
        factor: -2 beta scale.

    Returns:
        The gradient of the loss by x.
    """
    dx = torch.empty_like(values)
    grid, shape = _grid(values, dims, size)
    _backward[grid](values, root, gradient, dx, factor, **shape)
    return dx


def _grid(values: Tensor, dims: tuple[int, ...], size: int) -> tuple[tuple[int], dict[str, int]]:
    """Return the number of programs, and the kernels' arguments about shapes."""
    n, height, width, channels = values.shape
    block = triton.next_power_of_2(channels)
    rows = max(1, VALUES // block)
    reach_y, reach_x, reach_c = (size // 2 if dim in dims else 0 for dim in (1, 2, 3))
    return (triton.cdiv(n * height * width, rows),), {
        "pixels": n * height * width, "HEIGHT": height, "WIDTH": width, "CHANNELS": channels,
        "ROWS": rows, "BLOCK": block, "REACH_Y": reach_y, "REACH_X": reach_x, "REACH_C": reach_c}


@triton.jit
def _forward(x, y, root, k, scale, pixels,  # type: ignore[no-untyped-def]
             HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
             BLOCK: tl.constexpr, REACH_Y: tl.constexpr, REACH_X: tl.constexpr,
             REACH_C: tl.constexpr):
    pixel = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
    channel = tl.arange(0, BLOCK)[None, :]
    row, column = pixel // WIDTH % HEIGHT, pixel % WIDTH
    here = (pixel < pixels) & (channel < CHANNELS)
    at = pixel * CHANNELS + channel
    sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for dy in tl.static_range(-REACH_Y, REACH_Y + 1):
        for dx in tl.static_range(-REACH_X, REACH_X + 1):
            for dc in tl.static_range(-REACH_C, REACH_C + 1):
                there = here & (row + dy >= 0) & (row + dy < HEIGHT)
                there = there & (column + dx >= 0) & (column + dx < WIDTH)
                there = there & (channel + dc >= 0) & (channel + dc < CHANNELS)
                value = tl.load(x + at + (dy * WIDTH + dx) * CHANNELS + dc, there, 0.0)
                sums += value * value
    r = 1.0 / tl.sqrt(sums * scale + k)
    tl.store(root + at, r, here)
    tl.store(y + at, tl.sqrt(r) * r * tl.load(x + at, here, 0.0), here)


@triton.jit
def _backward(x, root, gradient, dx_, factor, pixels,  # type: ignore[no-untyped-def]
              HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
              BLOCK: tl.constexpr, REACH_Y: tl.constexpr, REACH_X: tl.constexpr,
             REACH_C: tl.constexpr):
    pixel = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
    channel = tl.arange(0, BLOCK)[None, :]
    row, column = pixel // WIDTH % HEIGHT, pixel % WIDTH
    here = (pixel < pixels) & (channel < CHANNELS)
    at = pixel * CHANNELS + channel
    sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for dy in tl.static_range(-REACH_Y, REACH_Y + 1):
        for dx in tl.static_range(-REACH_X, REACH_X + 1):
            for dc in tl.static_range(-REACH_C, REACH_C + 1):
                there = here & (row + dy >= 0) & (row + dy < HEIGHT)
                there = there & (column + dx >= 0) & (column + dx < WIDTH)
                there = there & (channel + dc >= 0) & (channel + dc < CHANNELS)
                near = at + (dy * WIDTH + dx) * CHANNELS + dc
                r = tl.load(root + near, there, 0.0)
                product = tl.load(gradient + near, there, 0.0) * tl.load(x + near, there, 0.0)
                sums += product * tl.sqrt(r) * r * r * r
    r = tl.load(root + at, here, 0.0)
    direct = tl.load(gradient + at, here, 0.0) * (tl.sqrt(r) * r)
    tl.store(dx_ + at, direct + factor * tl.load(x + at, here, 0.0) * sums, here)
