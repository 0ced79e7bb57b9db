"""The ports: torchvision's recipe against the installed package, the others against references
that are written apart from their definition files; and that every value has its file."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import draws
from alexnet.architectures import CHANNEL_MEAN, CHANNEL_SCALE, architecture
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Views, input_mean, training_input
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.optimizer import rescale, update
from alexnet.ports import OTHERS, PORTS
from alexnet.recipe import NAMES, Name, evidence, recipe, switches
from alexnet.schedule import rate
from alexnet.torchvision_weights import from_torchvision, to_torchvision
from alexnet.weights import load_weights
from benchmarks.torchvision_import import models, transforms
from tests.alexnet.ports_reference import NETS, RATES, Parameter, PortNet
from tests.alexnet.runs import Run, launch

SEED, CLASSES, UPDATES, STEPS = 3, 7, 10, 12
WITH_REFERENCE: tuple[Name, ...] = ("caffe", "caffenet", "one-weird-trick")


def network_of(name: Name, width: float = 0.0625, classes: int = CLASSES, **switched: object,
               ) -> Network:
    chosen = recipe(name, **switched)
    table = architecture(PORTS[name].architecture, chosen, classes, width)
    return Network(table, chosen, SEED)


def images(side: int, count: int = 2, size: float = 60.0) -> Tensor:
    """Centred inputs, float64, of grey levels."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64) * size


