"""Memory is used again when nothing refers to it any more, and not before."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.arithmetic.memory import ALIGNMENT, LEAST, PATIENCE, Memory

SHAPE = (LEAST // 4, 3)


def address(array: NDArray[np.float32]) -> int:
    return int(array.ctypes.data)


def test_used_again_when_it_is_free() -> None:
    memory = Memory()
    array = memory.empty(SHAPE)
    assert address(array) % ALIGNMENT == 0
    assert array.shape == SHAPE
    assert array.dtype == np.dtype(np.float32)
    before = address(array)
    del array
    assert address(memory.empty(SHAPE)) == before


def test_not_while_anything_refers_to_it() -> None:
    """An array, a part of it, a tensor of it, what autograd keeps."""
    for keep in (lambda array: array, lambda array: array[5:6],
                 lambda array: torch.from_numpy(array).permute(1, 0)[:1],
                 lambda array: torch.from_numpy(array).requires_grad_().square().grad_fn):
        memory = Memory()
        array = memory.empty(SHAPE)
        before = address(array)
        kept = keep(array)
        del array
        assert address(memory.empty(SHAPE)) != before
        del kept
        assert address(memory.empty(SHAPE)) == before


def test_what_nobody_asks_for_goes_back() -> None:
    memory = Memory()
    memory.empty(SHAPE)
    small = (LEAST // 4,)
    for _ in range(PATIENCE + 1):
        memory.empty(small)
    assert SHAPE[0] * SHAPE[1] * 4 in memory._blocks
    memory.empty((LEAST // 2,))
    assert SHAPE[0] * SHAPE[1] * 4 not in memory._blocks


def test_two_threads_never_have_the_same() -> None:
    memory = Memory()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            array = memory.empty(SHAPE)
            array[::1000] = number
            if not (array[::1000] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
