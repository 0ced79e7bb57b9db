"""The warning about a training whose loss does not leave that of guessing."""

from __future__ import annotations

import math

from alexnet.recipe import Recipe

FEWEST_EPOCHS = 3.0  # a healthy run has left log(classes) behind by then
NEAR = 0.03  # of log(classes): so near the loss is that of guessing
GOOD_STD = 0.03  # of the initial weights of conv3 to conv5: with less the image hardly gets through


def plateau_warning(loss: float, epoch: float, classes: int, recipe: Recipe) -> str | None:
    """Return the warning, with the switches that can be the cause; None for a healthy loss.

    Args:
        loss: the mean training loss since the last validation, in nats per image.
        epoch: passes over the training images so far.
    """
    guessing = math.log(classes)
    if epoch < FEWEST_EPOCHS or loss < (1 - NEAR) * guessing:
        return None
    told = f"after {epoch:.1f} epochs the loss is {loss:.3f}"
    if recipe.weight_lr and loss > (1 + NEAR) * guessing:  # without updates it stays as it began
        return (f"{told}, higher than that of guessing, log({classes}) = {guessing:.3f}: the "
                f"updates are too large. Lower recipe.weight_lr (now {recipe.weight_lr:g})")
    causes = ["too few updates so far (raise train.epochs, lower train.batch)"]
    if recipe.conv345_init_std < GOOD_STD:
        causes.append(f"initial weights too small (recipe.conv345_init_std is "
                      f"{recipe.conv345_init_std:g}; {GOOD_STD:g} trains)")
    if recipe.colour_noise == "eigenvalue":
        causes.append("colour noise as the paper prints it (recipe.colour_noise; stdev trains)")
    causes.append(f"a learning rate too small or too large (recipe.weight_lr is "
                  f"{recipe.weight_lr:g})")
    return (f"{told}, near guessing, log({classes}) = {guessing:.3f}. Likely causes: "
            f"{'; '.join(causes)}")