def livelier(network: Network) -> None:
    """Make every layer matter: LRN's denominator, and biases that are all different."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, _, parameter in network.named_columns():
            if name.endswith("bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
            elif name.startswith("conv"):
                parameter.mul_(20 if name.startswith("conv1") else 4)


def merged(network: Network, gradients: bool = False) -> dict[str, Tensor]:
    """The weights, or their gradients, with the columns put together."""
    parts: dict[str, list[Tensor]] = {}
    for name, _, parameter in network.named_columns():
        tensor = parameter.grad if gradients else parameter.detach()
        assert tensor is not None
        parts.setdefault(name, []).append(tensor.double().clone())
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def masks_of(network: Network, step: int, count: int) -> dict[str, Tensor]:
    """What dropout keeps in training, by the layer that it follows."""
    return {layer.name: torch.cat([draws.coins(
        SEED, f"dropout {layer.name} column {column}", step, 0, count, layer.outputs,
        torch.device("cpu")) for column in range(network.table.columns)], dim=1).double()
        for layer in network.table.layers if "dropout" in layer.after and "fc" in layer.name}


def close(actual: Tensor, expected: Tensor) -> bool:
    return bool((actual - expected).abs().max() <= 1e-10 * expected.abs().max())


# Caffe's two nets, and that of one weird trick


def as_reference(weights: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    return {name.removesuffix(".weight"): (
        weights[name].clone().requires_grad_(),
        weights[name.replace("weight", "bias")].clone().requires_grad_())
        for name in weights if name.endswith("weight")}


def logits_and_gradients(net: PortNet, weights: dict[str, Tensor], x: Tensor, labels: Tensor,
                         masks: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    own = as_reference(weights)
    logits = net.forward(x, own, masks)
    F.cross_entropy(logits, labels).backward()
    gradients = {}
    for name, (weight, bias) in own.items():
        assert weight.grad is not None
        assert bias.grad is not None
        gradients |= {f"{name}.weight": weight.grad, f"{name}.bias": bias.grad}
    return logits.detach(), gradients


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_logits_and_gradients_are_the_references(name: Name) -> None:
    network, net = network_of(name).double(), NETS[name]
    livelier(network)
    x, labels = images(net.side), torch.tensor([2, 6])
    expected, gradients = logits_and_gradients(net, merged(network), x, labels,
                                               masks_of(network, 5, 2))
    logits = network.train()(x, 5)
    F.cross_entropy(logits, labels).backward()
    assert close(logits.detach(), expected)
    actual = merged(network, gradients=True)
    assert actual.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert gradient.abs().max() > 0, key
        assert close(actual[key], gradient), key
    tested = net.forward(x, as_reference(merged(network)), None).detach()
    assert close(network.eval()(x).detach(), tested)
    assert not close(tested, expected)


@pytest.mark.parametrize(("name", "other"), [
    ("caffe", {"lrn_k": 2}), ("caffe", {"layer1_order": "relu-pool-norm"}),
    ("caffe", {"layer2_order": "relu-pool-norm"}), ("caffe", {"lrn_window": "column"}),
    ("caffenet", {"layer1_order": "relu-norm-pool"}), ("caffe", {"dropout_scaling": "test"}),
    ("one-weird-trick", {"spatial_norm": True}), ("one-weird-trick", {"lrn_divisor": "none"}),
    ("one-weird-trick", {"conv1_padding": "symmetric"})], ids=str)
def test_another_switch_is_another_network(name: Name, other: dict[str, object]) -> None:
    """The negative control: each switch of the network moves the logits."""
    network, net = network_of(name, **other).double(), NETS[name]
    livelier(network)
    x = images(net.side)
    expected, _ = logits_and_gradients(net, merged(network), x, torch.tensor([2, 6]),
                                       masks_of(network, 5, 2))
    assert not close(network.train()(x, 5).detach(), expected)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_updates_are_the_references(name: Name) -> None:
    """Rates, drops, decay and momentum over a run that goes through all of its schedule."""
    network, net = network_of(name).double(), NETS[name]
    chosen, x, labels = recipe(name), images(net.side, size=20.0), torch.tensor([2, 6])
    initial = merged(network)
    own = {key: Parameter(value, torch.zeros_like(value), key.endswith("bias"))
           for key, value in initial.items()}
    velocities = [torch.zeros_like(parameter) for _, _, parameter in network.named_columns()]
    for step in range(STEPS):
        _, gradients = logits_and_gradients(net, {key: each.value for key, each in own.items()}, x,
                                            labels, masks_of(network, step, 2))
        for key, each in own.items():
            each.update(gradients[key], *RATES[name](each.is_bias, step, STEPS))
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network.train()(x, step), labels).backward()
        for (key, _, parameter), velocity in zip(network.named_columns(), velocities, strict=True):
            assert parameter.grad is not None
            update(parameter, velocity, parameter.grad, rate(chosen, key, step / STEPS))
    for key, value in merged(network).items():
        assert not torch.equal(value, initial[key])
        assert close(value, own[key].value), key


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_the_full_net_has_the_ports_shapes_and_its_parameters(name: Name) -> None:
    table = architecture(PORTS[name].architecture, recipe(name), 1000)
    shapes = NETS[name].parameters(1000)
    assert table.canonical() == {f"{layer}.{kind}": shape if kind == "weight" else (outputs,)
                                 for layer, (shape, outputs) in shapes.items()
                                 for kind in ("weight", "bias")}
    assert table.parameters == PORTS[name].parameters == sum(
        math.prod(shape) + outputs for shape, outputs in shapes.values())


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_initial_weights_are_the_ports(name: Name) -> None:
    network = network_of(name, width=0.25)
    own = {of["name"]: of for kind, of in NETS[name].lines if kind in ("conv", "fc")}
    for shape in network.table.shapes():
        full = network.table.full_inputs[shape.layer.name]
        assert network.table.init_std(shape) * math.sqrt(shape.inputs / full) == pytest.approx(
            own[shape.layer.name]["std"])
    for key, value in merged(network).items():
        layer, kind = key.split(".")
        if kind == "bias":
            expected = torch.full(value.shape, own[layer]["bias"], dtype=torch.float32)
            assert torch.equal(value, expected.double()), key


def test_parameters_are_those_that_the_field_knows() -> None:
    assert {name: port.parameters for name, port in PORTS.items()} == {
        "caffe": 60_965_224, "caffenet": 60_965_224, "torchvision": 61_100_840,
        "one-weird-trick": 61_100_840}


# torchvision


class Coins(nn.Module):
    """Dropout by our draws: torchvision's own cannot be told what to keep."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer, self.step = layer, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = draws.coins(SEED, f"dropout {self.layer} column 0", self.step, 0, len(x), x.shape[1],
                           x.device)
        return x * kept * 2.0


def pair(units: int = 4096) -> tuple[Network, nn.Module]:
    """Ours and torchvision's with the same weights, in float64; other `units` in fc6 and fc7, which
    hold most of the weights, are for speed."""
    theirs = models.alexnet(weights=None, num_classes=CLASSES)
    assert [type(module) for module in theirs.classifier] == [
        nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Linear]
    if units != 4096:
        theirs.classifier[1], theirs.classifier[4] = nn.Linear(9216, units), nn.Linear(units, units)
        theirs.classifier[6] = nn.Linear(units, CLASSES)
    theirs.classifier[0], theirs.classifier[3] = Coins("conv5"), Coins("fc6")
    chosen = recipe("torchvision")
    table = architecture("one-weird-trick", chosen, CLASSES).with_layers(
        {"fc6": {"outputs": units}, "fc7": {"outputs": units}})
    ours = Network(table, chosen, SEED).double()
    load_weights(ours, from_torchvision(theirs.double().state_dict()))
    return ours, theirs


