"""Losses that are read some updates later are the same losses."""

from __future__ import annotations

import types

import pytest
import torch

from pipeline.system.errors import UserError
from pipeline.training import run

LOSSES = [2.5, 2.25, 1.125, 3.0, 0.1]


def counted(waiting: int, losses: list[float]) -> run._Run:
    """A run that has noted these losses, so many of which may wait."""
    training = object.__new__(run._Run)
    training.loss_sum, training.loss_count, training.wrong, training.losses = 0.0, 0, 0, ""
    training.uncounted, training.losses_waiting, training.last_loss = [], waiting, None
    for step, loss in enumerate(losses, 1):
        training.training = types.SimpleNamespace(  # type: ignore[assignment]
            step=step, loss=torch.tensor(loss), wrong=torch.tensor(step))
        training._note_loss()
    return training


def sums(training: run._Run) -> tuple[float, int, int, str]:
    return training.loss_sum, training.loss_count, training.wrong, training.losses


def test_those_that_wait_are_counted_in_their_order() -> None:
    at_once, later = counted(1, LOSSES), counted(3, LOSSES)
    assert at_once.loss_count == 5
    assert later.loss_count == 3
    later._count_losses()
    assert sums(later) == sums(at_once)
    turned = counted(1, LOSSES[::-1])
    assert sums(turned) != sums(at_once)


def test_one_that_is_no_number_is_named_by_its_own_step() -> None:
    with pytest.raises(UserError, match="the loss is nan at step 2: the run has diverged"):
        counted(4, [1.0, float("nan"), 1.0, 1.0])
