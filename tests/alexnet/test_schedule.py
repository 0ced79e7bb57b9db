"""Every learning rate, decay and event of every schedule, against the files of 2012."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.recipe import recipe
from alexnet.schedule import MOMENTUM, Rate, noise_is_on, rate

SOURCE, PAPER = recipe("source"), recipe("paper")
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7", "fc8")
EPOCHS = 91  # layer-params-145.cfg: "epoch 91: killed"

# What each file of the original source (S layers/) says in the comments at its end, as it stands
# there: epoch -> the learning rate of the weights set at it, of all layers and of conv1.
LOGGED: dict[str, tuple[int, dict[float, float], dict[float, float]]] = {
    # layer-params-145.cfg
    "hand": (91, {0: 1e-2, 25: 1e-3, 51: 1e-4, 79: 1e-5}, {67: 1e-5, 72: 0.0}),
    # layer-params-145-2010.cfg
    "hand-2010": (93, {0: 1e-2, 23: 1e-3, 51: 1e-4, 78: 1e-5}, {68: 1e-5, 72: 0.0}),
    # layer-params-147.cfg: "epoch 79: set epsw to 0 on conv1, 0.00001 elsewhere"
    "hand-147": (90, {0: 1e-2, 23: 1e-3, 51: 1e-4, 79: 1e-5}, {79: 0.0}),
    # layer-params-148.cfg
    "hand-148": (97, {0: 1e-2, 22: 1e-3, 44: 1e-4, 86: 1e-5}, {69: 1e-5, 73: 0.0}),
    # layer-params-146-2012-2011.cfg: "init epsw 0.0001 on conv1, 0.001 elsewhere"
    "fine-tuning": (54, {0: 1e-3, 22: 1e-4, 42: 1e-5}, {0: 1e-4, 5: 1e-5, 7: 0.0}),
}
# The same files: the epoch of "set color noise to 0 from 0.1"; 147 has no such line.
NOISE_OFF = {"hand": 67, "hand-2010": 68, "hand-147": None, "hand-148": 69, "fine-tuning": 38}
# layer-params-146-2012-2011.cfg: "300 batches: set epsw to 0.01 from 0.001 on fc1000", "epoch 9:
# set fc1000 epsw to 0.001 from 0.01"; ILSVRC-2012 is 1,252 files ("batches") of 1,024 images.
FC8_FINE_TUNED = {0: 1e-3, 300 / 1252: 1e-2, 9: 1e-3, 22: 1e-4, 42: 1e-5}
# The same files, [conv2a] to [fc1000]: epsB as the run left it. (146-2012-2011: conv6 has 0.022.)
LAST_EPSB = {"hand": 0.02, "hand-2010": 0.002, "hand-147": 0.002, "hand-148": 0.02,
             "fine-tuning": 0.02}


def at_epoch(changes: dict[float, float], epoch: float) -> float:
    """Return the number of the last change at or before this epoch."""
    return changes[max(change for change in changes if change <= epoch)]


def weight_of_145(epoch: float) -> float:
    return at_epoch(LOGGED["hand"][1], epoch)


def conv1_of_145(epoch: float) -> float:
    """As the others, but 1e-5 from 67 and frozen from 72."""
    return at_epoch(LOGGED["hand"][1] if epoch < 67 else LOGGED["hand"][2], epoch)


def close(actual: tuple[float, float], lr: float, decay: float) -> bool:
    """As `approximately`, fast."""
    return math.isclose(actual[0], lr, rel_tol=1e-12) and math.isclose(actual[1], decay,
                                                                       rel_tol=1e-12)


def approximately(lr: float, decay: float) -> Any:
    return (pytest.approx(lr, rel=1e-12, abs=0), pytest.approx(decay, rel=1e-12, abs=0))


def at(recipe_: Any, name: str, progress: float) -> tuple[float, float]:
    actual = rate(recipe_, name, progress)
    return actual.lr, actual.decay


@pytest.mark.parametrize("layer", LAYERS)
def test_source_by_hand(layer: str) -> None:
    """conv1 has epsW=0.000 and epsB=0.0 in layer-params-145.cfg, all others epsB=0.02."""
    for step in range(EPOCHS * 10):
        epoch, progress = step // 10, step / (EPOCHS * 10)
        expected = conv1_of_145(epoch) if layer == "conv1" else weight_of_145(epoch)
        assert close(at(SOURCE, f"{layer}.weight", progress), expected, 0.0005)
        frozen = layer == "conv1" and epoch >= 72
        assert close(at(SOURCE, f"{layer}.bias", progress), 0.0 if frozen else 0.02, 0.0)


@pytest.mark.parametrize("schedule", LOGGED)
@pytest.mark.parametrize("layer", LAYERS)
def test_each_run_of_2012_has_the_rates_of_its_log(schedule: Any, layer: str) -> None:
    epochs, rest, of_conv1 = LOGGED[schedule]
    one_drop = LAST_EPSB[schedule] == 0.002
    chosen = recipe("source", schedule=schedule,
                    bias_schedule="one drop" if one_drop else "constant")
    last_of_conv1 = max(of_conv1)
    for step in range(epochs * 8):
        epoch, progress = step / 8, step / (epochs * 8)
        expected = at_epoch(rest, epoch)
        if layer == "conv1" and epoch >= min(of_conv1):
            expected = at_epoch(of_conv1, epoch)
        if layer == "fc8" and schedule == "fine-tuning":
            expected = at_epoch(FC8_FINE_TUNED, epoch)
        assert close(at(chosen, f"{layer}.weight", progress), expected, 0.0005), epoch
        bias = 0.002 if one_drop and progress >= 0.5 else 0.02
        if layer == "conv1" and epoch >= last_of_conv1:
            bias = 0.0  # epsB=0.0 at the end of each of these files
        assert close(at(chosen, f"{layer}.bias", progress), bias, 0.0), epoch
        if layer == LAYERS[0]:
            off = NOISE_OFF[schedule]
            assert noise_is_on(chosen, progress) == (off is None or epoch < off)
    assert at(chosen, "conv2.bias", 1 - 1e-9)[0] == pytest.approx(LAST_EPSB[schedule])
    for kind in ("weight", "bias"):
        assert at(chosen, f"conv1.{kind}", 1 - 1e-9)[0] == 0.0


def test_no_two_logs_are_alike() -> None:
    """Each schedule is another one, so that the test above tells them apart."""
    courses = [[at(recipe("source", schedule=name), f"{layer}.weight", step / 900)
                for layer in ("conv1", "conv2", "fc8") for step in range(900)] for name in LOGGED]
    assert all(a != b for k, a in enumerate(courses) for b in courses[:k])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_paper_by_hand(layer: str, kind: str) -> None:
    """P §5: an equal learning rate for all layers, three drops, one rule for weights and biases."""
    for step in range(EPOCHS * 10):
        progress = step / (EPOCHS * 10)
        assert close(at(PAPER, f"{layer}.{kind}", progress), weight_of_145(step // 10), 0.0005)


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
    """conv1 slows to 1e-5 and stops as in the schedule by hand, its biases with its weights."""
    chosen = recipe("source", schedule="dexp")
    for epoch, lr in ((66, 0.01 * 250 ** (-2 / 3)), (67, 1e-5), (71, 1e-5), (72, 0.0), (90, 0.0)):
        assert at(chosen, "conv1.weight", epoch / EPOCHS)[0] == pytest.approx(lr, rel=1e-12, abs=0)
        assert at(chosen, "conv2.weight", epoch / EPOCHS)[0] > 1e-5
        assert (at(chosen, "conv1.bias", epoch / EPOCHS)[0] > 0) == (epoch < 72)
        assert at(chosen, "conv2.bias", epoch / EPOCHS)[0] == pytest.approx(0.002)


@settings(max_examples=60)
@given(st.integers(1, 10**7))
def test_a_run_of_any_length_changes_at_the_same_fractions(steps: int) -> None:
    """The first update at or after a logged epoch is the first with the new number, exactly."""
    for epoch, name, after in ((25, "conv2.weight", 1e-3), (51, "fc6.weight", 1e-4),
                               (79, "fc8.weight", 1e-5), (67, "conv1.weight", 1e-5),
                               (72, "conv1.weight", 0.0), (72, "conv1.bias", 0.0)):
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
    assert rate(recipe("paper", conv1_freezing=True), "conv1.bias", late) == Rate(0.0, 0.0005)
    assert at(recipe("paper", conv1_freezing=True), "conv1.bias", 71 / EPOCHS)[0] == \
        pytest.approx(1e-4)
    assert at(never_frozen, "conv1.bias", late)[0] == 0.02
    for name in LOGGED:
        goes_on = recipe("source", schedule=name, conv1_freezing=False)
        assert at(goes_on, "conv1.weight", 0.999)[0] == pytest.approx(1e-5)
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
