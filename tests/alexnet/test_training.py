"""An update against one in float64, the tree of micro-batches, states, traces and validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alexnet.augmentation import draw_views, training_input
from alexnet.digest import combined, digest_of, tensor_digest
from alexnet.recipe import recipe, switches
from alexnet.trace import link_digest, linked, loss_chain
from alexnet.training import Training
from tests.alexnet import reference
from tests.alexnet.reference import Weights
from tests.alexnet.runs import IMAGES, Run, pictures, statistics, training

SMALL = Run(steps=91, batch=4, micro_batches=2)
# The noise as printed makes the loss overflow.
PAPER = replace(SMALL, recipe="paper", switches={"colour_noise": "eigenvalue-unit"})
SEED = 7  # of runs.training


def as_float64(state: Training, tensors: list[Tensor]) -> Weights:
    arrays: dict[tuple[str, int], list[Any]] = {}
    for (name, column, _), tensor in zip(state.parameters, tensors, strict=True):
        copy = tensor.detach().double().numpy().copy()
        arrays.setdefault((name.split(".")[0], column), []).append(copy)
    return {key: (weight, bias) for key, (weight, bias) in arrays.items()}


def weights(state: Training) -> Weights:
    return as_float64(state, [parameter for _, _, parameter in state.parameters])


def close(actual: Weights, expected: Weights, within: float) -> None:
    for key, pair in expected.items():
        for ours, slow in zip(actual[key], pair, strict=True):
            assert np.linalg.norm(ours - slow) <= within * np.linalg.norm(slow), key


class SlowTraining:
    """The same run in float64: order, crops, noise, mean, network, loss, update."""

    def __init__(self, run: Run) -> None:
        self.run, self.images, self.statistics = run, pictures().numpy(), statistics(pictures())
        self.recipe = asdict(recipe(run.recipe, **run.switches))

    def image_at(self, position: int) -> int:
        epoch, place = divmod(position, IMAGES)
        if self.recipe["order"] == "file":
            return place
        keys = [(w[0] << 31) ^ w[1]
                for w in (reference.words(SEED, "order", epoch, i) for i in range(IMAGES))]
        return sorted(range(IMAGES), key=keys.__getitem__)[place]

    def gradients(self, step: int, weights: Weights) -> tuple[float, Weights]:
        """Return loss and gradients; `wrong` is then how many images of the batch have another
        largest logit than that of their label."""
        positions = range(step * self.run.batch, (step + 1) * self.run.batch)
        images = [self.image_at(position) for position in positions]
        values, vectors = self.statistics.eigenvalues.numpy(), self.statistics.eigenvectors.numpy()
        x = np.stack([reference.training_input(
            self.recipe, self.images[image], reference.crop_of(self.recipe, SEED, position),
            self.statistics.mean.double().numpy(),
            reference.colour_offset(self.recipe, SEED, position, values, vectors))
            for image, position in zip(images, positions, strict=True)])
        units = round(2048 * self.run.width)
        masks = {(layer, column): reference.coins(SEED, f"dropout {layer} column {column}", step, 0,
                                                  self.run.batch, units)
                 for layer in ("fc6", "fc7") for column in (0, 1)}
        net = reference.Net(self.recipe, masks=masks)
        logits, labels = net.forward(x, weights), np.array(images) % self.run.classes
        self.wrong = sum(max(range(self.run.classes), key=one.__getitem__) != label
                         for one, label in zip(logits, labels, strict=True))
        loss, by_logits = reference.cross_entropy(logits, labels)
        return loss, net.backward(by_logits)


@pytest.mark.parametrize("run", [SMALL, PAPER], ids=["source", "paper"])
def test_two_updates_are_those_of_float64(run: Run) -> None:
    """Loss, gradient, velocity and weights are; the second batch is of the first epoch, too."""
    state, slow = training(run), SlowTraining(run)
    expected = weights(state)
    velocity: Weights = {key: (np.zeros_like(w), np.zeros_like(b))
                         for key, (w, b) in expected.items()}
    for step in range(2):
        loss, gradients = slow.gradients(step, expected)
        state.advance()
        assert state.loss is not None
        assert float(state.loss) == pytest.approx(loss, rel=1e-5)
        assert state.wrong is not None
        assert int(state.wrong) == slow.wrong
        close(as_float64(state, state.gradients), gradients, 1e-4)
        bias_lr, bias_decay = (0.02, 0.0) if run.recipe == "source" else (0.01, 0.0005)
        for key, parts in gradients.items():
            rates = ((0.01, 0.0005), (bias_lr, bias_decay))
            moved = [np.vectorize(reference.update)(w, v, g, lr, decay) for w, v, g, (lr, decay)
                     in zip(expected[key], velocity[key], parts, rates, strict=True)]
            expected[key], velocity[key] = tuple(w for w, _ in moved), tuple(v for _, v in moved)
        close(as_float64(state, state.velocities), velocity, 1e-4)
        close(weights(state), expected, 1e-5)
    assert state.step == 2


def test_the_second_epoch_of_the_paper_has_an_order_of_its_own() -> None:
    run = replace(PAPER, batch=8)
    state, slow = training(run), SlowTraining(run)
    state.step = 3  # 24 images: the fourth update is the second epoch's first
    loss, _ = slow.gradients(3, weights(state))
    state.plan = replace(state.plan, steps=10)
    state.advance()
    assert state.loss is not None
    assert float(state.loss) == pytest.approx(loss, rel=1e-5)


RATES = {  # epoch of 91: conv1's weights, other weights; S layer-params-145.cfg
    0: (1e-2, 1e-2), 24: (1e-2, 1e-2), 25: (1e-3, 1e-3), 51: (1e-4, 1e-4), 67: (1e-5, 1e-4),
    72: (0.0, 1e-4), 79: (0.0, 1e-5), 90: (0.0, 1e-5)}


@pytest.mark.parametrize("epoch", RATES)
@pytest.mark.parametrize("name", ["source", "paper", "rescaled"])
def test_each_parameter_is_updated_with_its_own_rate_and_decay(name: str, epoch: int) -> None:
    switches = {"source": {}, "rescaled": {"momentum_at_drop": "rescaled"},
                "paper": PAPER.switches}[name]
    run = Run(steps=91, recipe="paper" if name == "paper" else "source", switches=switches,
              width=0.02, batch=1, micro_batches=1)
    state = training(run)
    state.step = epoch
    generator = torch.Generator().manual_seed(epoch)
    for velocity in state.velocities:
        velocity.copy_(torch.randn(velocity.shape, generator=generator) * 1e-3)
    before, velocities = weights(state), as_float64(state, state.velocities)
    state.advance()
    gradients = as_float64(state, state.gradients)
    for key, parts in gradients.items():
        lr = RATES[epoch][1 if name == "paper" or key[0] != "conv1" else 0]
        frozen = name != "paper" and key[0] == "conv1" and epoch >= 72  # epsW=0.000, epsB=0.0
        of_bias = (lr, 0.0005) if name == "paper" else (0.0 if frozen else 0.02, 0.0)
        rates = ((lr, 0.0005), of_bias)
        for kind in (0, 1):
            start = velocities[key][kind]
            if name == "rescaled" and kind == 0 and epoch in (25, 51, 67, 72, 79):
                before_drop = {25: 24, 51: 25, 67: 51, 72: 67, 79: 72}[epoch]
                last = RATES[before_drop][0 if key[0] == "conv1" else 1]
                start = start * (lr / last if last else 1.0)
            elif name == "rescaled" and frozen and epoch == 72:
                start = start * 0.0  # of the biases, from 0.02 to 0
            weight, velocity = np.vectorize(reference.update)(
                before[key][kind], start, parts[kind], *rates[kind])
            np.testing.assert_allclose(weights(state)[key][kind], weight, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(as_float64(state, state.velocities)[key][kind], velocity,
                                       rtol=1e-5, atol=1e-9)
    for kind in (0, 1):
        same = np.array_equal(weights(state)["conv1", 0][kind], before["conv1", 0][kind])
        assert same == (name != "paper" and epoch >= 72)


# The tree of micro-batches


@pytest.mark.parametrize("parts", [1, 2, 4, 8, 16])
def test_micro_batches_are_added_pairwise(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 the order matters: the numbers are of very different size."""
    state = training(Run(width=0.02, batch=16, micro_batches=parts))
    values = [float(np.float32((-1) ** i * 10.0 ** (i % 5 * 2) / 3)) for i in range(parts)]
    monkeypatch.setattr(state, "_micro_batch", lambda number: [torch.tensor([values[number]])])

    def tree(part: list[np.float32]) -> np.float32:
        half = len(part) // 2
        return part[0] if len(part) == 1 else tree(part[:half]) + tree(part[half:])

    expected = tree([np.float32(value) for value in values])
    assert state._sum_over_micro_batches()[0].item() == expected
    if parts == 16:  # so the check can fail
        assert np.add.accumulate(np.array(values, dtype=np.float32))[-1] != expected


