"""The rule of 2012 against a loop over numbers, and against torch.optim.SGD where they agree."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alexnet.arithmetic import native
from alexnet.optimizer import rescale, update
from alexnet.schedule import MOMENTUM, Rate
from tests.alexnet import reference

rates = st.lists(st.tuples(st.sampled_from([0.0, 1e-5, 0.01, 0.02, 0.3]),
                           st.sampled_from([0.0, 0.0005, 0.1])),
                 min_size=1, max_size=6)


def numbers(seed: int, count: int = 12) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40)
@given(rates, st.integers(0, 100))
def test_the_rule(rates: list[tuple[float, float]], seed: int) -> None:
    weight, velocity = numbers(seed), numbers(seed + 1)
    slow = list(zip(weight.tolist(), velocity.tolist(), strict=True))
    narrow = weight.float(), velocity.float()
    for step, (lr, decay) in enumerate(rates):
        gradient = numbers(seed + 2 + step)
        update(weight, velocity, gradient, Rate(lr, decay))
        update(*narrow, gradient.float(), Rate(lr, decay))
        slow = [reference.update(w, v, g, lr, decay)
                for (w, v), g in zip(slow, gradient.tolist(), strict=True)]
    np.testing.assert_allclose(torch.stack([weight, velocity], 1).numpy(), slow, rtol=1e-12,
                               atol=1e-14)
    np.testing.assert_allclose(torch.stack(narrow, 1).numpy(), slow, rtol=1e-5, atol=1e-6)


def test_one_update_by_hand() -> None:
    """P §5: v = 0.9 x 2 - 0.0005 x 0.01 x 10 - 0.01 x 3."""
    weight, velocity, gradient = torch.tensor([[10.0], [2.0], [3.0]], dtype=torch.float64)
    update(weight, velocity, gradient, Rate(0.01, 0.0005))
    assert float(velocity) == pytest.approx(1.8 - 0.00005 - 0.03, rel=1e-14)
    assert float(weight) == pytest.approx(11.76995, rel=1e-14)


def test_a_rate_of_zero_leaves_every_bit() -> None:
    """S weights.cu: the update is skipped, so a frozen layer does not drift on its velocity."""
    weight, velocity = numbers(1).float(), numbers(2).float()
    before = weight.clone(), velocity.clone()
    update(weight, velocity, numbers(3).float(), Rate(0.0, 0.0005))
    assert torch.equal(weight, before[0])
    assert torch.equal(velocity, before[1])


def both(lrs: list[float], decay: float, rescaled: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The weights after every update, by our rule and by torch.optim.SGD."""
    weight, velocity = numbers(1), torch.zeros(12, dtype=torch.float64)
    parameter = torch.nn.Parameter(numbers(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9, weight_decay=decay)
    ours, theirs, last = [], [], lrs[0]
    for step, lr in enumerate(lrs):
        if rescaled:
            rescale(velocity, Rate(last, decay), Rate(lr, decay))
        update(weight, velocity, numbers(step), Rate(lr, decay))
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = numbers(step)
        optimizer.step()
        ours.append(weight.clone())
        theirs.append(parameter.detach().clone())
        last = lr
    return ours, theirs


@pytest.mark.parametrize("decay", [0.0, 0.0005, 0.1])
@pytest.mark.parametrize("rescaled", [True, False])
def test_at_a_constant_rate_it_is_stochastic_gradient_descent_of_today(
        decay: float, rescaled: bool) -> None:
    ours, theirs = both([0.01] * 30, decay, rescaled)
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-12, atol=1e-14)


def test_a_rescaled_velocity_is_that_of_today_across_drops() -> None:
    ours, theirs = both([0.1] * 8 + [0.01] * 8 + [0.02] * 8, 0.0005, rescaled=True)
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-12, atol=1e-14)


def test_a_kept_velocity_moves_on_for_some_ten_updates_after_a_drop() -> None:
    ours, theirs = both([0.1] * 8 + [0.001] * 30, 0.0005, rescaled=False)
    lag = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]
    assert max(lag[:8]) < 1e-12
    steps = [b - a for a, b in pairwise(lag[7:])]
    assert all(step > 0 for step in steps)
    assert sum(steps[:10]) == pytest.approx((1 - 0.9**10) * sum(steps) / (1 - 0.9**30), rel=0.01)


def test_rescaling_leaves_the_velocity_where_the_rate_stays_or_began_at_zero() -> None:
    velocity = numbers(1)
    rescale(velocity, Rate(0.01, 0.1), Rate(0.01, 0.2))
    rescale(velocity, Rate(0.0, 0.1), Rate(0.01, 0.1))
    assert torch.equal(velocity, numbers(1))
    rescale(velocity, Rate(0.01, 0.1), Rate(0.001, 0.1))
    torch.testing.assert_close(velocity, numbers(1) / 10)


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 80), st.sampled_from([0.0, 0.0005]))
def test_part_by_part_it_is_the_update_of_the_whole_to_the_bit(
        count: int, part: int, decay: float) -> None:
    """The plain twin goes through memory four times; and one bit of a gradient shows."""
    def updated(gradient: Tensor) -> tuple[Tensor, Tensor]:
        weight, velocity = numbers(1, count).float(), numbers(2, count).float()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "CACHE_VALUES", part)
            update(weight, velocity, gradient, Rate(0.01, decay))
        return weight, velocity

    weight, velocity, gradient = (numbers(seed, count).float() for seed in (1, 2, 3))
    native._update(weight, velocity, gradient, MOMENTUM, 0.01, decay)
    assert all(torch.equal(a, b)
               for a, b in zip(updated(gradient), (weight, velocity), strict=True))
    gradient.view(torch.int32)[-1] ^= 1 << 20
    assert not torch.equal(updated(gradient)[1], velocity)


def test_at_the_size_of_a_cached_part_it_is_the_update_of_the_whole() -> None:
    count = 3 * native.CACHE_VALUES + 5
    actual, plain = ([numbers(seed, count).float() for seed in (1, 2, 3)] for _ in range(2))
    update(actual[0], actual[1], actual[2], Rate(0.01, 0.0005))
    native._update(plain[0], plain[1], plain[2], MOMENTUM, 0.01, 0.0005)
    assert all(torch.equal(a, b) for a, b in zip(actual, plain, strict=True))
