"""Random numbers as a pure function of (seed, purpose, when, index), by Philox4x32-10.

Nothing here has a state, so no draw depends on who asked first, on the number of processes, or on
where a run was resumed. The arithmetic is in integers, hence the same on every device; Gaussians
are computed in float64 on the CPU and rounded to float32.

Source of the counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
as 1, 2, 3" (2011).
"""

from __future__ import annotations

import functools
import importlib.util
import math
import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_CHUNK = 1 << 18  # counters at a time, whose intermediate values stay in the processor's cache

_Words = TypeVar("_Words", Tensor, NDArray[np.int64])


def philox(key: tuple[int, int], counter: tuple[_Words | int, ...]) -> list[_Words | int]:
    """Return four words of 32 random bits for each counter.

    Args:
        key: two words of 32 bits.
        counter: four words of 32 bits, least significant first, each an int64 tensor or array, or
            one number for all.

    Returns:
        Four of the same, values 0 .. 2**32 - 1.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The product of two 32-bit words wraps in int64, but has the bits of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK,
                          ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def words(seed: int, purpose: str, when: int, indices: Tensor) -> Tensor:
    """Return four words of 32 random bits for each index, int64 [n, 4], values 0 .. 2**32 - 1.

    Args:
        seed: of the run; its lower 64 bits count.
        purpose: what is drawn: draws for different purposes are independent.
        when: the epoch or the step.
        indices: integers [n], 0 or more.
    """
    key, fixed = _key(seed), _fixed(purpose, when)
    indices = indices.to(torch.int64)
    if indices.device.type == "cpu":  # numpy's operations begin sooner than PyTorch's
        array = indices.numpy()
        drawn = philox(key, (array & _MASK, array >> 32, *fixed))
        return torch.from_numpy(np.stack(np.broadcast_arrays(*drawn), -1))
    random = philox(key, (indices & _MASK, indices >> 32, *fixed))
    return torch.stack(torch.broadcast_tensors(*random), dim=-1)


def _key(seed: int) -> tuple[int, int]:
    return seed & _MASK, (seed >> 32) & _MASK


def _fixed(purpose: str, when: int) -> tuple[int, int]:
    """Return the upper two words of the counters."""
    return when & _MASK, zlib.crc32(purpose.encode())


@functools.cache
def has_triton() -> bool:
    """Return whether PyTorch comes with Triton here, in which the kernels for GPUs are written."""
    return importlib.util.find_spec("triton") is not None


def integers(words_: Tensor, below: int | Tensor) -> Tensor:
    """Turn words into integers 0 .. below - 1; `below` may be another for each word.

    No value is likelier than another by more than below / 2**32.
    """
    return (words_ * below) >> 32


def gaussians(words_: Tensor) -> Tensor:
    """Turn words [n, 4] into standard Gaussians, float64 [n, 4] (Box and Muller)."""
    uniform = (words_.to(torch.float64) + 0.5) / 2.0**32
    radius = torch.sqrt(-2.0 * torch.log(uniform[:, 0::2]))
    angle = 2.0 * math.pi * uniform[:, 1::2]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


def gaussian_tensor(seed: int, purpose: str, shape: tuple[int, ...], std: float,
                    turn: Callable[[Tensor], Tensor] = gaussians) -> Tensor:
    """Return Gaussians of zero mean, float32 of this shape, on the CPU.

    Args:
        seed: of the run.
        purpose: what is drawn.
        shape: of the result.
        std: standard deviation.
        turn: words into Gaussians, as `gaussians` does.
    """
    count = math.prod(shape)
    drawn = torch.empty(count, dtype=torch.float32)
    for start in range(0, count, 4 * _CHUNK):
        stop = min(start + 4 * _CHUNK, count)
        indices = torch.arange(start // 4, (stop + 3) // 4)
        scaled = turn(words(seed, purpose, 0, indices)) * std
        drawn[start:stop] = scaled.flatten()[: stop - start]
    return drawn.view(shape)


def uniform_tensor(seed: int, purpose: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return numbers, evenly spread from -bound to bound, float32 of this shape, on the CPU.

    Args:
        seed: of the run.
        purpose: what is drawn.
        shape: of the result.
        bound: of their magnitude.
    """
    count = math.prod(shape)
    drawn = torch.empty(count, dtype=torch.float32)
    for start in range(0, count, 4 * _CHUNK):
        stop = min(start + 4 * _CHUNK, count)
        indices = torch.arange(start // 4, (stop + 3) // 4)
        numbers = (2.0 * uniform(words(seed, purpose, 0, indices)) - 1.0) * bound
        drawn[start:stop] = numbers.flatten()[: stop - start]
    return drawn.view(shape)


def uniform(words_: Tensor) -> Tensor:
    """Turn words into numbers between 0 and 1, float64 of the same shape, exactly."""
    return (words_.to(torch.float64) + 0.5) / 2.0**32


def coins(seed: int, purpose: str, when: int, first: int, count: int, units: int,
          device: torch.device) -> Tensor:
    """Toss fair coins, bool [count, units], for the rows first .. first + count - 1.

    Each row has counters of its own, so that it does not depend on the other rows.

    Args:
        seed: of the run.
        purpose: what is drawn.
        when: the epoch or the step.
        first: number of the first row.
        count: rows.
        units: coins in a row.
        device: where the result is to be.
    """
    if device.type == "cuda" and has_triton():
        from alexnet.arithmetic.gpu import draws_triton

        return draws_triton.coins(_key(seed), _fixed(purpose, when), first, count, units, device)
    blocks = -(-units // 128)
    indices = torch.arange(first * blocks, (first + count) * blocks, device=device)
    bits = (words(seed, purpose, when, indices)[..., None] >> torch.arange(32, device=device)) & 1
    return bits.view(count, blocks * 128)[:, :units].bool()


def permutation(seed: int, purpose: str, when: int, count: int) -> Tensor:
    """Return the numbers 0 .. count - 1 in random order, int64 [count]."""
    drawn = words(seed, purpose, when, torch.arange(count))
    return torch.argsort((drawn[:, 0] << 31) ^ drawn[:, 1], stable=True)