def test_each_replica_takes_its_part_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    state = training(Run(width=0.02, batch=8, micro_batches=8))
    taken: list[int] = []

    def recorded(number: int) -> list[Tensor]:
        taken.append(number)
        return [torch.tensor([float(number)])]

    monkeypatch.setattr(state, "_micro_batch", recorded)
    for replica, part in ((0, [0, 1]), (1, [2, 3]), (3, [6, 7])):
        state.placement = replace(state.placement, replicas=4, replica=replica)
        assert state._sum_over_micro_batches()[0].item() == sum(part)
        assert taken[-2:] == part


@pytest.mark.parametrize("run", [SMALL, PAPER], ids=["source", "paper"])
def test_the_number_of_micro_batches_changes_only_the_rounding(run: Run) -> None:
    """Each image has the same crop, noise and dropout, and the loss is the mean over the batch."""
    results = []
    for parts in (1, 2, 4):
        state = training(replace(run, micro_batches=parts))
        state.advance()
        assert state.loss is not None
        results.append((float(state.loss), as_float64(state, state.gradients)))
    for loss, gradients in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-6)
        close(gradients, results[0][1], 1e-4)


def test_replicas_that_cannot_share_the_micro_batches_are_refused() -> None:
    state = training(SMALL)
    state.network.placement = replace(state.placement, replicas=4)
    with pytest.raises(ValueError, match="4 replicas cannot share 2 micro-batches"):
        Training(state.network, state.recipe, state.plan, state.inputs.labels,
                 state.inputs.statistics,
                 state.inputs.crops)


