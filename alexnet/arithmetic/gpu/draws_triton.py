"""Fair coins on a GPU by one kernel; what `alexnet/draws.py` tosses elsewhere, to the bit.

PyTorch's operations would be some hundred kernels for each call, more than the rest of a layer.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LANES = 1024  # coins of a program
MASK = tl.constexpr(0xFFFFFFFF)
M0, M1, WEYL0, WEYL1 = (tl.constexpr(number) for number in (0xD2511F53, 0xCD9E8D57, 0x9E3779B9,
                                                            0xBB67AE85))


def coins(key: tuple[int, int], fixed: tuple[int, int], first: int, count: int, units: int,
          device: torch.device) -> Tensor:
    """Toss coins, bool [count, units], for the rows first .. first + count - 1.

    Args:
        key: Philox's, two words of 32 bits.
        fixed: the upper two words of its counters.
        first, count: the rows.
        units: coins in a row.
        device: where the result is.
    """
    tossed = torch.empty((count, units), dtype=torch.uint8, device=device)
    _coins[(triton.cdiv(count * units, LANES),)](tossed, *key, *fixed, first, count * units, units,
                                                 TILE=LANES, enable_fp_fusion=False)
    return tossed.view(torch.bool)


@triton.jit(do_not_specialize=["key_0", "key_1", "fixed_0", "fixed_1", "first", "total"])
def _coins(tossed, key_0, key_1, fixed_0, fixed_1, first,  # type: ignore[no-untyped-def]
           total, units, TILE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    unit = at % units
    index = (at // units + first) * ((units + 127) // 128) + unit // 128
    zero = at * 0
    c0, c1 = index & MASK, index >> 32
    c2, c3 = zero + fixed_0, zero + fixed_1
    k0, k1 = zero + key_0, zero + key_1
    for _ in tl.static_range(10):
        p0, p1 = c0 * M0, c2 * M1  # they wrap, and have the bits of the unsigned products
        c0, c2 = ((p1 >> 32) & MASK) ^ c1 ^ k0, ((p0 >> 32) & MASK) ^ c3 ^ k1
        c1, c3 = p1 & MASK, p0 & MASK
        k0, k1 = (k0 + WEYL0) & MASK, (k1 + WEYL1) & MASK
    word = unit // 32 % 4
    chosen = tl.where(word == 0, c0, tl.where(word == 1, c1, tl.where(word == 2, c2, c3)))
    tl.store(tossed + at, ((chosen >> (unit % 32)) & 1).to(tl.uint8), at < total)
