"""Learning rates over a run (P §5), and the events of the hand-made schedule of 2012.

Time is `progress`, from 0 (the first update) to 1 (the end): the logged epochs of #145 are
fractions of its 91, so that a shorter run goes through the same schedule faster.
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.recipe import Recipe

# S layer-params-145.cfg, comments: epochs at which Krizhevsky stopped the run and changed a number.
EPOCHS = 91
DROPS = (25 / EPOCHS, 51 / EPOCHS, 79 / EPOCHS)  # weights: 0.01 -> 0.001 -> 0.0001 -> 0.00001
CONV1_SLOWED = 67 / EPOCHS  # to 1e-5, and colour noise off
CONV1_FROZEN = 72 / EPOCHS

# S layers-170.cfg / C2: dexp, base 0.01, tgtFactor 250, numSteps 4 for weights; 0.02, 10, 2 for
# biases.
DEXP_WEIGHTS = (250.0, 4)
DEXP_BIASES = (10.0, 2)

MOMENTUM = 0.9  # P §5; S momW, momB


@dataclass(frozen=True)
class Rate:
    """What one parameter is updated with.

    Attributes:
        lr: learning rate, 0 or more (P §5: 0.01 at first).
        decay: weight decay, which the update multiplies by `lr` (P §5: 0.0005).
    """

    lr: float
    decay: float


def rate(recipe: Recipe, name: str, progress: float, arithmetic: Arithmetic = NATIVE) -> Rate:
    """Return the rate of a parameter at a point of the run (P §5; S layer-params-145.cfg).

    Args:
        recipe: has the schedule and the initial rates.
        name: of the parameter, as in "conv1.weight" or "fc8.bias".
        progress: updates done over all of the run, 0 <= progress < 1.
        arithmetic: that computes the powers.
    """
    layer, kind = name.split(".")
    schedules = {"hand": _hand, "dexp": _dexp, "flat": lambda *_: 1.0}
    factor = schedules[recipe.schedule](recipe, kind, progress, arithmetic)
    lr = (recipe.weight_lr if kind == "weight" else recipe.bias_lr) * factor
    if recipe.conv1_freezing and layer == "conv1" and kind == "weight":
        if progress >= CONV1_FROZEN:
            lr = 0.0
        elif progress >= CONV1_SLOWED:
            lr = min(lr, recipe.weight_lr * arithmetic.drop_of_rate(3))
    return Rate(lr, recipe.weight_decay if kind == "weight" else recipe.bias_decay)


def noise_is_on(recipe: Recipe, progress: float) -> bool:
    """Return whether training images get colour noise (P §4.1; S: off from epoch 67 of 91).

    Args:
        recipe: has the switches.
        progress: updates done over all of the run, 0 <= progress < 1.
    """
    late = recipe.noise_off_late and progress >= CONV1_SLOWED
    return recipe.colour_noise != "none" and not late


def _hand(recipe: Recipe, kind: str, progress: float, arithmetic: Arithmetic) -> float:
    """Return the factor on the initial rate after the drops so far."""
    if kind == "bias" and recipe.bias_schedule == "constant":
        return 1.0
    return arithmetic.drop_of_rate(sum(progress >= drop for drop in DROPS))  # P §5: divided by 10


def _dexp(recipe: Recipe, kind: str, progress: float, arithmetic: Arithmetic) -> float:
    """Return the factor of equal steps in time and in the exponent; the last is 1 / factor."""
    constant_biases = kind == "bias" and recipe.bias_schedule == "constant"
    factor, steps = DEXP_BIASES if constant_biases else DEXP_WEIGHTS
    return arithmetic.decay_of_rate(factor, steps, min(int(progress * steps), steps - 1))
