"""Random numbers as a pure function of (seed, purpose, when, index), by the counter-based generator Philox4x32-10.

Nothing here has a state, so no draw depends on who asked first, on the number of processes, or on where a run was
resumed. The arithmetic is in integers, hence the same on every device; Gaussians are computed in float64 on the CPU
and rounded to float32.

Source of the generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import math
import zlib
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_CHUNK = 1 << 18  # counters computed at a time, so that intermediate values stay in the processor's cache


_Words = TypeVar("_Words", Tensor, NDArray[np.int64])


def philox(key: tuple[int, int], counter: tuple[_Words | int, ...]) -> list[_Words | int]:
    """Four words of 32 random bits for each counter.

    Args:
        key: two words of 32 bits.
        counter: four words of 32 bits, least significant first, each an int64 tensor or array or one number for all.

    Returns:
        Four of the same, values 0 .. 2**32 - 1.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The product of two 32-bit words wraps in int64, but its bits are those of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def words(seed: int, purpose: str, when: int, indices: Tensor) -> Tensor:
    """int64 [n, 4], values 0 .. 2**32 - 1, for n indices (int64, 0 or more) of this purpose at this epoch or step."""
    key = (seed & _MASK, (seed >> 32) & _MASK)
    indices = indices.to(torch.int64)
    fixed = (when & _MASK, zlib.crc32(purpose.encode()))
    if indices.device.type == "cpu":  # numpy's operations begin sooner than PyTorch's
        here = indices.numpy()
        return torch.from_numpy(np.stack(np.broadcast_arrays(*philox(key, (here & _MASK, here >> 32, *fixed))), -1))
    return torch.stack(torch.broadcast_tensors(*philox(key, (indices & _MASK, indices >> 32, *fixed))), dim=-1)


def integers(words_: Tensor, below: int) -> Tensor:
    """Words turned into integers 0 .. below - 1; no value is likelier than another by more than below / 2**32."""
    return (words_ * below) >> 32


def gaussians(words_: Tensor) -> Tensor:
    """Words [n, 4] turned into float64 [n, 4] standard Gaussians (Box and Muller)."""
    uniform = (words_.to(torch.float64) + 0.5) / 2.0**32
    radius = torch.sqrt(-2.0 * torch.log(uniform[:, 0::2]))
    angle = 2.0 * math.pi * uniform[:, 1::2]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


def gaussian_tensor(seed: int, purpose: str, shape: tuple[int, ...], std: float) -> Tensor:
    """float32 of this shape, zero mean, standard deviation `std`; on the CPU."""
    count = math.prod(shape)
    drawn = torch.empty(count, dtype=torch.float32)
    for start in range(0, count, 4 * _CHUNK):
        stop = min(start + 4 * _CHUNK, count)
        indices = torch.arange(start // 4, (stop + 3) // 4)
        drawn[start:stop] = (gaussians(words(seed, purpose, 0, indices)) * std).flatten()[: stop - start]
    return drawn.view(shape)


def coins(seed: int, purpose: str, when: int, first: int, count: int, units: int, device: torch.device) -> Tensor:
    """Fair coins, bool [count, units], for the rows first .. first + count - 1; each row has counters of its own."""
    blocks = -(-units // 128)
    indices = torch.arange(first * blocks, (first + count) * blocks, device=device)
    bits = (words(seed, purpose, when, indices)[..., None] >> torch.arange(32, device=device)) & 1
    return bits.view(count, blocks * 128)[:, :units].bool()


def permutation(seed: int, purpose: str, when: int, count: int) -> Tensor:
    """int64 [count]: the numbers 0 .. count - 1 in random order."""
    drawn = words(seed, purpose, when, torch.arange(count))
    return torch.argsort((drawn[:, 0] << 31) ^ drawn[:, 1], stable=True)