def steps_of(theirs: nn.Module, step: int) -> None:
    for module in theirs.modules():
        if isinstance(module, Coins):
            module.step = step


def normalized(x: Tensor) -> Tensor:
    return x * torch.tensor(CHANNEL_SCALE, dtype=x.dtype).view(3, 1, 1)


@torch.no_grad()
def test_torchvisions_logits_at_full_width() -> None:
    ours, theirs = pair()
    x = images(224)
    expected = theirs.eval()(normalized(x))
    assert close(ours.eval()(x), expected)
    assert not close(ours(x * (1 + 1e-8)), expected)


def test_torchvisions_logits_gradients_and_ten_updates() -> None:
    """torchvision's net, torch.optim.SGD and StepLR as references/classification/train.py calls
    them, over a run whose rate drops twice."""
    ours, theirs = pair(128)
    chosen = recipe("torchvision")
    x, labels = images(224), torch.tensor([2, 6])
    optimizer = torch.optim.SGD(theirs.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)
    drops = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.1)
    velocities = [torch.zeros_like(parameter) for _, _, parameter in ours.named_columns()]
    length = 3 * 4  # as 90 epochs, with a drop after each third
    for step in range(UPDATES):
        steps_of(theirs, step)
        optimizer.zero_grad()
        expected = theirs.train()(normalized(x))
        F.cross_entropy(expected, labels).backward()
        ours.zero_grad(set_to_none=True)
        logits = ours.train()(x, step)
        F.cross_entropy(logits, labels).backward()
        assert close(logits.detach(), expected.detach()), step
        gradients = from_torchvision({key: parameter.grad for key, parameter
                                      in theirs.named_parameters() if parameter.grad is not None})
        for (key, _, parameter), velocity in zip(ours.named_columns(), velocities, strict=True):
            assert parameter.grad is not None
            assert close(parameter.grad, gradients[key]), (key, step)
            now = rate(chosen, key, step / length)
            if chosen.momentum_at_drop == "rescaled" and step:
                rescale(velocity, rate(chosen, key, (step - 1) / length), now)
            update(parameter, velocity, parameter.grad, now)
        optimizer.step()
        drops.step()
    trained = from_torchvision(theirs.state_dict())
    for key, value in merged(ours).items():
        assert close(value, trained[key]), key
    with torch.no_grad():
        ours.named_columns()[3][2].mul_(1 + 1e-8)  # conv2.bias: the control
    assert not close(merged(ours)["conv2.bias"], trained["conv2.bias"])


def test_torchvisions_state_dict_goes_in_and_out() -> None:
    theirs = models.alexnet(weights=None)
    state = theirs.state_dict()
    weights = from_torchvision(state)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == architecture(
        "one-weird-trick", recipe("torchvision"), 1000).canonical()
    back = to_torchvision(weights)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    other = models.alexnet(weights=None)
    other.load_state_dict(back)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), theirs.parameters(),
                                                 strict=True))


@pytest.mark.parametrize(("name", "width", "said"), [
    ("two-column", 0.25, "a kernel of conv2 reads 12 of 24 maps"),
    ("undivided", 0.25, "conv4 has 96 kernels and conv5 64"), ("conv6", 1, "conv6.bias"),
    ("one-weird-trick", 0.25, ""), ("one-weird-trick", 0.0625, "")])
def test_weights_of_other_nets_do_not_go_out(name: Any, width: float, said: str) -> None:
    shapes = architecture(name, recipe("source"), 10, width=width).canonical()
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    if not said:
        assert len(to_torchvision(weights)) == 16
        return
    with pytest.raises(ValueError, match=f"not of torchvision's net: {said}"):
        to_torchvision(weights)


@pytest.mark.parametrize("change", ["less", "more", "shape", "type"])
def test_another_state_dict_is_refused(change: str) -> None:
    state = dict(models.alexnet(weights=None, num_classes=5).state_dict())
    if change == "less":
        del state["features.3.bias"]
    elif change == "more":
        state["features.4.weight"] = torch.zeros(1)
    elif change == "shape":
        state["classifier.1.weight"] = state["classifier.1.weight"][None]
    else:
        state["features.0.weight"] = state["features.0.weight"].to(torch.int8)
    with pytest.raises(ValueError, match="not torchvision's alexnet"):
        from_torchvision(state)


