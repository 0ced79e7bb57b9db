"""Training (P §5): one update is a batch of crops, a forward and a backward pass, and the rule of 2012.

A `Training` is the whole state of a run on this process: the number of the update, the weights, the velocities. Its
bits depend on the recipe, the seed and the images, and not on the placement: a batch is cut into `micro_batches` parts
whose gradients are added pairwise in a fixed tree, whichever process computed them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.augmentation import Statistics
from alexnet.crossing import Placement, receive, send, swap
from alexnet.inputs import Crops, Inputs, shared
from alexnet.network import Network
from alexnet.optimizer import rescale, update
from alexnet.recipe import Recipe
from alexnet.schedule import Rate, rate
from alexnet.testing import centre_crop, errors
from alexnet.trace import PendingEntry


@dataclass(frozen=True)
class Plan:
    """What decides a run's course, besides the recipe and the network.

    Attributes:
        seed: of crops, flips, colour noise and, where it is shuffled anew, the order of images.
        steps: updates of the whole run, over which the schedule of the learning rate stretches.
        batch: images in one update, 128 in the paper (P §5).
        micro_batches: parts of a batch whose gradients are added, a power of two that divides `batch`.
    """

    seed: int
    steps: int
    batch: int
    micro_batches: int


class Training:
    """The state of a run, and the updates that change it.

    Args:
        network: the columns held here.
        recipe: how it learns and what it sees.
        plan: seed, length and batch.
        labels: int64 [images], of the training images.
        statistics: mean image and colour components of the training set.
        crops: reads crops of training images; called with a part of a batch that no other process reads.
        expect: told which images `crops` will be asked for soon, if it is given.

    Attributes:
        step: updates done.
        loss: scalar, mean cross-entropy of the last update's batch, in nats; None before it, and without column 0.
        wrong: scalar, how many images of that batch have not the largest logit for their class; None likewise.
        velocities, gradients: tensors in the order of `network.named_columns()`; no gradients before the first update.

    Raises:
        ValueError: micro-batches that are no power of two, do not divide the batch, or that the replicas cannot share.
    """

    def __init__(self, network: Network, recipe: Recipe, plan: Plan, labels: Tensor, statistics: Statistics,
                 crops: Crops, expect: Callable[[Tensor], None] | None = None) -> None:
        self.network, self.recipe, self.plan, self.place = network, recipe, plan, network.place
        if plan.micro_batches % self.place.replicas:
            raise ValueError(f"{self.place.replicas} replicas cannot share {plan.micro_batches} micro-batches")
        if plan.micro_batches & (plan.micro_batches - 1) or plan.batch % plan.micro_batches:
            raise ValueError(f"{plan.micro_batches} micro-batches: not a power of two that divides {plan.batch}")
        self.inputs = Inputs(recipe, plan, network.table, self.place, labels, statistics, crops, expect)
        self.parameters = network.named_columns()
        self.decays = {layer.name: layer.decay for layer in network.table.layers}
        self.velocities = [torch.zeros_like(parameter) for _, _, parameter in self.parameters]
        self.step = 0  # updates done
        self.gradients: list[Tensor] = []  # of the last update, for the trace
        self.loss: Tensor | None = None
        self.wrong: Tensor | None = None

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.step / self.plan.steps

    def advance(self) -> None:
        """One update: v <- 0.9 v - 0.0005 lr w - lr <dL/dw>; w <- w + v (P §5)."""
        self.network.train()
        sums = self._over_replicas(self._over_micro_batches())
        self.gradients = sums[: len(self.parameters)]
        self.wrong, self.loss = sums[-2:] if 0 in self.place.mine else (None, None)
        for (name, _, parameter), velocity, gradient in zip(
                self.parameters, self.velocities, self.gradients, strict=True):
            now = rate(self.recipe, name, self.progress)
            now = Rate(now.lr, now.decay * self.decays[name.split(".")[0]])
            if self.recipe.momentum_at_drop == "rescaled" and self.step:
                rescale(velocity, rate(self.recipe, name, (self.step - 1) / self.plan.steps), now)
            update(parameter, velocity, gradient, now)
        self.step += 1

    def _over_micro_batches(self) -> list[Tensor]:
        """Gradients, wrong images and loss of this replica's part of a batch: pairs are added, then pairs of pairs."""
        share = self.plan.micro_batches // self.place.replicas
        pending: list[tuple[int, list[Tensor]]] = []
        for number in range(self.place.replica * share, (self.place.replica + 1) * share):
            size, sums = 1, self._of_micro_batch(number)
            while pending and pending[-1][0] == size:
                sums = [a.add_(b) for a, b in zip(pending.pop()[1], sums, strict=True)]
                size *= 2
            pending.append((size, sums))
        return pending[0][1]

    def _over_replicas(self, sums: list[Tensor]) -> list[Tensor]:
        """The same tree, its upper levels: neighbours swap what they have and both add it."""
        distance = 1
        while distance < self.place.replicas:
            partner = self.place.rank_of(self.place.replica ^ distance, self.place.mine[0])
            sums = [a.add_(swap(a, partner)) for a in sums]
            distance *= 2
        return sums

    def _of_micro_batch(self, number: int) -> list[Tensor]:
        batch = self.inputs.take(self.step, number)
        logits = self.network(batch.images, self.step, batch.first)
        if 0 in self.place.mine:
            # P §3.5: the mean over the batch of the log-probability of the right label
            loss = F.cross_entropy(logits, batch.labels, reduction="sum") / self.plan.batch
            wrong = (logits.detach().argmax(1) != batch.labels).sum()
        else:
            loss, wrong = logits, torch.zeros((), dtype=torch.int64, device=self.place.device)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [parameter.grad for _, _, parameter in self.parameters if parameter.grad is not None]
        return [*gradients, wrong, loss.detach()]

    def finish(self) -> None:
        """Wait for the input that is being made ahead; call it before the process group ends."""
        self.inputs.finish()

    @torch.no_grad()
    def validate(self, images: Callable[[slice], Tensor], labels: Tensor, batch: int = 128) -> dict[str, float]:
        """Centre-crop errors and mean loss on validation images; every process of replica 0 takes part.

        Args:
            images: gives uint8 [n, 256, 256, 3] for a slice of the validation set.
            labels: int64 [count].
            batch: images in one forward pass.

        Returns:
            {"error": top-1, a fraction, "loss": mean cross-entropy in nats} where column 0 is, {} elsewhere.
        """
        self.network.eval()
        found = []
        for start in range(0, len(labels), batch):
            stop = min(start + batch, len(labels))

            def read(part: slice, start: int = start) -> Tensor:
                return images(slice(start + part.start, start + part.stop))

            pixels = shared(stop - start, read, self.place, self.place.device)
            found.append(self.network(centre_crop(pixels, self.inputs.mean, self.network.table.crop)).cpu())
        if 0 not in self.place.mine:
            return {}
        logits = torch.cat(found)
        return {"error": errors(torch.softmax(logits, dim=1), labels, top=1),
                "loss": float(F.cross_entropy(logits.double(), labels))}

    def trace(self) -> PendingEntry:
        """Begin the entry of the trace that identifies the run after this update; it is not changed by later ones."""
        kinds: dict[str, list[Tensor]] = {"weights": [parameter for _, _, parameter in self.parameters],
                                          "momentum": self.velocities, "gradients": self.gradients}
        names = [f"{name}/{column}" for name, column, _ in self.parameters]
        return PendingEntry(self.step, self.loss, {kind: dict(zip(names, tensors, strict=True))
                                                   for kind, tensors in kinds.items()}, self._with_peers)

    def _with_peers(self, digests: dict[str, str]) -> dict[str, str]:
        if not self.place.split:
            return digests
        device = self.place.device
        if 0 not in self.place.mine:
            told = bytearray(b"".join(bytes.fromhex(digest) for digest in digests.values()))
            send(torch.frombuffer(told, dtype=torch.uint8).to(device), self.place.peer)
            return digests
        names = [f"{name}/1" for name in self.network.table.parameters_of(1)]
        heard = receive(torch.empty(32 * len(names), dtype=torch.uint8, device=device), self.place.peer)
        raw = bytes(heard.cpu().tolist())
        theirs = {name: raw[32 * i: 32 * i + 32].hex() for i, name in enumerate(names)}
        return digests | theirs

    def state(self) -> dict[str, Tensor] | None:
        """Weights and velocities, float32, both columns merged, on the CPU: {"weights/conv1.weight": [96, 3, 11, 11],
        ..., "momentum/conv1.weight": ...}. All processes of a replica take part; None where column 0 is not."""
        kinds = {"weights": [p.detach() for _, _, p in self.parameters], "momentum": self.velocities}
        columns = [self.network.table.parameters_of(column) for column in range(self.place.columns)]
        merged: dict[str, Tensor] = {}
        for kind, tensors in kinds.items():
            mine = {(name, column): tensor
                    for (name, column, _), tensor in zip(self.parameters, tensors, strict=True)}
            for name, shape in columns[0].items():
                parts = [(name, column) for column in range(self.place.columns) if name in columns[column]]
                if 0 not in self.place.mine:
                    for part in parts[1:]:
                        send(mine[part], self.place.peer)
                    continue
                found = [mine[part] if part in mine else
                         receive(torch.empty(shape, device=self.place.device), self.place.peer) for part in parts]
                merged[f"{kind}/{name}"] = torch.cat([part.to("cpu") for part in found])
        return merged if 0 in self.place.mine else None

    @torch.no_grad()
    def load(self, step: int, state: dict[str, Tensor]) -> None:
        """Go on from a merged state, whichever placement left it.

        Args:
            step: updates that were done.
            state: as `state` returned it, of the same network.

        Raises:
            KeyError: a tensor that this network has is not in it.
        """
        for kind, tensors in (("weights", [p for _, _, p in self.parameters]), ("momentum", self.velocities)):
            for (name, column, _), tensor in zip(self.parameters, tensors, strict=True):
                rows = len(tensor)
                tensor.copy_(state[f"{kind}/{name}"][column * rows: (column + 1) * rows])
        self.step = step


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The canonical weights in a merged state: {"conv1.weight": [96, 3, 11, 11], ...}."""
    return {name.removeprefix("weights/"): tensor for name, tensor in state.items() if name.startswith("weights/")}


@torch.no_grad()
def load_weights(network: Network, weights: dict[str, Tensor]) -> None:
    """Put canonical weights, {"conv1.weight": [96, 3, 11, 11], ...}, into the columns held here.

    Parameters whose names are not there stay as they are. Shapes must be the network's: `fitting` chooses what fits.
    """
    for name, column, parameter in network.named_columns():
        if name in weights:
            rows = len(parameter)
            parameter.copy_(weights[name][column * rows: (column + 1) * rows])


def fitting(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of another network's canonical weights, those of layers that this one has in the same shape.

    For fine-tuning (P §6: a net pre-trained on 22,000 classes goes on with 1000): layers of another width, as the
    output layer then is, keep their initial weights. A layer is taken whole, weights and biases, or not at all.
    """
    shapes = network.table.canonical()
    unlike = {name.split(".")[0] for name, shape in shapes.items()
              if name not in weights or tuple(weights[name].shape) != shape}
    return {name: weights[name] for name in shapes if name.split(".")[0] not in unlike}


def describe_place(place: Placement) -> str:
    """As the record names it: "one process", "two processes" or "2 x two processes"."""
    words = "two processes" if place.split else "one process"
    return words if place.replicas == 1 else f"{place.replicas} x {words}"
