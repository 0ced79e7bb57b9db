"""What each micro-batch of a run puts into the network: images that are read, centred and labelled.

All of it is a function of the micro-batch's number, so it is prefetched on a thread, and no bit
depends on that. What goes to a GPU are uint8 crops, from pinned memory on a stream of their own;
the rest is done there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.augmentation import (
    Order,
    Statistics,
    Views,
    colour_offsets,
    draw_views,
    input_mean,
    training_input,
)
from alexnet.layers import Architecture
from alexnet.messages import swap
from alexnet.placement import Placement
from alexnet.plan import Plan
from alexnet.prefetch import Prefetcher
from alexnet.recipe import Recipe
from alexnet.resized_crops import resized_crops
from alexnet.schedule import noise_is_on

# uint8 [n, 224, 224, 3] of the stored training images; whole ones for crops that are resized
Crops = Callable[[Views], Tensor]
CPU = torch.device("cpu")
READAHEAD = 4  # micro-batches whose images are announced before they are read


@dataclass(frozen=True)
class MicroBatch:
    """The input of one micro-batch.

    Attributes:
        offset: position of its first image in the whole batch.
        images: float32 [n, 3, 224, 224], channels last, on the run's device.
        labels: int64 [n], on the run's device.
    """

    offset: int
    images: Tensor
    labels: Tensor


class InputLoader:
    """The inputs of the micro-batches that this process computes.

    Args:
        recipe, plan, table: what decides them.
        placement: which micro-batches they are, and which part of each is read here.
        labels: int64 [images], of the training images.
        statistics: mean image and colour components of the training set.
        crops: reads crops of training images; called with a part of a batch that no other process
            reads.
        expect: called with the images, int64 [n], that `crops` will soon be asked for.
        arithmetic: that centres the images.

    Attributes:
        mean: what is subtracted, float32 [256, 256, 3], on the run's device: the mean image, or
            one colour.
    """

    def __init__(self, recipe: Recipe, plan: Plan, table: Architecture, placement: Placement,
                 labels: Tensor, statistics: Statistics, crops: Crops,
                 expect: Callable[[Tensor], None] | None = None,
                 arithmetic: Arithmetic = NATIVE) -> None:
        self.recipe, self.plan, self.placement, self.labels = recipe, plan, placement, labels
        self.statistics, self.crops, self.expect = statistics, crops, expect
        self.arithmetic = arithmetic
        self.table, self.margin = table, table.stored - table.crop
        self.mean = input_mean(recipe, statistics.mean).to(placement.device)
        self.order = Order(recipe, plan.seed, len(labels))
        self.share = plan.micro_batches // placement.replicas  # of a step, that are computed here
        self.expected = 0  # micro-batches that `expect` was called for, counted from the first step
        # Threads take turns on a group of their own, so that no message of the network's is taken
        # for one of theirs.
        self.group = dist.new_group(backend="gloo") if placement.split else None
        on_gpu = placement.device.type == "cuda"
        self.stream = torch.cuda.Stream(placement.device) if on_gpu else None
        self._prefetcher = Prefetcher(self._load, plan.steps * self.share)

    def take(self, step: int, number: int) -> MicroBatch:
        """Return the input of micro-batch `number` of the step, and begin the next one.

        Args:
            step: updates done before it.
            number: of the micro-batch in its batch; it is one of this replica's.
        """
        first = self.placement.replica * self.share
        batch, ready = self._prefetcher.take(step * self.share + number - first)
        if ready is not None:
            current = torch.cuda.current_stream(self.placement.device)
            current.wait_event(ready)
            for tensor in (batch.images, batch.labels):
                tensor.record_stream(current)
        return batch

    def finish(self) -> None:
        """Wait for the input that is under way; call it before the process group ends."""
        self._prefetcher.finish()

    def _load(self, index: int) -> tuple[MicroBatch, torch.cuda.Event | None]:
        """Return an input, and on a GPU the event after which it is there.

        Args:
            index: number of the micro-batch among all of the run that this replica computes.
        """
        if self.expect:
            self._announce(index)
        offset, positions = self._positions(index)
        views = draw_views(self.recipe, self.plan.seed, self.order, positions, self.margin,
                           self.table.stored, self.arithmetic)
        crops = read_jointly(len(positions), lambda part: self._read(views.part(part)),
                             self.placement, CPU, self.group)
        noisy = noise_is_on(self.recipe, index // self.share / self.plan.steps)
        noise = colour_offsets(self.recipe, self.plan.seed, self.statistics, positions,
                               self.arithmetic) if noisy else None
        labels = self.labels[views.images]
        if self.stream is None:
            images = training_input(self.recipe, crops, views, self.mean, noise, self.arithmetic)
            return MicroBatch(offset, images, labels), None
        with torch.cuda.stream(self.stream):
            crops, labels = self._to_device(crops), self._to_device(labels)
            noise = None if noise is None else self._to_device(noise)
            images = training_input(self.recipe, crops, views, self.mean, noise, self.arithmetic)
            return MicroBatch(offset, images, labels), self.stream.record_event()

    def _read(self, views: Views) -> Tensor:
        crops = self.crops(views)
        return (crops if views.boxes is None
                else resized_crops(crops, views.boxes, self.table.crop))

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(self.placement.device, non_blocking=True)

    def _positions(self, index: int) -> tuple[int, Tensor]:
        """Return the position of a micro-batch's first image in the batch, and the positions of all
        its images, int64 [n], in the stream of images."""
        step, number = divmod(index, self.share)
        size = self.plan.batch // self.plan.micro_batches
        offset = (self.placement.replica * self.share + number) * size
        return offset, step * self.plan.batch + offset + torch.arange(size)

    def _announce(self, index: int) -> None:
        """Call `expect` with the images that this process will read in the next micro-batches."""
        assert self.expect
        stop = min(index + READAHEAD + 1, self.plan.steps * self.share)
        for later in range(max(index + 1, self.expected), stop):
            images = self.order.images(self._positions(later)[1])
            self.expect(images[_parts(len(images), self.placement)[0]])
        self.expected = stop


def side_read(recipe: Recipe, table: Architecture) -> int:
    """Return the side of what `Crops` gives, in pixels: that of the input, or of the whole image
    where crops are resized."""
    return table.stored if recipe.crops == "resized" else table.crop


def read_jointly(count: int, read: Callable[[slice], Tensor], placement: Placement,
                 device: torch.device, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return `read(slice(0, count))`, each image of which is read by one process of the pair only.

    Args:
        count: images, the same number in both processes.
        read: gives a tensor of as many rows as the slice has.
        placement: whether there is a pair, and which of the two this process is.
        device: where the result is to be.
        group: processes that exchange their parts; None is the group of all.
    """
    if not placement.split:
        return read(slice(0, count)).to(device)
    own, other = _parts(count, placement)
    rows = read(own).to(device)
    like = rows.new_empty((other.stop - other.start, *rows.shape[1:]))
    peers = swap(rows, placement.peer, like, group)
    return torch.cat([rows, peers] if placement.held[0] == 0 else [peers, rows])


def _parts(count: int, placement: Placement) -> tuple[slice, slice]:
    """Return the parts of so many images that this process reads, and that its peer reads."""
    if not placement.split:
        return slice(0, count), slice(0, 0)
    halves = slice(0, count // 2), slice(count // 2, count)
    return halves if placement.held[0] == 0 else halves[::-1]
