"""The generator of Salmon et al., and what is drawn with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alexnet import draws
from tests.alexnet import reference

CPU = torch.device("cpu")
FEW = settings(max_examples=30)
seeds = st.integers(0, 2**64 - 1)

KNOWN = [  # Random123's kat_vectors: philox4x32, 10 rounds; counter, key, result
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexadecimal(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter: str, key: str, result: str) -> None:
    (k0, k1), (c0, c1, c2, c3) = hexadecimal(key), hexadecimal(counter)
    for actual in (draws.philox((k0, k1), (c0, c1, c2, c3)),
                  draws.philox((k0, k1), (torch.tensor([c0, 5]), c1, torch.tensor([c2, 5]), c3)),
                  draws.philox((k0, k1), (np.array([c0, 5]), c1, np.array([c2, 5]), c3))):
        assert [int(word if isinstance(word, int) else word[0])
                for word in actual] == hexadecimal(result)
    assert list(reference.philox((k0, k1), (c0, c1, c2, c3))) == hexadecimal(result)


@FEW
@given(seeds, st.text(max_size=20), st.integers(0, 2**32 - 1),
       st.lists(st.integers(0, 2**60), min_size=1, max_size=5))
def test_words_are_the_generators(seed: int, purpose: str, when: int, indices: list[int]) -> None:
    actual = draws.words(seed, purpose, when, torch.tensor(indices))
    expected = [reference.words(seed, purpose, when, index) for index in indices]
    assert [tuple(row) for row in actual.tolist()] == expected


def test_every_argument_changes_every_word() -> None:
    drawn = draws.words(7, "crop", 3, torch.arange(50))
    for other in (draws.words(8, "crop", 3, torch.arange(50)),
                  draws.words(7 + 2**32, "crop", 3, torch.arange(50)),
                  draws.words(7, "crops", 3, torch.arange(50)),
                  draws.words(7, "crop", 4, torch.arange(50)),
                  draws.words(7, "crop", 3, torch.arange(50) + 50),
                  draws.words(7, "crop", 3, torch.arange(50) + 2**32)):
        assert (drawn == other).sum() == 0


def test_words_are_uniform() -> None:
    drawn = draws.words(1, "uniform", 0, torch.arange(1 << 16))
    for shift in (0, 8, 16, 24):
        for column in range(4):
            counts = torch.bincount((drawn[:, column] >> shift) & 255, minlength=256)
            assert 1e-4 < stats.chisquare(counts.numpy()).pvalue < 1 - 1e-4
    # of neighbouring counters
    pairs = torch.bincount((drawn[:-1, 0] >> 28) * 16 + (drawn[1:, 0] >> 28), minlength=256)
    assert 1e-4 < stats.chisquare(pairs.numpy()).pvalue < 1 - 1e-4


@pytest.mark.parametrize("below", [1, 2, 32, 33, 1000])
def test_integers_are_uniform_and_below(below: int) -> None:
    drawn = draws.integers(draws.words(2, "integers", 0, torch.arange(20_000)), below).flatten()
    assert drawn.min() == 0
    assert drawn.max() == below - 1
    if below > 1:
        assert 1e-4 < stats.chisquare(torch.bincount(drawn).numpy()).pvalue < 1 - 1e-4


def test_integers_reach_both_ends() -> None:
    ends = torch.tensor([0, 2**32 - 1])
    for below in (2, 33, 10**9):
        assert draws.integers(ends, below).tolist() == [0, below - 1]


def test_gaussians_are_those_of_box_and_muller() -> None:
    drawn = draws.words(3, "g", 0, torch.arange(200))
    expected = [reference.gaussians(tuple(row)) for row in drawn.tolist()]
    np.testing.assert_allclose(draws.gaussians(drawn).numpy(), expected, rtol=1e-12, atol=1e-12)
    extreme = draws.gaussians(torch.tensor([[0, 0, 2**32 - 1, 2**32 - 1]]))
    assert torch.isfinite(extreme).all()


def test_gaussians_are_gaussian() -> None:
    drawn = draws.gaussian_tensor(4, "g", (400_000,), 1.0).double().numpy()
    n = len(drawn)
    assert abs(drawn.mean()) < 4 / math.sqrt(n)
    assert abs(drawn.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(stats.skew(drawn)) < 4 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(drawn)) < 4 * math.sqrt(24 / n)
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    for apart in (1, 2, 3, 4):  # the four of one counter, and the next counter's
        assert abs(np.corrcoef(drawn[:-apart], drawn[apart:])[0, 1]) < 4 / math.sqrt(n)


@FEW
@given(seeds, st.integers(1, 300), st.integers(1, 300))
def test_a_gaussian_tensor_begins_like_a_longer_one(seed: int, short: int, more: int) -> None:
    whole = draws.gaussian_tensor(seed, "w", (short + more,), 0.01)
    assert torch.equal(draws.gaussian_tensor(seed, "w", (short,), 0.01), whole[:short])


@pytest.mark.parametrize("count", [1, 4, 31, 32, 33, 100])
def test_a_gaussian_tensor_does_not_depend_on_its_chunks(
        monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    whole = draws.gaussian_tensor(5, "w", (count,), 0.5)
    assert whole.dtype == torch.float32
    monkeypatch.setattr(draws, "_CHUNK", 8)
    assert torch.equal(draws.gaussian_tensor(5, "w", (count,), 0.5), whole)
    expected = [g * 0.5 for i in range(-(-count // 4))
                for g in reference.gaussians(reference.words(5, "w", 0, i))]
    np.testing.assert_allclose(whole.numpy(), expected[:count], rtol=1e-6)


@FEW
@given(seeds, st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.data())
def test_a_part_of_a_draw_is_the_same_part_of_the_whole(seed: int, indices: list[int],
                                                        data: st.DataObject) -> None:
    whole = draws.words(seed, "w", 9, torch.tensor(indices))
    places = st.integers(0, len(indices) - 1)
    chosen = torch.tensor(data.draw(st.lists(places, min_size=1, max_size=20)))
    assert torch.equal(draws.words(seed, "w", 9, torch.tensor(indices)[chosen]), whole[chosen])


@FEW
@given(seeds, st.integers(0, 1000), st.integers(0, 2**33), st.integers(1, 12), st.integers(1, 300),
       st.data())
def test_coins_of_a_part_of_the_batch(seed: int, step: int, first: int, count: int, units: int,
                                      data: st.DataObject) -> None:
    whole = draws.coins(seed, "dropout", step, first, count, units, CPU)
    assert whole.shape == (count, units)
    assert whole.dtype == torch.bool
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    assert torch.equal(draws.coins(seed, "dropout", step, first + start, stop - start, units, CPU),
                       whole[start:stop])


@pytest.mark.parametrize("units", [1, 127, 128, 129, 300])
def test_coins_are_the_generators_bits(units: int) -> None:
    actual = draws.coins(6, "dropout fc6 column 1", 11, 5, 3, units, CPU)
    assert np.array_equal(actual.double().numpy(),
                          reference.coins(6, "dropout fc6 column 1", 11, 5, 3, units))


def test_coins_are_fair_and_independent() -> None:
    rows, units = 512, 2048
    actual = draws.coins(8, "dropout", 1, 0, rows, units, CPU).double()
    assert abs(actual.mean() - 0.5) < 4 * 0.5 / math.sqrt(rows * units)
    for counts, throws in ((actual.sum(0), rows), (actual.sum(1), units)):
        z = (counts - throws / 2) / math.sqrt(throws / 4)
        assert z.abs().max() < 5
        assert abs(z.var() - 1) < 4 * math.sqrt(2 / len(z))  # neither all alike nor too equal
    assert abs((actual[:-1] * 2 - 1).mul(actual[1:] * 2 - 1).mean()) < 4 / math.sqrt(rows * units)
    later = draws.coins(8, "dropout", 2, 0, rows, units, CPU).double()
    assert abs((later * 2 - 1).mul(actual * 2 - 1).mean()) < 4 / math.sqrt(rows * units)


@FEW
@given(seeds, st.integers(0, 100), st.integers(0, 500))
def test_a_permutation_is_one(seed: int, epoch: int, count: int) -> None:
    actual = draws.permutation(seed, "order", epoch, count)
    assert actual.sort().values.tolist() == list(range(count))
    keys = [((w := reference.words(seed, "order", epoch, i))[0] << 31) ^ w[1] for i in range(count)]
    assert actual.tolist() == sorted(range(count), key=keys.__getitem__)


def test_permutations_are_uniform() -> None:
    places = torch.stack([draws.permutation(seed, "order", 0, 4) for seed in range(1200)])
    codes = (places * torch.tensor([1000, 100, 10, 1])).sum(1)
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    assert not torch.equal(draws.permutation(1, "order", 0, 100),
                           draws.permutation(1, "order", 1, 100))
