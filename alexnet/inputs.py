"""What each micro-batch of a run puts into the network: read, shared between the columns, centred, labelled.

All of it is a function of the micro-batch's number, so it is made ahead, on a thread (`ahead.py`), and none of the bits
depends on that. To a GPU go the uint8 crops, from pinned memory on a stream of its own; the rest is done there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.ahead import Ahead
from alexnet.augmentation import Order, Statistics, Views, colour_offsets, training_input, views
from alexnet.crossing import Placement, swap
from alexnet.layers import Architecture
from alexnet.recipe import Recipe
from alexnet.schedule import noise_is_on

if TYPE_CHECKING:
    from alexnet.training import Plan

Crops = Callable[[Views], Tensor]  # uint8 [n, 224, 224, 3] of the stored training images
CPU = torch.device("cpu")
EXPECTED_AHEAD = 4  # micro-batches whose images the disk is told of before they are read


@dataclass(frozen=True)
class Input:
    """Of one micro-batch.

    Attributes:
        first: place of its first image in the whole batch.
        images: float32 [n, 3, 224, 224], channels last, on the run's device.
        labels: int64 [n], likewise.
    """

    first: int
    images: Tensor
    labels: Tensor


class Inputs:
    """The inputs of the micro-batches that this process computes.

    Args:
        recipe, plan, table: what decides them.
        place: which micro-batches they are, and which part of each is read here.
        labels: int64 [images], of the training images.
        statistics: mean image and colour components of the training set.
        crops: reads crops of training images; called with a part of a batch that no other process reads.
        expect: told which images, int64 [n], `crops` will be asked for soon.
    """

    def __init__(self, recipe: Recipe, plan: Plan, table: Architecture, place: Placement, labels: Tensor,
                 statistics: Statistics, crops: Crops, expect: Callable[[Tensor], None] | None = None) -> None:
        self.recipe, self.plan, self.place, self.labels = recipe, plan, place, labels
        self.statistics, self.crops, self.expect = statistics, crops, expect
        self.margin = table.stored - table.crop
        self.mean = statistics.mean.to(place.device)
        self.order = Order(recipe, plan.seed, len(labels))
        self.share = plan.micro_batches // place.replicas  # micro-batches of a step that are computed here
        self.expected = 0
        # Threads take turns on a group of their own, so that no message of the network's is taken for one of theirs.
        self.group = dist.new_group(backend="gloo") if place.split else None
        self.stream = torch.cuda.Stream(place.device) if place.device.type == "cuda" else None
        self._ahead = Ahead(self._made, plan.steps * self.share)

    def take(self, step: int, number: int) -> Input:
        """The input of micro-batch `number`, one of this process's, of the step; the next one is begun."""
        made, ready = self._ahead.take(step * self.share + number - self.place.replica * self.share)
        if ready is not None:
            now = torch.cuda.current_stream(self.place.device)
            now.wait_event(ready)
            for tensor in (made.images, made.labels):
                tensor.record_stream(now)
        return made

    def finish(self) -> None:
        """Wait for what is on its way; call it before the process group ends."""
        self._ahead.finish()

    def _made(self, index: int) -> tuple[Input, torch.cuda.Event | None]:
        if self.expect:
            self._tell_disk(index)
        first, positions = self._positions(index)
        seen = views(self.recipe, self.plan.seed, self.order, positions, self.margin)
        crops = shared(len(positions), lambda part: self.crops(seen.part(part)), self.place, CPU, self.group)
        noisy = noise_is_on(self.recipe, index // self.share / self.plan.steps)
        offsets = colour_offsets(self.recipe, self.plan.seed, self.statistics, positions) if noisy else None
        labels = self.labels[seen.images]
        if self.stream is None:
            return Input(first, training_input(self.recipe, crops, seen, self.mean, offsets), labels), None
        with torch.cuda.stream(self.stream):
            crops, labels = self._moved(crops), self._moved(labels)
            images = training_input(self.recipe, crops, seen, self.mean,
                                    None if offsets is None else self._moved(offsets))
            return Input(first, images, labels), self.stream.record_event()

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.place.device, non_blocking=True)

    def _positions(self, index: int) -> tuple[int, Tensor]:
        """Of a micro-batch: the place of its first image in the batch, and the positions in the stream of images."""
        step, number = divmod(index, self.share)
        size = self.plan.batch // self.plan.micro_batches
        first = (self.place.replica * self.share + number) * size
        return first, step * self.plan.batch + first + torch.arange(size)

    def _tell_disk(self, index: int) -> None:
        assert self.expect
        until = min(index + EXPECTED_AHEAD + 1, self.plan.steps * self.share)
        for later in range(max(index + 1, self.expected), until):
            images = self.order.images(self._positions(later)[1])
            self.expect(images[_parts(len(images), self.place)[0]])
        self.expected = until


def shared(count: int, read: Callable[[slice], Tensor], place: Placement, device: torch.device,
           group: dist.ProcessGroup | None = None) -> Tensor:
    """`read(slice(0, count))` on a device, each image read by one process of the pair only."""
    if not place.split:
        return read(slice(0, count)).to(device)
    own, other = _parts(count, place)
    mine = read(own).to(device)
    theirs = swap(mine, place.peer, mine.new_empty((other.stop - other.start, *mine.shape[1:])), group)
    return torch.cat([mine, theirs] if place.mine[0] == 0 else [theirs, mine])


def _parts(count: int, place: Placement) -> tuple[slice, slice]:
    """What this process reads of so many images, and what its peer does."""
    if not place.split:
        return slice(0, count), slice(0, 0)
    halves = slice(0, count // 2), slice(count // 2, count)
    return halves if place.mine[0] == 0 else halves[::-1]