# Noise, states, traces


def test_colour_noise_ends_where_the_schedule_says() -> None:
    state = training(SMALL)

    def added(step: int) -> Tensor:
        """What the noise of the step's first two images is."""
        seen = draw_views(state.recipe, SEED, state.inputs.order, 4 * step + torch.arange(2))
        plain = training_input(state.recipe, state.inputs.crops(seen), seen, state.inputs.mean,
                               None)
        actual = state.inputs.take(step, 0).images
        return actual * 0 if torch.equal(actual, plain) else actual * 1.1 - plain

    for step in (0, 66):
        assert added(step).std((2, 3)).max() < 1e-3  # one colour for the whole image
        assert added(step).mean((2, 3)).std(0).max() > 0.1  # another for each
    for step in (67, 90):
        assert not added(step).any()


def test_the_same_run_has_the_same_bits_and_any_difference_shows() -> None:
    def end(run: Run) -> tuple[str, str]:
        state = training(run)
        state.advance()
        state.advance()
        held = state.state()
        assert held is not None
        return digest_of(held), json.dumps(state.trace().entry())

    assert end(SMALL) == end(SMALL)
    assert end(replace(SMALL, switches={"noise_division": False})) != end(SMALL)


def test_a_state_is_merged_and_goes_on_where_it_was_left() -> None:
    state = training(SMALL)
    state.advance()
    held = state.state()
    assert held is not None
    canonical = state.network.table.canonical()
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {
        f"{kind}/{name}": shape for kind in ("weights", "momentum")
        for name, shape in canonical.items()}
    for (name, column, parameter), velocity in zip(state.parameters, state.velocities, strict=True):
        rows = slice(column * len(parameter), (column + 1) * len(parameter))
        assert torch.equal(held[f"weights/{name}"][rows], parameter)
        assert torch.equal(held[f"momentum/{name}"][rows], velocity)
    held = {name: tensor.clone() for name, tensor in held.items()}
    state.advance()
    resumed = training(SMALL)
    resumed.load(1, held)
    resumed.advance()
    assert resumed.trace().entry() == state.trace().entry()
    name = "momentum/conv4.bias"
    held[name][-1:].view(torch.int32).bitwise_xor_(1 << 22)
    resumed.load(1, held)
    resumed.advance()
    assert resumed.trace().entry() != state.trace().entry()


def test_a_trace_names_the_tensor_that_differs() -> None:
    state = training(SMALL)
    state.advance()
    before = state.trace().entry()
    assert state.loss is not None
    assert float.fromhex(before["loss"]) == float(state.loss)
    names = [f"{name}/{column}" for name, column, _ in state.parameters]
    for kind, tensors in (("weights", [p for _, _, p in state.parameters]),
                          ("momentum", state.velocities),
                          ("gradients", state.gradients)):
        assert before[kind]["tensors"] == {
            name: tensor_digest(tensor)[:16] for name, tensor in zip(names, tensors, strict=True)}
        place = names.index("fc7.bias/1")
        tensors[place].data[:1].view(torch.int32).bitwise_xor_(1)
        after = state.trace().entry()
        assert after[kind]["digest"] != before[kind]["digest"]
        assert [n for n in names
                if after[kind]["tensors"][n] != before[kind]["tensors"][n]] == ["fc7.bias/1"]


