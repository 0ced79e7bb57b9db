"""Chains, blocks and sums of docs/arithmetic.md, sections 2 and 3: each output is one chain of
fused multiply-adds, or a sum, in the order of that page.

A program computes a tile of outputs. Terms beyond the last one are zeros, which no bit shows. The
sizes of the tiles decide the speed alone.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS, DEPTH, WARPS = 128, 64, 16, 4  # of a tile, at most; its terms at a time; its warps
LEAST = 16  # rows or columns of a tile, for the compiler
PROGRAMS = 256  # that fill a large GPU
BLOCK = 128  # terms of a chain, after which `blocks` begins another
LANES = 256  # sums of a program
PARTIAL = 1 << 26  # values of the gradients of single images that are kept at a time: 256 MB


def product(a: Tensor, b: Tensor, bias: Tensor | None, block: int | None) -> Tensor:
    """Return y[z, m, n], a sum of chains over k of a[z, m, k] * b[z, k, n], plus bias[z, n].

    Args:
        a, b: float32 [z, m, k] and [z, k, n], in any order of dimensions in memory.
        bias: float32 [z, n], contiguous, or None for +0.
        block: terms of a chain, a multiple of the depth of a tile; None for one chain over all.
    """
    (batch, m, k), n = a.shape, b.shape[2]
    y = torch.empty((batch, m, n), device=a.device)
    tile_m, tile_n = _tile(m, ROWS), _tile(n, COLUMNS)
    grid = (triton.cdiv(m, tile_m), triton.cdiv(n, tile_n), batch)
    block = block or triton.cdiv(k, DEPTH) * DEPTH
    blocks = triton.cdiv(k, block)
    # Few outputs: a program for each block of a tile, and the chains are added afterwards.
    apart = blocks > 1 and math.prod(grid) < PROGRAMS
    chains = torch.empty((batch, blocks, m * n), device=a.device) if apart else y
    _product[(*grid[:2], batch * blocks) if apart else grid](
        a, b, y if bias is None else bias, chains, m, n, k, *a.stride(), *b.stride(), block,
        blocks if apart else 1, BIAS=bias is not None and not apart, APART=apart, TILE_M=tile_m,
        TILE_N=tile_n, TILE_K=DEPTH,
        num_warps=2 * WARPS,  # there are two sums of each output in the registers
        enable_fp_fusion=False)
    if apart:
        add_in_order(chains, y.view(batch, m * n).zero_())
        if bias is not None:
            y += bias[:, None]
    return y


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, rows: int, columns: int,
                stride: int, up: int, before: int) -> Tensor:
    """Return y[n, p, q, o], a chain over (i, j, c) of x[n, h, w, c] * weight[i, j, c, o], plus
    bias[o], where h * up = p * stride + i - before, and likewise w.

    Args:
        x: float32 [n, h, w, c], contiguous.
        weight: float32 [size, size, c, o], contiguous.
        bias: float32 [o], or None for +0.
        rows, columns: of the result.
        stride, before: pixels between two windows, and zeros before the first row and column.
        up: distance of the rows and columns of x, between which there are zeros: 1, but on the way
            back through a convolution with a stride.
    """
    n, h, w, c = x.shape
    size, outputs = weight.shape[0], weight.shape[3]
    y = torch.empty((n, rows, columns, outputs), device=x.device)
    tile_n = _tile(outputs, COLUMNS)
    grid = (triton.cdiv(n * rows * columns, ROWS), triton.cdiv(outputs, tile_n))
    _convolution[grid](x, weight, y if bias is None else bias, y, n * rows * columns, h, w, c,
                       rows, columns, outputs, size, stride, before, up, BIAS=bias is not None,
                       TILE_M=ROWS, TILE_N=tile_n, TILE_K=DEPTH, num_warps=WARPS,
                       enable_fp_fusion=False)
    return y


def convolution_weight_gradient(g: Tensor, x: Tensor, size: int, stride: int,
                                before: int) -> Tensor:
    """Return dw[o, i, j, c], the sum over images n of chains over (p, q) of g[n, p, q, o] *
    x[n, p * stride + i - before, q * stride + j - before, c].

    Args:
        g: float32 [n, rows, columns, o], contiguous.
        x: float32 [n, h, w, c], contiguous.
        size, stride, before: of the convolution.
    """
    n, rows, columns, outputs = g.shape
    h, w, c = x.shape[1:]
    k = size * size * c
    dw = torch.zeros((1, outputs * k), device=x.device)
    tile_m, tile_n = _tile(outputs, COLUMNS), _tile(k, ROWS)
    some = max(1, PARTIAL // (outputs * k))
    for start in range(0, n, some):
        images = min(some, n - start)
        chains = torch.empty((1, images, outputs * k), device=x.device)
        grid = (triton.cdiv(outputs, tile_m), triton.cdiv(k, tile_n), images)
        _weight_gradient[grid](g[start:], x[start:], chains, h, w, c, rows, columns, outputs, size,
                               stride, before, TILE_M=tile_m, TILE_N=tile_n, TILE_K=DEPTH,
                               num_warps=WARPS, enable_fp_fusion=False)
        add_in_order(chains, dw)
    return dw.view(outputs, size, size, c)


def _tile(outputs: int, most: int) -> int:
    """Return how many rows or columns a tile has, where there are so many outputs."""
    return min(most, max(LEAST, int(triton.next_power_of_2(outputs))))


def add_in_order(terms: Tensor, total: Tensor) -> None:
    """Add terms[z, 0, n], terms[z, 1, n], ... to total[z, n], one after another, in place.

    Args:
        terms: float32 or float64 [z, k, n], contiguous.
        total: of the same type, [z, n], contiguous; +0 for a sum.
    """
    batch, k, n = terms.shape
    _sums[(triton.cdiv(n, LANES), batch)](terms, total, k, n, TILE=LANES, num_warps=4,
                                          enable_fp_fusion=False)


@triton.jit
def _product(a, b, bias, y, m, n, k, a_z, a_m, a_k, b_z, b_k, b_n,  # type: ignore[no-untyped-def]
             block, blocks, BIAS: tl.constexpr, APART: tl.constexpr, TILE_M: tl.constexpr,
             TILE_N: tl.constexpr, TILE_K: tl.constexpr):
    result = tl.program_id(2).to(tl.int64)
    batch = result // blocks
    row = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)[:, None]
    column = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)[None, :]
    a_row = a + batch * a_z + row.to(tl.int64) * a_m
    b_column = b + batch * b_z + column.to(tl.int64) * b_n
    total = tl.zeros((TILE_M, TILE_N), tl.float32)
    begin = tl.program_id(2) % blocks * block if APART else 0
    end = tl.minimum(begin + block, k) if APART else k
    for first in range(begin, end, block):
        chain = tl.zeros((TILE_M, TILE_N), tl.float32)
        for start in range(first, tl.minimum(first + block, k), TILE_K):
            term = start + tl.arange(0, TILE_K)
            across, down = term[None, :], term[:, None]
            a_tile = tl.load(a_row + across.to(tl.int64) * a_k, (row < m) & (across < k), 0.0)
            b_tile = tl.load(b_column + down.to(tl.int64) * b_k, (down < k) & (column < n), 0.0)
            chain = tl.dot(a_tile, b_tile, chain, input_precision="ieee")
        total = total + chain
    if BIAS:
        total = total + tl.load(bias + batch * n + column, column < n, 0.0)
    tl.store(y + (result * m + row) * n + column, total, (row < m) & (column < n))


@triton.jit(do_not_specialize=["pixels", "h", "w", "rows", "columns", "size", "stride", "before"])
def _convolution(x, weight, bias, y, pixels, h, w, c,  # type: ignore[no-untyped-def]
                 rows, columns, outputs, size, stride, before, UP: tl.constexpr,
                 BIAS: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
                 TILE_K: tl.constexpr):
    pixel = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)[:, None]
    output = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)[None, :]
    image = x + (pixel // (rows * columns)).to(tl.int64) * (h * w * c)
    top = pixel // columns % rows * stride - before
    left = pixel % columns * stride - before
    k = size * size * c
    chain = tl.zeros((TILE_M, TILE_N), tl.float32)
    for start in range(0, k, TILE_K):
        term = start + tl.arange(0, TILE_K)
        across, down = term[None, :], term[:, None]
        place = across // c
        row, column = top + place // size, left + place % size
        inside = (pixel < pixels) & (across < k) & (row >= 0) & (column >= 0)
        if UP != 1:
            inside = inside & (row % UP == 0) & (column % UP == 0)
            row, column = row // UP, column // UP
        inside = inside & (row < h) & (column < w)
        x_tile = tl.load(image + (row * w + column) * c + across % c, inside, 0.0)
        w_tile = tl.load(weight + down * outputs + output, (down < k) & (output < outputs), 0.0)
        chain = tl.dot(x_tile, w_tile, chain, input_precision="ieee")
    added = tl.zeros((1, TILE_N), tl.float32)
    if BIAS:
        added = added + tl.load(bias + output, output < outputs, 0.0)  # -0 counts as +0
    tl.store(y + pixel.to(tl.int64) * outputs + output, chain + added,
             (pixel < pixels) & (output < outputs))


@triton.jit(do_not_specialize=["h", "w", "rows", "columns", "size", "stride", "before"])
def _weight_gradient(g, x, chains, h, w, c, rows, columns,  # type: ignore[no-untyped-def]
                     outputs, size, stride, before, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
                     TILE_K: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    output = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)[:, None]
    weight = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)[None, :]
    k, pixels = size * size * c, rows * columns
    place = weight // c
    top, left = place // size - before, place % size - before
    g, x = g + image * pixels * outputs, x + image * (h * w * c) + weight % c
    chain = tl.zeros((TILE_M, TILE_N), tl.float32)
    for start in range(0, pixels, TILE_K):
        pixel = start + tl.arange(0, TILE_K)
        across, down = pixel[None, :], pixel[:, None]
        row, column = down // columns * stride + top, down % columns * stride + left
        inside = ((down < pixels) & (weight < k) & (row >= 0) & (row < h) & (column >= 0)
                  & (column < w))
        x_tile = tl.load(x + (row * w + column) * c, inside, 0.0)
        g_tile = tl.load(g + across * outputs + output, (across < pixels) & (output < outputs), 0.0)
        chain = tl.dot(g_tile, x_tile, chain, input_precision="ieee")
    tl.store(chains + (image * outputs + output) * k + weight, chain,
             (output < outputs) & (weight < k))


@triton.jit(do_not_specialize=["k", "n"])
def _sums(terms, total, k, n, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    batch = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * TILE + tl.arange(0, TILE)
    here = column < n
    at = terms + batch * k * n + column
    sums = tl.load(total + batch * n + column, here, 0.0)
    for start in range(0, k, 8):  # eight loads are under way while their terms are added
        for part in tl.static_range(8):
            row = tl.full((TILE,), part, tl.int64) + start
            sums = sums + tl.load(at + row * n, here & (row < k), 0.0)
    tl.store(total + batch * n + column, sums, here)
