"""The warning about a loss that does not leave guessing: when it comes, and what it names."""

from __future__ import annotations

import math

import pytest

from alexnet.recipe import recipe
from pipeline.training.plateau import plateau_warning

GUESSING = math.log(10)
SOURCE, PAPER = recipe("source"), recipe("paper")


@pytest.mark.parametrize(("loss", "epoch"), [(0.5, 10.0), (0.9 * GUESSING, 10.0), (GUESSING, 2.9)])
def test_a_healthy_or_a_young_training_has_no_warning(loss: float, epoch: float) -> None:
    assert plateau_warning(loss, epoch, 10, SOURCE) is None


def test_near_guessing_only_the_switches_that_can_be_the_cause_are_named() -> None:
    source, paper = (plateau_warning(0.99 * GUESSING, 3.0, 10, each) for each in (SOURCE, PAPER))
    assert source is not None
    assert paper is not None
    assert "near guessing, log(10) = 2.303" in source
    assert "recipe.weight_lr is 0.01" in source
    assert "conv345_init_std" not in source
    assert "colour_noise" not in source
    assert "recipe.conv345_init_std is 0.01" in paper
    assert "recipe.colour_noise" in paper


def test_a_loss_far_above_guessing_is_not_called_guessing() -> None:
    warning = plateau_warning(2 * GUESSING, 3.0, 10, SOURCE)
    assert warning is not None
    assert "higher than that of guessing" in warning
    assert "near guessing" not in warning
