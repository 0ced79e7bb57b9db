"""Moments are exact, in any order and any split, against integers of Python's own."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.moments import Accumulator, Moments
from pipeline.data.pixels import SIDE
from pipeline.data.tensors import write_tensors
from pipeline.system.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = np.concatenate([
    RNG.integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8),
    np.zeros((1, SIDE, SIDE, 3), np.uint8),  # the extremes of the shifted products
    np.full((1, SIDE, SIDE, 3), 255, np.uint8),
    np.full((1, SIDE, SIDE, 3), [0, 255, 0], np.uint8),
])


def moments(images: NDArray[np.uint8]) -> Moments:
    accumulator = Accumulator()
    for image in images:
        accumulator.add(image)
    return accumulator.moments()


def reference(images: NDArray[np.uint8]) -> Moments:
    """The same in int64, in the obvious way."""
    wide = images.reshape(-1, 3).astype(np.int64)
    return Moments(len(images), images.sum(axis=0, dtype=np.int64), np.array(
        [[(wide[:, i] * wide[:, j]).sum() for j in range(3)] for i in range(3)]))


WHOLE = reference(IMAGES)


def test_equal_to_big_integers() -> None:
    found = moments(IMAGES[:2])
    pixels = [pixel for image in IMAGES[:2].tolist() for row in image for pixel in row]
    assert found.products.tolist() == [[sum(p[i] * p[j] for p in pixels) for j in range(3)]
                                       for i in range(3)]
    assert found.sums[7, 9].tolist() == [sum(values)
                                         for values in zip(*IMAGES[:2, 7, 9].tolist(), strict=True)]


def test_equal_to_the_obvious_way_at_the_extremes() -> None:
    assert moments(IMAGES) == WHOLE


@settings(max_examples=20)
@given(order=st.permutations(range(len(IMAGES))),
       cuts=st.sets(st.integers(0, len(IMAGES)), max_size=4))
def test_any_permutation_and_any_sharding_has_the_same_bits(order: list[int],
                                                            cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(IMAGES)]
    total = Moments.zero()
    for start, stop in itertools.pairwise(bounds):
        total += moments(IMAGES[order[start:stop]])
    assert total == WHOLE


@pytest.mark.parametrize("count", [256, 257, 258, 514, 515])
def test_no_overflow_around_the_flush_of_16_bits(count: int) -> None:
    accumulator = Accumulator()
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for _ in range(count):
        accumulator.add(white)
    found = accumulator.moments()
    assert (found.sums == 255 * count).all()
    assert (found.products == 255**2 * SIDE**2 * count).all()


def test_moments_may_be_asked_for_in_between() -> None:
    accumulator = Accumulator()
    for k, image in enumerate(IMAGES):
        assert accumulator.moments() == reference(IMAGES[:k])
        accumulator.add(image)


@given(y=st.integers(0, SIDE - 1), x=st.integers(0, SIDE - 1), channel=st.integers(0, 2),
       bit=st.integers(0, 7))
@settings(max_examples=20)
def test_one_flipped_bit_changes_both_sums(y: int, x: int, channel: int, bit: int) -> None:
    changed = IMAGES[:2].copy()
    changed[1, y, x, channel] ^= 1 << bit
    before, after = moments(IMAGES[:2]), moments(changed)
    assert before != after
    assert not np.array_equal(before.sums, after.sums)
    assert not np.array_equal(before.products, after.products)


def test_views_of_other_layout_are_taken_as_they_are() -> None:
    assert (moments(IMAGES[:2, ::-1, ::-1, ::-1])
            == reference(np.ascontiguousarray(IMAGES[:2, ::-1, ::-1, ::-1])))


def test_equality_looks_at_every_part() -> None:
    a = WHOLE
    off = np.zeros_like(a.products)
    off[2, 1] = 1
    assert a == Moments(a.count, a.sums.copy(), a.products.copy())
    assert a != Moments(a.count + 1, a.sums, a.products)
    assert a != Moments(a.count, a.sums + np.eye(SIDE, dtype=np.int64)[:, :, None] * [0, 0, 1],
                        a.products)
    assert a != Moments(a.count, a.sums, a.products + off)
    assert a != 1


def test_a_file_round_trip_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    WHOLE.save(tmp_path / "a.safetensors")
    WHOLE.save(tmp_path / "b.safetensors")
    assert Moments.load(tmp_path / "a.safetensors") == WHOLE
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("position", [0, 10_000, 800_000, -2000])
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, position: int) -> None:
    file = tmp_path / "moments.safetensors"
    WHOLE.save(file)
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"moments\.safetensors: (damaged|not the moments)"):
        Moments.load(file)
    file.write_bytes(content[:1000])
    with pytest.raises(UserError, match="damaged"):
        Moments.load(file)
    write_tensors(file, {"count": np.array(1), "sums": WHOLE.sums})
    with pytest.raises(UserError, match="not the moments"):
        Moments.load(file)
    np.save(file.with_suffix(".npy"), WHOLE.sums)
    file.with_suffix(".npy").rename(file)
    with pytest.raises(UserError, match="damaged"):
        Moments.load(file)
    file.unlink()
    with pytest.raises(UserError, match="no such file; make it with `alexnet resize`"):
        Moments.load(file)
