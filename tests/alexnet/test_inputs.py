"""The inputs of a run, prefetched, against those made one by one when they are needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from alexnet.augmentation import Views, colour_offsets, draw_views, training_input
from alexnet.inputs import READAHEAD, InputLoader
from alexnet.schedule import noise_is_on
from alexnet.training import Training
from tests.alexnet.runs import IMAGES, Run, training

RUN = Run(steps=9, batch=8, micro_batches=2)


def plain(state: Training, step: int, number: int) -> tuple[Tensor, Tensor]:
    """Return the twin: images and labels of this micro-batch, made now, on this thread."""
    inputs, plan = state.inputs, state.plan
    size = plan.batch // plan.micro_batches
    positions = torch.arange(step * plan.batch + number * size,
                             step * plan.batch + (number + 1) * size)
    views = draw_views(inputs.recipe, plan.seed, inputs.order, positions)
    noisy = noise_is_on(inputs.recipe, step / plan.steps)
    offsets = None
    if noisy:
        offsets = colour_offsets(inputs.recipe, plan.seed, inputs.statistics, positions)
    images = training_input(inputs.recipe, inputs.crops(views), views, inputs.mean, offsets)
    return images, inputs.labels[views.images]


@pytest.mark.parametrize("recipe", ["source", "paper"])
def test_prefetched_they_have_the_same_bits(recipe: Literal["source", "paper"]) -> None:
    state = training(replace(RUN, recipe=recipe))
    changed = 0
    for step in range(RUN.steps):
        for number in range(RUN.micro_batches):
            actual, expected = state.inputs.take(step, number), plain(state, step, number)
            assert actual.offset == number * 4
            assert torch.equal(actual.labels, expected[1])
            assert torch.equal(actual.images, expected[0])
            actual.images.view(torch.int32)[-1, -1, -1, -1] ^= 1
            changed += not torch.equal(actual.images, expected[0])
    assert changed == 18
    noisy = [noise_is_on(state.recipe, step / RUN.steps) for step in range(RUN.steps)]
    assert recipe == "paper" or (noisy[0] and not noisy[-1])  # both kinds were compared


def test_each_image_is_announced_before_it_is_read() -> None:
    state = training(RUN)
    announced: list[int] = []
    before: list[int] = []

    def crops(seen: Views) -> Tensor:
        assert set(seen.images.tolist()) <= set(announced) or not before
        before.extend(seen.images.tolist())
        return torch.zeros(len(seen.images), 224, 224, 3, dtype=torch.uint8)

    inputs = InputLoader(state.recipe, state.plan, state.network.table, state.placement,
                         state.inputs.labels, state.inputs.statistics, crops,
                         lambda images: announced.extend(images.tolist()))
    for step in range(RUN.steps):
        for number in range(RUN.micro_batches):
            inputs.take(step, number)
    assert len(before) == RUN.steps * RUN.batch
    assert announced == before[4:]  # all but the first micro-batch, each once, in order
    assert 4 * READAHEAD < IMAGES
