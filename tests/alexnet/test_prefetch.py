"""A prefetched item is what would be made now, each once and in order; errors reach the caller."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.prefetch import Prefetcher


@settings(max_examples=30)
@given(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=5))
def test_each_is_made_once_and_in_order(until: int, jumps: list[int]) -> None:
    """`jumps` are numbers asked for out of order, as after a resume."""
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * number

    prefetcher = Prefetcher(make, until)
    items = [prefetcher.take(number) for number in range(until)]
    assert items == [number * number for number in range(until)]
    assert made == list(range(until))
    for number in jumps:
        assert prefetcher.take(number % until) == (number % until) ** 2
    prefetcher.finish()
    assert max(made) < until


def test_the_next_is_on_its_way_while_the_last_is_used() -> None:
    going, used = threading.Event(), threading.Event()

    def make(number: int) -> int:
        if number:
            going.set()
            assert used.wait(30)
        return number

    prefetcher = Prefetcher(make, 2)
    assert prefetcher.take(0) == 0
    assert going.wait(30)
    used.set()
    assert prefetcher.take(1) == 1


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    def make(number: int) -> int:
        if number == 1:
            raise OSError("the disk")
        return number

    prefetcher = Prefetcher(make, 3)
    assert prefetcher.take(0) == 0
    with pytest.raises(OSError, match="the disk"):
        prefetcher.take(1)
    assert Prefetcher(make, 3).take(2) == 2
    abandoned = Prefetcher(make, 3)
    abandoned.take(0)
    abandoned.finish()  # the error of what nobody asks for is nobody's
    assert abandoned.take(2) == 2


UNFINISHED = """
import time
import torch
from alexnet.prefetch import Prefetcher

def make(number):
    product, latest = torch.eye(200), time.monotonic() + 0.3
    while time.monotonic() < latest:
        product = product @ product
    return product

Prefetcher(make, 3).take(0)
time.sleep(0.01)
"""


def test_a_process_that_ends_early_is_not_aborted() -> None:
    """Python ends a daemon thread where it is, which within PyTorch aborts the process."""
    ended = subprocess.run([sys.executable, "-c", UNFINISHED], capture_output=True, text=True,
                           cwd=Path(__file__).parents[2])
    assert (ended.returncode, ended.stderr) == (0, "")