def test_initial_weights_are_spread_as_torchvisions() -> None:
    ours = merged(network_of("torchvision", 1.0, 1000))
    theirs = from_torchvision(models.alexnet(weights=None).state_dict())
    for name, value in ours.items():
        fan_in = math.prod(theirs[name.replace("bias", "weight")].shape[1:])
        bound, n = 1 / math.sqrt(fan_in), value.numel()
        assert value.abs().max() <= bound * (1 + 1e-6)
        assert abs(float(value.mean())) < 5 * bound / math.sqrt(3 * n), name
        assert float(value.std()) == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(n)), name
        assert float(theirs[name].std()) == pytest.approx(bound / math.sqrt(3),
                                                          rel=5 / math.sqrt(n)), name


def test_inputs_are_torchvisions() -> None:
    chosen = recipe("torchvision")
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(4))
    mean = input_mean(chosen, torch.rand(256, 256, 3))
    zeros = torch.zeros(2, dtype=torch.int64)
    views = Views(zeros, zeros, zeros, zeros, torch.zeros(2, 5, dtype=torch.int64))
    centred = training_input(chosen, pixels, views, mean, None)
    expected = transforms.Compose([
        transforms.ToDtype(torch.float32, scale=True),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])(
            pixels.permute(0, 3, 1, 2))
    assert torch.allclose(normalized(centred), expected, atol=2e-6)
    portable = Portable()
    exact = training_input(chosen, pixels, views, mean, None, portable)
    scaled = portable.scale_channels(exact, CHANNEL_SCALE)
    assert torch.allclose(scaled, expected, atol=2e-6)
    # as docs/arithmetic.md has it: two roundings, of the difference and of the product
    means = torch.tensor(CHANNEL_MEAN, dtype=torch.float32).view(3, 1, 1)
    factors = torch.tensor(CHANNEL_SCALE, dtype=torch.float32).view(3, 1, 1)
    assert torch.equal(scaled, (pixels.permute(0, 3, 1, 2).float() - means) * factors)


# What the recipes say


def test_the_recipes_of_ports_are_complete_and_have_their_files() -> None:
    known = {switch.name for switch in switches()}
    assert set(PORTS) == set(NAMES) - {"source", "paper"}
    for name, port in PORTS.items():
        assert port.switches.keys() <= known
        chosen = asdict(recipe(name))  # type: ignore[arg-type]
        for switch in switches():
            decided = port.switches.get(switch.name)
            value = decided.value if decided else switch.source
            assert chosen[switch.name] == value
            assert type(chosen[switch.name]) is type(value)
            assert bool(evidence(name, switch)) == bool(decided)  # type: ignore[arg-type]
        for decided in (*port.switches.values(), *port.settings.values()):
            assert decided.evidence
        assert port.remains
        assert port.published.source
        assert port.known_by


def test_every_switch_of_the_ports_is_needed_by_one() -> None:
    """A switch on which paper and source agree is there for a port, or for the paper's own
    experiments."""
    of_experiments = {"weight_lr", "weight_decay"}
    for switch in switches():
        if switch.source == switch.paper and switch.name not in of_experiments:
            assert any(getattr(recipe(name), switch.name) != switch.source  # type: ignore[arg-type]
                       for name in PORTS), switch.name


def test_other_ports_say_what_they_lack() -> None:
    assert [other.title.split()[0] for other in OTHERS] == [
        "theano_alexnet", "tensorpack", "tf-slim", "dansuh17/alexnet-pytorch"]
    assert all(other.missing and other.published and other.files for other in OTHERS)


@pytest.mark.parametrize("run", [
    Run(recipe="caffenet", width=1 / 32, micro_batches=2),
    Run(recipe="source", switches={"dropout_place": "before"}, width=1 / 32, micro_batches=2)],
    ids=["caffenet", "dropout before"])
def test_two_processes_have_the_bits_of_one(run: Run, tmp_path: Path) -> None:
    run = replace(run, steps=2, stop=2, arithmetic="portable")
    one = launch(run, tmp_path / "one", 1)
    two = launch(replace(run, split=True), tmp_path / "two", 2)
    other = launch(replace(run, recipe="caffe", switches={}), tmp_path / "other", 1)
    assert digest_of(one[0]) == digest_of(two[0]) != digest_of(other[0])
