"""Every learning rate, decay and event of both schedules, against the facts sheet."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.recipe import recipe
from alexnet.schedule import MOMENTUM, Rate, noise_is_on, rate

SOURCE, PAPER = recipe("source"), recipe("paper")
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7", "fc8")
EPOCHS = 91  # facts, section 2: run 145


def weight_of_145(epoch: int) -> float:
    """Facts, section 2: to 1e-3 at 25, to 1e-4 at 51, to 1e-5 at 79."""
    return 1e-2 if epoch < 25 else 1e-3 if epoch < 51 else 1e-4 if epoch < 79 else 1e-5


def conv1_of_145(epoch: int) -> float:
    """As the others, but 1e-5 from 67 and frozen from 72."""
    return weight_of_145(epoch) if epoch < 67 else 1e-5 if epoch < 72 else 0.0


def approximately(lr: float, decay: float) -> Any:
    return (pytest.approx(lr, rel=1e-12, abs=0), pytest.approx(decay, rel=1e-12, abs=0))


def at(recipe_: Any, name: str, progress: float) -> tuple[float, float]:
    actual = rate(recipe_, name, progress)
    return actual.lr, actual.decay


@pytest.mark.parametrize("layer", LAYERS)
def test_source_by_hand(layer: str) -> None:
    for step in range(EPOCHS * 10):
        epoch, progress = step // 10, step / (EPOCHS * 10)
        expected = conv1_of_145(epoch) if layer == "conv1" else weight_of_145(epoch)
        assert at(SOURCE, f"{layer}.weight", progress) == approximately(expected, 0.0005)
        assert at(SOURCE, f"{layer}.bias", progress) == approximately(0.02, 0.0)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_paper_by_hand(layer: str, kind: str) -> None:
    """P §5: an equal learning rate for all layers, three drops, one rule for weights and biases."""
    for step in range(EPOCHS * 10):
        progress = step / (EPOCHS * 10)
        expected = approximately(weight_of_145(step // 10), 0.0005)
        assert at(PAPER, f"{layer}.{kind}", progress) == expected


@pytest.mark.parametrize("name", ["source", "paper"])
def test_dexp(name: str) -> None:
    """C2: base 0.01, factor 250, 4 steps; biases 0.02, 10, 2, or as the weights."""
    chosen = recipe(name, schedule="dexp", conv1_freezing=False)  # type: ignore[arg-type]
    for step in range(400):
        weight = 0.01 * [1, 250 ** (-1 / 3), 250 ** (-2 / 3), 1 / 250][step // 100]
        bias = 0.02 * [1, 1 / 10][step // 200] if name == "source" else weight
        for layer in LAYERS:
            assert at(chosen, f"{layer}.weight", step / 400)[0] == pytest.approx(weight, rel=1e-12)
            assert at(chosen, f"{layer}.bias", step / 400)[0] == pytest.approx(bias, rel=1e-12)


def test_dexp_with_freezing() -> None:
    """conv1 slows to 1e-5 and stops as in the schedule by hand; its biases go on."""
    chosen = recipe("source", schedule="dexp")
    for epoch, lr in ((66, 0.01 * 250 ** (-2 / 3)), (67, 1e-5), (71, 1e-5), (72, 0.0), (90, 0.0)):
        assert at(chosen, "conv1.weight", epoch / EPOCHS)[0] == pytest.approx(lr, rel=1e-12, abs=0)
        assert at(chosen, "conv2.weight", epoch / EPOCHS)[0] > 1e-5
        assert at(chosen, "conv1.bias", epoch / EPOCHS)[0] > 0


@settings(max_examples=60)
@given(st.integers(1, 10**7))
def test_a_run_of_any_length_changes_at_the_same_fractions(steps: int) -> None:
    """The first update at or after a logged epoch is the first with the new number, exactly."""
    for epoch, name, after in ((25, "conv2.weight", 1e-3), (51, "fc6.weight", 1e-4),
                               (79, "fc8.weight", 1e-5), (67, "conv1.weight", 1e-5),
                               (72, "conv1.weight", 0.0)):
        first = -(-epoch * steps // EPOCHS)
        assert Fraction(first - 1, steps) < Fraction(epoch, EPOCHS) <= Fraction(first, steps)
        assert at(SOURCE, name, (first - 1) / steps)[0] > after * 5
        assert at(SOURCE, name, first / steps)[0] <= after * 1.001


@pytest.mark.parametrize(("switches", "name", "expected"), [
    ({"weight_lr": 0.5}, "conv3.weight", (0.5, 0.0005)),
    ({"weight_lr": 0.5}, "conv3.bias", (0.02, 0.0)),
    ({"bias_lr": 0.5}, "conv3.bias", (0.5, 0.0)),
    ({"bias_lr": 0.5}, "conv3.weight", (0.01, 0.0005)),
    ({"bias_decay": 0.25}, "fc8.bias", (0.02, 0.25)),
    ({"bias_decay": 0.25}, "fc8.weight", (0.01, 0.0005)),
])
def test_single_switches_at_the_start(switches: dict[str, float], name: str,
                                      expected: tuple[float, float]) -> None:
    assert at(recipe("source", **switches), name, 0.0) == approximately(*expected)


def test_single_switches_late() -> None:
    late = 80 / EPOCHS
    biases_with_weights = recipe("source", bias_schedule="with weights")
    assert at(biases_with_weights, "conv2.bias", late)[0] == pytest.approx(0.02e-3)
    assert at(recipe("paper", bias_schedule="constant"), "conv2.bias", late)[0] == 0.01
    never_frozen = recipe("source", conv1_freezing=False)
    assert at(never_frozen, "conv1.weight", late)[0] == pytest.approx(1e-5)
    assert rate(recipe("paper", conv1_freezing=True), "conv1.weight", late) == Rate(0.0, 0.0005)
    assert at(recipe("paper", conv1_freezing=True), "conv1.bias", late)[0] == pytest.approx(1e-5)
    assert MOMENTUM == 0.9


def test_colour_noise_ends_at_epoch_67_of_the_source_only() -> None:
    for epoch in range(EPOCHS):
        progress = epoch / EPOCHS
        assert noise_is_on(SOURCE, progress) == (epoch < 67)
        assert noise_is_on(PAPER, progress)
        assert noise_is_on(recipe("paper", noise_off_late=True), progress) == (epoch < 67)
        assert noise_is_on(recipe("source", noise_off_late=False), progress)
        assert not noise_is_on(recipe("source", colour_noise="none"), progress)


@pytest.mark.parametrize("name", ["source", "paper"])
def test_a_flat_schedule_never_drops_and_decay_is_as_set(name: Any) -> None:
    chosen = recipe(name, schedule="flat", conv1_freezing=False, weight_decay=0.25)
    for progress in (0.0, 0.3, 0.6, 0.9, 0.999):
        for layer in LAYERS:
            assert at(chosen, f"{layer}.weight", progress) == (0.01, 0.25)
            assert at(chosen, f"{layer}.bias", progress) == (chosen.bias_lr, chosen.bias_decay)
