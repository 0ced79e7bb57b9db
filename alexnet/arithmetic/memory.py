"""Large arrays whose memory is used again: the kernel clears fresh memory page by page, and that
would be a fifth of a training step.

A step asks for arrays of the same sizes as the step before. An array's memory is free again when
nothing refers to the array any more, neither NumPy's nor PyTorch's views of it.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LEAST = 1 << 18  # bytes; what is smaller is left to NumPy
ALIGNMENT = 64  # bytes: a line of the cache
PATIENCE = 2000  # requests after which memory that nobody asked for goes back


@dataclass
class _Block:
    """Memory and when it was last asked for, in requests."""

    memory: NDArray[np.uint8]
    used: int

    @property
    def free(self) -> bool:
        # counted are this object and the argument
        return sys.getrefcount(self.memory) == 2


class Memory:
    """Where large arrays come from; it may be asked by several threads."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[_Block]] = {}
        self._requests = 0
        self._lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array whose content is not defined."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < LEAST:
            return np.empty(tuple(shape), dtype)
        with self._lock:
            self._requests += 1
            block = self._free_block(size)
            block.used = self._requests
            start = -block.memory.ctypes.data % ALIGNMENT
            return block.memory[start: start + size].view(dtype).reshape(tuple(shape))

    def _free_block(self, size: int) -> _Block:
        blocks = self._blocks.setdefault(size, [])
        for block in blocks:
            if block.free:
                return block
        self._give_back()
        blocks = self._blocks.setdefault(size, [])
        blocks.append(_Block(np.empty(size + ALIGNMENT, np.uint8), self._requests))
        return blocks[-1]

    def _give_back(self) -> None:
        oldest = self._requests - PATIENCE
        kept = {size: [block for block in blocks if block.used >= oldest or not block.free]
                for size, blocks in self._blocks.items()}
        self._blocks = {size: blocks for size, blocks in kept.items() if blocks}


MEMORY = Memory()