def test_a_trace_says_what_went_into_the_network() -> None:
    """Pixels and labels of each micro-batch; and nothing of an update that was not announced."""
    state = training(SMALL)
    state.advance(traced=True)
    first = state.trace().entry()
    batches = [training(SMALL).inputs.take(0, number) for number in range(2)]
    parts = [combined({"images": tensor_digest(batch.images),
                       "labels": tensor_digest(batch.labels)}) for batch in batches]
    assert first["images"] == combined({"00000000": parts[0], "00000001": parts[1]})
    state.advance(traced=True)
    assert state.trace().entry()["images"] != first["images"]
    other = training(replace(SMALL, switches={"noise_division": False}))
    other.advance(traced=True)
    assert other.trace().entry()["images"] != first["images"]
    other = training(SMALL)
    other.inputs.labels = other.inputs.labels.roll(1)
    other.advance(traced=True)
    assert other.trace().entry()["images"] != first["images"]
    other.advance()
    assert other.trace().entry()["images"] is None


def test_a_chain_covers_every_entry_and_the_losses_between() -> None:
    first = linked({"step": 1}, loss_chain("", 2.0), "start")
    losses = loss_chain(loss_chain("", 1.5), 1.25)
    second = linked({"step": 3}, losses, link_digest(first))
    assert second["previous"] == hashlib.sha256(json.dumps(first).encode()).hexdigest()
    for changed in ({"step": 2}, {"previous": "other"}, {"losses": ""}):
        assert link_digest({**first, **changed}) != second["previous"]
    assert loss_chain(loss_chain("", 1.25), 1.5) != losses
    assert loss_chain("", 1.25) != losses


def test_a_trace_is_of_its_own_update_whatever_comes_after() -> None:
    state = training(SMALL)
    state.advance()
    told = state.trace().entry()
    begun = state.trace()
    state.advance()
    assert begun.entry() == told
    assert state.trace().entry() != told


def test_validation_is_the_centre_crops_error_and_loss() -> None:
    state = training(SMALL)
    images, labels = pictures()[:5], torch.tensor([1, 3, 5, 7, 9])
    mean = statistics(pictures()).mean.double().numpy()
    x = np.stack([(image.double().numpy() - mean)[16:240, 16:240].transpose(2, 0, 1)
                  for image in images])
    logits = reference.Net(asdict(recipe())).forward(x, weights(state))
    loss, _ = reference.cross_entropy(logits, labels.numpy())
    wrong = float(np.mean(logits.argmax(1) != labels.numpy()))
    read: list[Callable[..., Any] | slice] = []

    def part(where: slice) -> Tensor:
        read.append(where)
        return images[where]

    for batch in (2, 5, 128):
        actual = state.validate(part, labels, batch)
        assert actual == {"error": pytest.approx(wrong), "loss": pytest.approx(loss, rel=1e-5)}
    assert read[:3] == [slice(0, 2), slice(2, 4), slice(4, 5)]


@pytest.mark.parametrize(("batch", "micro_batches"), [(6, 3), (6, 4), (8, 6)])
def test_micro_batches_that_make_no_whole_tree_are_refused(batch: int, micro_batches: int) -> None:
    with pytest.raises(ValueError, match="not a power of two that divides"):
        training(Run(batch=batch, micro_batches=micro_batches))


@pytest.mark.parametrize("arithmetic", ["native", "portable"])
def test_a_switch_given_as_a_whole_number_is_that_number(arithmetic: Any) -> None:
    numbers = [switch.name for switch in switches() if switch.bounds is not None]
    assert {"init_bias", "weight_decay"} <= set(numbers)
    states = []
    for value in (1, 1.0):
        run = replace(SMALL, steps=1, switches=dict.fromkeys(numbers, value), arithmetic=arithmetic)
        state = training(run)
        state.advance()
        states.append(digest_of(dict(state.network.state_dict())))
    assert states[0] == states[1]
    other = training(replace(run, switches=run.switches | {"init_bias": 0.5}))
    other.advance()
    assert digest_of(dict(other.network.state_dict())) != states[0]
