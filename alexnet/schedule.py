"""Learning rates over a run (P §5), and the hand-made schedules of 2012.

Time is `progress`, from 0 (the first update) to 1 (the end): logged epochs are fractions of those
after which the run was stopped, so that a shorter run goes through the same schedule faster.
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.recipe import Recipe


@dataclass(frozen=True)
class Log:
    """One run of 2012: the epochs at which Krizhevsky stopped it and changed a number.

    They are comments at the end of the run's file (S layers/).

    Attributes:
        file: its name.
        epochs: at which the run ended.
        drops: at which the learning rate of the weights was divided by 10.
        conv1_slowed: at which that of conv1 went to 1e-5; None: not logged.
        conv1_frozen: at which that of conv1 went to 0. The file ends with that of its biases at 0,
            too, and does not say since when: here from the same epoch.
        noise_off: at which colour noise was switched off; None: not logged.
        drops_before: drops that the rate had gone through when the run began, at 0.01 / 10 ** it.
        apart: layers with another number of drops than the rest from one epoch until another:
            (layer, from, until, drops).
    """

    file: str
    epochs: int
    drops: tuple[int, ...]
    conv1_slowed: int | None
    conv1_frozen: int
    noise_off: int | None
    drops_before: int = 0
    apart: tuple[tuple[str, float, float, int], ...] = ()

    def reached(self, epoch: float | None, progress: float) -> bool:
        """Return whether a run that stretches over these epochs has come to that one."""
        return epoch is not None and progress >= epoch / self.epochs

    def drops_of(self, layer: str, progress: float) -> int:
        """Return by how many powers of ten the rate of a layer's weights is below the first."""
        for name, first, last, drops in self.apart:
            if name == layer and self.reached(first, progress) and not self.reached(last, progress):
                return drops
        return self.drops_before + sum(self.reached(drop, progress) for drop in self.drops)


LOGS = {
    "hand": Log("layer-params-145.cfg", 91, (25, 51, 79), 67, 72, 67),  # Table 2, "1 CNN"
    "hand-2010": Log("layer-params-145-2010.cfg", 93, (23, 51, 78), 68, 72, 68),  # Table 1
    "hand-147": Log("layer-params-147.cfg", 90, (23, 51, 79), None, 79, None),  # §3.4
    "hand-148": Log("layer-params-148.cfg", 97, (22, 44, 86), 69, 73, 69),  # §3.3
    # Table 2, "1 CNN*", pre-trained on Fall 2011; a batch is a file of 1,024 of 1,281,167 images
    "fine-tuning": Log("layer-params-146-2012-2011.cfg", 54, (22, 42), 5, 7, 38, 1, (
        ("conv1", 0, 22, 2), ("fc8", 300 / 1252, 9, 0))),
}

# Ports that divide by 10 every so many epochs of a run: (of all, drops).
STEPS = {
    "step-20": (90, (20, 40, 60, 80)),  # Caffe solver.prototxt: 100,000 of 450,000 iterations
    "step-30": (90, (30, 60)),  # torchvision references/classification/train.py: --lr-step-size
}

# S layers-170.cfg / C2: dexp, base 0.01, tgtFactor 250, numSteps 4 for weights; 0.02, 10, 2 for
# biases.
DEXP_WEIGHTS = (250.0, 4)
DEXP_BIASES = (10.0, 2)
BIAS_DROP = 0.5  # of the run: dexp's; five runs of 2012 end at epsB=0.002 and do not say since when

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
    lr = (recipe.weight_lr if kind == "weight" else recipe.bias_lr) * _factor(
        recipe, layer, kind, progress, arithmetic)
    log = LOGS.get(recipe.schedule, LOGS["hand"])
    if recipe.conv1_freezing and layer == "conv1":
        if log.reached(log.conv1_frozen, progress):
            lr = 0.0
        elif kind == "weight" and log.reached(log.conv1_slowed, progress):
            lr = min(lr, recipe.weight_lr * arithmetic.drop_of_rate(3))
    return Rate(lr, recipe.weight_decay if kind == "weight" else recipe.bias_decay)


def noise_is_on(recipe: Recipe, progress: float) -> bool:
    """Return whether training images get colour noise (P §4.1; S: off from epoch 67 of 91).

    Args:
        recipe: has the switches.
        progress: updates done over all of the run, 0 <= progress < 1.
    """
    log = LOGS.get(recipe.schedule, LOGS["hand"])
    late = recipe.noise_off_late and log.reached(log.noise_off, progress)
    return recipe.colour_noise != "none" and not late


def _factor(recipe: Recipe, layer: str, kind: str, progress: float,
            arithmetic: Arithmetic) -> float:
    """Return what the schedule multiplies the initial rate by."""
    own = kind == "bias" and recipe.bias_schedule != "with weights"
    if recipe.schedule == "flat":
        return 1.0
    if recipe.schedule == "dexp":  # equal steps in time and in the exponent; the last: 1 / total
        total, steps = DEXP_BIASES if own else DEXP_WEIGHTS
        return arithmetic.decay_of_rate(total, steps, min(int(progress * steps), steps - 1))
    if own:
        dropped = recipe.bias_schedule == "one drop" and progress >= BIAS_DROP
        return arithmetic.drop_of_rate(1) if dropped else 1.0
    if recipe.schedule in STEPS:
        epochs, drops = STEPS[recipe.schedule]
        return arithmetic.drop_of_rate(sum(progress >= drop / epochs for drop in drops))
    return arithmetic.drop_of_rate(LOGS[recipe.schedule].drops_of(layer, progress))
