"""Training (P §5): an update is a batch of crops, a forward and a backward pass, and 2012's rule.

A `Training` is the whole state of a run on this process: the number of the update, the weights, the
velocities. Its bits depend on the recipe, the seed and the images, and not on the placement: a
batch is cut into `micro_batches` parts, whose gradients are added pairwise in a fixed tree,
whichever process computed them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alexnet.augmentation import Statistics
from alexnet.inputs import Crops, InputLoader, read_jointly
from alexnet.messages import receive, send, swap
from alexnet.network import Network
from alexnet.optimizer import rescale, update
from alexnet.plan import Plan
from alexnet.recipe import Recipe
from alexnet.schedule import Rate, rate
from alexnet.testing import centre_crop
from alexnet.trace import PendingDigests, PendingEntry
from alexnet.weights import part_of_column


class Training:
    """The state of a run, and the updates that change it.

    Args:
        network: the columns held here.
        recipe: how it learns and what it sees.
        plan: seed, length and batch.
        labels: int64 [images], of the training images.
        statistics: mean image and colour components of the training set.
        crops: reads crops of training images; called with a part of a batch that no other process
            reads.
        expect: called with the images that `crops` will soon be asked for, if it is given.

    Attributes:
        step: updates done.
        loss: scalar, mean cross-entropy of the last update's batch, in nats; None before the first
            update, and where column 0 is not.
        wrong: scalar, how many images of that batch do not have the largest logit for their class;
            None as `loss` is.
        velocities, gradients: tensors in the order of `network.named_columns()`; there are no
            gradients before the first update.

    Raises:
        ValueError: the number of micro-batches is not a power of two, does not divide the batch, or
            cannot be shared by the replicas.
    """

    def __init__(self, network: Network, recipe: Recipe, plan: Plan, labels: Tensor,
                 statistics: Statistics, crops: Crops,
                 expect: Callable[[Tensor], None] | None = None) -> None:
        self.network, self.recipe, self.plan = network, recipe, plan
        self.placement, self.arithmetic = network.placement, network.arithmetic
        parts, replicas = plan.micro_batches, self.placement.replicas
        if parts % replicas:
            raise ValueError(f"{replicas} replicas cannot share {parts} micro-batches")
        if parts & (parts - 1) or plan.batch % parts:
            raise ValueError(f"{parts} micro-batches: not a power of two that divides {plan.batch}")
        self.inputs = InputLoader(recipe, plan, network.table, self.placement, labels, statistics,
                                  crops, expect, network.arithmetic)
        self.parameters = network.named_columns()
        self.decays = {layer.name: layer.decay for layer in network.table.layers}
        self.velocities = [torch.zeros_like(parameter) for _, _, parameter in self.parameters]
        self.step = 0  # updates done
        self.gradients: list[Tensor] = []  # of the last update, for the trace
        self.loss: Tensor | None = None
        self.wrong: Tensor | None = None
        # images and labels of its micro-batches, for the trace
        self._images: list[PendingDigests] | None = None

    @property
    def progress(self) -> float:
        """Return the share of the run that is done, 0 to 1."""
        return self.step / self.plan.steps

    def advance(self, traced: bool = False) -> None:
        """Do one update: v <- 0.9 v - 0.0005 lr w - lr <dL/dw>; w <- w + v (P §5).

        Args:
            traced: whether `trace` will be asked for what went into it, too.
        """
        self.network.train()
        self._images = [] if traced and 0 in self.placement.held else None
        sums = self._sum_over_replicas(self._sum_over_micro_batches())
        self.gradients = sums[: len(self.parameters)]
        self.wrong, self.loss = sums[-2:] if 0 in self.placement.held else (None, None)
        for (name, _, parameter), velocity, gradient in zip(
                self.parameters, self.velocities, self.gradients, strict=True):
            now = rate(self.recipe, name, self.progress, self.arithmetic)
            now = Rate(now.lr, now.decay * self.decays[name.split(".")[0]])
            if self.recipe.momentum_at_drop == "rescaled" and self.step:
                before = rate(self.recipe, name, (self.step - 1) / self.plan.steps,
                              self.arithmetic)
                rescale(velocity, before, now, self.arithmetic)
            update(parameter, velocity, gradient, now, self.arithmetic)
        self.step += 1

    def _sum_over_micro_batches(self) -> list[Tensor]:
        """Return gradients, wrong images and loss of this replica's part of a batch.

        Pairs of micro-batches are added, then pairs of pairs.
        """
        share = self.plan.micro_batches // self.placement.replicas
        first = self.placement.replica * share
        pending: list[tuple[int, list[Tensor]]] = []
        for number in range(first, first + share):
            size, sums = 1, self._micro_batch(number)
            while pending and pending[-1][0] == size:
                sums = [self.arithmetic.accumulate(a, b)
                        for a, b in zip(pending.pop()[1], sums, strict=True)]
                size *= 2
            pending.append((size, sums))
        return pending[0][1]

    def _sum_over_replicas(self, sums: list[Tensor]) -> list[Tensor]:
        """Return the sums over all replicas: the same tree, its upper levels.

        It is an all-reduce by recursive doubling: two replicas swap what they have, and both add
        it.
        """
        distance = 1
        while distance < self.placement.replicas:
            partner = self.placement.rank_of(self.placement.replica ^ distance,
                                             self.placement.held[0])
            sums = [self.arithmetic.accumulate(a, swap(a, partner)) for a in sums]
            distance *= 2
        return sums

    def _micro_batch(self, number: int) -> list[Tensor]:
        """Return the gradients of one micro-batch, and its wrong images and loss."""
        batch = self.inputs.take(self.step, number)
        if self._images is not None:
            self._images.append(PendingDigests({"images": batch.images, "labels": batch.labels}))
        logits = self.network(batch.images, self.step, batch.offset)
        if 0 in self.placement.held:
            loss, wrong = self.arithmetic.loss(logits, batch.labels, self.plan.batch)
        else:
            loss = logits
            wrong = torch.zeros((), dtype=torch.int64, device=self.placement.device)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [parameter.grad for _, _, parameter in self.parameters
                     if parameter.grad is not None]
        return [*gradients, wrong, loss.detach()]

    def finish(self) -> None:
        """Wait for the input that is under way; call it before the process group ends."""
        self.inputs.finish()

    @torch.no_grad()
    def validate(self, images: Callable[[slice], Tensor], labels: Tensor,
                 batch: int = 128) -> dict[str, float]:
        """Return centre-crop error and mean loss on validation images.

        Every process of replica 0 takes part.

        Args:
            images: gives uint8 [n, 256, 256, 3] for a slice of the validation set.
            labels: int64 [count].
            batch: images in one forward pass.

        Returns:
            {"error": top-1, a fraction, "loss": mean cross-entropy in nats} where column 0 is, {}
            elsewhere.
        """
        self.network.eval()
        outputs = []
        for start in range(0, len(labels), batch):
            stop = min(start + batch, len(labels))

            def read(part: slice, start: int = start) -> Tensor:
                return images(slice(start + part.start, start + part.stop))

            pixels = read_jointly(stop - start, read, self.placement, self.placement.device)
            crops = centre_crop(pixels, self.inputs.mean, self.network.table.crop,
                                self.arithmetic)
            outputs.append(self.network(crops).cpu())
        if 0 not in self.placement.held:
            return {}
        logits = torch.cat(outputs)
        return {"error": self.arithmetic.errors(self.arithmetic.softmax(logits), labels, top=1),
                "loss": self.arithmetic.mean_cross_entropy(logits, labels)}

    def trace(self) -> PendingEntry:
        """Begin the trace's entry that identifies the run after this update.

        Later updates do not change it. All processes take part.
        """
        names = [f"{name}/{column}" for name, column, _ in self.parameters]
        tensors = {} if self.placement.replica else {**self._state(), "gradients": self.gradients}
        return PendingEntry(self.step, self.loss, self._images or [], {
            kind: dict(zip(names, of_kind, strict=True)) for kind, of_kind in tensors.items()},
            self._gather_images, self._gather_digests)

    def _state(self) -> dict[str, list[Tensor]]:
        """Return the weights and velocities held here, in the order of `parameters`."""
        weights = [parameter.detach() for _, _, parameter in self.parameters]
        return {"weights": weights, "momentum": self.velocities}

    def _gather_digests(self, digests: dict[str, str]) -> dict[str, str]:
        """Return these digests and those of column 1, which the process of column 0 receives."""
        if not self.placement.split:
            return digests
        if 0 not in self.placement.held:
            self._send_digests([*digests.values()], self.placement.peer)
            return digests
        names = [f"{name}/1" for name in self.network.table.parameters_of(1)]
        received = self._receive_digests(len(names), self.placement.peer)
        return digests | dict(zip(names, received, strict=True))

    def _gather_images(self, digests: list[str]) -> list[str]:
        """Return these digests and those of the other replicas, which the first one receives."""
        if not digests:
            return digests
        if self.placement.replica:
            self._send_digests(digests, self.placement.rank_of(0, 0))
            return digests
        others = [self._receive_digests(len(digests), self.placement.rank_of(replica, 0))
                  for replica in range(1, self.placement.replicas)]
        return [digest for part in (digests, *others) for digest in part]

    def _send_digests(self, digests: list[str], rank: int) -> None:
        message = bytearray(b"".join(bytes.fromhex(digest) for digest in digests))
        send(torch.frombuffer(message, dtype=torch.uint8).to(self.placement.device), rank)

    def _receive_digests(self, count: int, rank: int) -> list[str]:
        like = torch.empty(32 * count, dtype=torch.uint8, device=self.placement.device)
        received = bytes(receive(like, rank).cpu().tolist())
        return [received[32 * i: 32 * i + 32].hex() for i in range(count)]

    def state(self) -> dict[str, Tensor] | None:
        """Return weights and velocities with the columns merged; None where column 0 is not.

        All processes of a replica take part.

        Returns:
            {"weights/conv1.weight": float32 [96, 3, 11, 11], ..., "momentum/conv1.weight": ...}, on
            the CPU.
        """
        shapes = self.network.table.parameters_of(0)
        merged: dict[str, Tensor] = {}
        for kind, tensors in self._state().items():
            held = {(name, column): tensor
                    for (name, column, _), tensor in zip(self.parameters, tensors, strict=True)}
            for name, shape in shapes.items():
                columns = self._columns_with(name)
                if 0 in self.placement.held:
                    merged[f"{kind}/{name}"] = torch.cat([
                        self._part(held.get((name, column)), shape) for column in columns])
                else:
                    for column in columns[1:]:
                        send(held[name, column], self.placement.peer)
        return merged if 0 in self.placement.held else None

    def _columns_with(self, name: str) -> list[int]:
        """Return the columns that have a parameter of this name."""
        return [column for column in range(self.placement.columns)
                if name in self.network.table.parameters_of(column)]

    def _part(self, held: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        """Return one column's part of a parameter on the CPU; if not held here, the peer sends
        it."""
        if held is None:
            like = torch.empty(shape, device=self.placement.device)
            held = receive(like, self.placement.peer)
        return held.to("cpu")

    @torch.no_grad()
    def load(self, step: int, state: dict[str, Tensor]) -> None:
        """Go on from a merged state, whichever placement it was made under.

        Args:
            step: updates that were done.
            state: as `state` returned it, of the same network.

        Raises:
            KeyError: a tensor that this network has is not in it.
        """
        for kind, tensors in self._state().items():
            for (name, column, _), tensor in zip(self.parameters, tensors, strict=True):
                tensor.copy_(part_of_column(state[f"{kind}/{name}"], column, len(tensor)))
        self.step = step
