"""Forward and gradient of the whole net against the slow float64 one; and the initial weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from alexnet.architectures import ARCHITECTURES, Name, architecture
from alexnet.network import Network, Precision
from alexnet.recipe import Recipe, recipe
from tests.alexnet import reference
from tests.alexnet.reference import Array, Weights

CLASSES, SEED, STEP, OFFSET = 7, 11, 3, 5
NARROW = 0.0625  # 3, 8, 12, 12, 8, 128, 128 units in each column
ALL = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")

NETWORK_SWITCHES: dict[str, list[Any]] = {
    "lrn_divisor": ["window", "none"], "lrn_window": ["column", "layer"],
    "layer1_order": ["norm-pool-relu", "relu-norm-pool"], "spatial_norm": [True, False],
    "conv1_padding": ["right-bottom", "symmetric"], "dropout_scaling": ["test", "train"]}


def cases() -> Iterator[tuple[str, dict[str, Any], Name, dict[str, Any]]]:
    """Yield recipe, one switch turned over, architecture and its options."""
    for name in ("source", "paper"):
        yield name, {}, "two-column", {}
        for switch, values in NETWORK_SWITCHES.items():
            other = next(value for value in values if value != getattr(recipe(name), switch))
            yield name, {switch: other}, "two-column", {}
    others: tuple[Name, ...] = ("half", "undivided", "conv6")
    for architecture_name in others:
        yield "source", {}, architecture_name, {}
    yield "paper", {}, "undivided", {}
    variants: list[dict[str, Any]] = [
        {"neuron": "tanh"}, {"normalization": False}, {"pooling": "separate"}, {"dropout": False},
        *({"without": layer} for layer in ("conv3", "conv4", "conv5", "fc6", "fc7"))]
    for options in variants:
        yield "source", {}, "two-column", options
    yield "paper", {}, "two-column", {"neuron": "tanh", "pooling": "separate"}


def images(count: int) -> torch.Tensor:
    """Centred images on the scale of 0..255, float64 [count, 3, 224, 224]."""
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64) * 60


def livelier(network: Network) -> None:
    """Change weights so that every layer matters: responses that LRN's denominator feels, and
    biases that are all different.

    The images are 60 grey levels from the mean; responses of some hundreds make 2 + 2e-5 sum a^2 as
    large as 4.
    """
    generator = torch.Generator().manual_seed(2)
    for name, _, parameter in network.named_columns():
        with torch.no_grad():
            if name.endswith("bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
            elif name.startswith("conv1"):
                # Fig. 1's begins with 0.0001
                parameter.mul_(2000 if network.table.crop == 24 else 20)
            elif name.startswith("conv2"):
                parameter.mul_(4)


def weights_of(network: Network) -> Weights:
    weights: dict[tuple[str, int], dict[str, Array]] = {}
    for name, column, parameter in network.named_columns():
        layer, kind = name.split(".")
        weights.setdefault((layer, column), {})[kind] = parameter.detach().double().numpy()
    return {key: (parts["weight"], parts["bias"]) for key, parts in weights.items()}


def the_slow_one(chosen: Recipe, name: Name, options: dict[str, Any],
                 training: bool) -> reference.Net:
    columns = ARCHITECTURES[name].columns
    layers = tuple(layer for layer in ALL if layer != options.get("without"))
    if name == "conv6":
        layers = (*layers[:5], "conv6", *layers[5:])
    net = reference.Net(asdict(chosen), layers, columns, tanh=options.get("neuron") == "tanh",
                        normalization=options.get("normalization", True),
                        overlapping=options.get("pooling", "overlapping") == "overlapping",
                        dropout=options.get("dropout", True))
    if training:
        units = {"half": 256, "undivided": 256}.get(name, 128)  # of 4096 or 2 x 2048
        net.masks = {(layer, column): reference.coins(SEED, f"dropout {layer} column {column}",
                                                      STEP, OFFSET, 2, units)
                     for layer in ("fc6", "fc7") for column in range(columns)}
    return net


def network_of(chosen: Recipe, name: Name = "two-column",
               options: dict[str, Any] | None = None) -> Network:
    table = architecture(name, chosen, CLASSES, NARROW, **(options or {}))
    network = Network(table, chosen, SEED)
    livelier(network)
    return network


def check_gradients(network: Network, slow: reference.Net) -> None:
    """Every weight and bias, to 1e-10 of its largest gradient."""
    assert len(network.named_columns()) == 2 * len(slow.gradients)
    for name, column, parameter in network.named_columns():
        layer, kind = name.split(".")
        gradient = slow.gradients[layer, column][0 if kind == "weight" else 1]
        assert np.abs(gradient).max() > 0, name
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-9,
                                   atol=1e-10 * np.abs(gradient).max(),
                                   err_msg=f"{name} of column {column}")


@pytest.mark.parametrize(("recipe_name", "switches", "name", "options"), list(cases()), ids=str)
def test_forward_and_gradient(recipe_name: str, switches: dict[str, Any], name: Name,
                              options: dict[str, Any]) -> None:
    """Logits, loss and the gradient of every weight in training, to 1e-10 in float64."""
    chosen = recipe(recipe_name, **switches)  # type: ignore[arg-type]
    network = network_of(chosen, name, options).double()
    x, labels = images(2), torch.tensor([2, 6])
    slow = the_slow_one(chosen, name, options, training=True)
    expected = slow.forward(x.numpy(), weights_of(network))
    loss, by_logits = reference.cross_entropy(expected, labels.numpy())
    slow.backward(by_logits)

    logits = network.train()(x, STEP, OFFSET)
    actual = F.cross_entropy(logits, labels)
    actual.backward()

    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    assert actual.item() == pytest.approx(loss, rel=1e-10)
    check_gradients(network, slow)


@pytest.mark.parametrize("recipe_name", ["source", "paper"])
@pytest.mark.parametrize("scaling", ["test", "train"])
def test_forward_in_testing(recipe_name: str, scaling: str) -> None:
    """P §4.2: all units speak, half as loud; or as they are, if training compensated."""
    chosen = recipe(recipe_name, dropout_scaling=scaling)  # type: ignore[arg-type]
    network = network_of(chosen).double().eval()
    slow = the_slow_one(chosen, "two-column", {}, training=False)
    expected = slow.forward(images(1).numpy(), weights_of(network))
    np.testing.assert_allclose(network(images(1)).detach().numpy(), expected, rtol=1e-10,
                               atol=1e-12)


@pytest.mark.parametrize("recipe_name", ["source", "paper"])
def test_float32_is_the_same_within_its_precision(recipe_name: str) -> None:
    chosen = recipe(recipe_name)  # type: ignore[arg-type]
    network = network_of(chosen)
    x, labels = images(2), torch.tensor([2, 6])
    slow = the_slow_one(chosen, "two-column", {}, training=True)
    expected = slow.forward(x.float().double().numpy(), weights_of(network))
    slow.backward(reference.cross_entropy(expected, labels.numpy())[1])
    logits = network.train()(x.float(), STEP, OFFSET)
    assert logits.dtype == torch.float32
    F.cross_entropy(logits, labels).backward()
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-4,
                               atol=1e-4 * np.abs(expected).max())
    for name, column, parameter in network.named_columns():
        layer, kind = name.split(".")
        gradient = slow.gradients[layer, column][0 if kind == "weight" else 1]
        assert parameter.grad is not None
        assert np.linalg.norm(parameter.grad.numpy()
                              - gradient) < 1e-4 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("options", [{}, {"normalization": False}, {"neuron": "tanh"}], ids=str)
@pytest.mark.parametrize("recipe_name", ["source", "paper"])
def test_the_four_layer_net_on_small_images(recipe_name: str, options: dict[str, Any]) -> None:
    """P Fig. 1, on CIFAR-10: forward and gradient."""
    chosen = recipe(recipe_name)  # type: ignore[arg-type]
    network = Network(architecture("cifar", chosen, CLASSES, 0.25, **options), chosen, SEED)
    livelier(network)
    x, labels = images(2)[:, :, 100:124, 100:124], torch.tensor([2, 6])
    slow = reference.FourLayerNet(asdict(chosen), columns=1, tanh=options.get("neuron") == "tanh",
                                  normalization=options.get("normalization", True))
    expected = slow.forward(x.numpy(), weights_of(network))
    slow.backward(reference.cross_entropy(expected, labels.numpy())[1])
    logits = network.double()(x)
    F.cross_entropy(logits, labels).backward()
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    check_gradients(network, slow)


def test_conv1_reads_zeros_over_the_right_and_lower_edge() -> None:
    """Only the last windows hang over: they see 8 of 11 rows or columns."""
    network = network_of(recipe("source"))
    with torch.no_grad():
        for name, _, parameter in network.named_columns()[:4]:
            parameter.fill_(1.0 if name == "conv1.weight" else 0.0)
        seen = network._learned_layer(network.table.layers[0],
                                      [torch.ones(1, 3, 224, 224)] * 2)[1][0, 0]
    sides = torch.tensor([11.0] * 54 + [8.0])
    assert torch.equal(seen, 3 * sides[:, None] * sides[None, :])


def test_a_single_image_does_not_see_the_others() -> None:
    network = network_of(recipe("source")).double().train()
    together = network(images(3), STEP, OFFSET)
    for row in range(3):
        np.testing.assert_allclose(network(images(3)[row: row + 1], STEP, OFFSET + row).detach(),
                                   together[row: row + 1].detach(), rtol=1e-10)
    assert not torch.equal(network(images(3), STEP + 1, OFFSET), together)
    assert not torch.equal(network(images(3), STEP, OFFSET + 1), together)


@pytest.mark.parametrize("width", [0.01, 0.03])
@pytest.mark.parametrize("recipe_name", ["source", "paper"])
def test_columns_of_one_map(width: float, recipe_name: str) -> None:
    """Fewer maps in a column than LRN's window reaches into the other."""
    chosen = recipe(recipe_name, conv1_padding="right-bottom")  # type: ignore[arg-type]
    network = Network(architecture("two-column", chosen, CLASSES, width), chosen, SEED)
    livelier(network)
    slow = the_slow_one(chosen, "two-column", {}, training=False)
    expected = slow.forward(images(1).numpy(), weights_of(network))
    np.testing.assert_allclose(network.double().eval()(images(1)).detach().numpy(), expected,
                               rtol=1e-10)


# The initial weights (P §5, S initW and initB)

STD = {"conv1": 0.01, "conv2": 0.01, "conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "conv6": 0.03,
       "fc6": 0.01,
       "fc7": 0.01, "fc8": 0.01}
# S layers-145.cfg, initB=1; conv6 as conv5
ONES = {"conv2", "conv4", "conv5", "conv6", "fc6", "fc7"}


def check_initial_weights(network: Network, stds: dict[str, float]) -> None:
    for name, _, parameter in network.named_columns():
        layer, kind = name.split(".")
        if kind == "bias":
            assert torch.equal(parameter, torch.full_like(parameter, float(layer in ONES))), name
            continue
        values = parameter.detach().flatten()[:2_000_000].double().numpy() / stds[layer]
        n = len(values)
        assert abs(values.mean()) < 4.5 / math.sqrt(n), name
        assert abs(values.std() - 1) < 4.5 / math.sqrt(2 * n), name
        assert abs(stats.skew(values)) < 4.5 * math.sqrt(6 / n), name
        assert abs(stats.kurtosis(values)) < 4.5 * math.sqrt(24 / n), name


@pytest.fixture(scope="module")
def full() -> Network:
    """The paper's net as the source starts it."""
    return Network(architecture("two-column", recipe("source"), 1000), recipe("source"), 7)


def test_initial_weights_of_the_full_net(full: Network) -> None:
    check_initial_weights(full, STD)


def test_initial_weights_of_the_paper() -> None:
    """P §5: 0.01 in each layer; but the width rule stands."""
    network = Network(architecture("two-column", recipe("paper"), 10, 0.25), recipe("paper"), 3)
    check_initial_weights(network, {layer: 0.01 if layer == "conv1" else 0.02 for layer in ALL})


@pytest.mark.parametrize(("name", "layers"),
                         [("half", ALL), ("undivided", ALL), ("conv6", (*ALL, "conv6"))])
def test_initial_weights_grow_as_the_net_gets_narrower(name: Name, layers: tuple[str, ...]) -> None:
    """1/sqrt(width) wherever the inputs are fewer: everywhere but in conv1."""
    for width in (0.125, 0.25):
        table = architecture(name, recipe("source"), 10, width)
        expected = {layer: STD[layer] * (1.0 if layer == "conv1" else width**-0.5)
                    for layer in layers}
        assert {s.layer.name: table.init_std(s) for s in table.shapes()} == pytest.approx(expected)
        if width == 0.125:
            check_initial_weights(Network(table, recipe("source"), 5), expected)


def test_initial_weights_of_the_four_layer_net() -> None:
    """S layers-conv-local-13pct.cfg: initW 1e-4, .01, .04, .04, .01; no bias."""
    network = Network(architecture("cifar", recipe("source"), 10), recipe("source"), 5)
    stds = {"conv1": 0.0001, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01}
    for name, _, parameter in network.named_columns():
        layer, kind = name.split(".")
        std = stds[layer] if kind == "weight" else 0.0
        assert parameter.std().item() == pytest.approx(std, rel=0.05), name


def test_every_column_layer_and_seed_has_draws_of_its_own() -> None:
    def drawn(seed: int) -> dict[tuple[str, int], Array]:
        network = Network(architecture("conv6", recipe("source"), 64, NARROW), recipe("source"),
                          seed)
        return {(name, column): parameter.detach().double().flatten().numpy()[:400]
                for name, column, parameter in network.named_columns() if name.endswith("weight")}

    seeds = [drawn(seed) for seed in (1, 2, 2**32 + 1)]
    samples = np.stack([values for weights in seeds for values in weights.values()])
    assert len(samples) == 3 * 17
    correlations = np.corrcoef(samples) - np.eye(len(samples))
    assert np.abs(correlations).max() < 5 / math.sqrt(samples.shape[1])
    again = drawn(1)
    assert all(np.array_equal(values, again[key]) for key, values in seeds[0].items())


# The signal at the start (facts, section 7)

# of the principal components of ImageNet's pixels (C2 input_meta)
STDS = np.array([121.780, 37.094, 19.721])
VECTORS = np.array([[-.5635, -.7126, .4180], [-.5762, -.0235, -.8170], [-.5920, .7012, .3973]])
MEAN = np.array([127.30, 119.72, 104.91])


def like_imagenet(count: int) -> torch.Tensor:
    """Return centred 1/f noise [count, 3, 224, 224] with the mean and the colours of ImageNet's
    pixels, cut to 0..255."""
    rng = np.random.default_rng(4)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)[None, :])
    frequency[0, 0] = 0.5 / 224  # images differ in brightness too
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((count, 3, 224, 224))) / frequency)
    noise /= noise.std(axis=(0, 2, 3), keepdims=True)
    pixels = np.einsum("ck,k,nkij->ncij", VECTORS, STDS, noise) + MEAN[:, None, None]
    return torch.tensor(pixels.clip(0, 255) - MEAN[:, None, None], dtype=torch.float32)


@torch.no_grad()
def spread(network: Network, images: torch.Tensor) -> float:
    """Return how much the logits depend on the image: their standard deviation over images,
    averaged over the classes."""
    return float(network.eval()(images).std(0).mean())


def test_logits_at_the_start_depend_on_the_image(full: Network) -> None:
    assert 0.03 < spread(full, like_imagenet(16)) < 0.09  # facts: 0.052


def test_narrow_nets_start_with_the_same_signal() -> None:
    for width in (0.125, 0.25):
        network = Network(architecture("two-column", recipe("source"), 1000, width),
                          recipe("source"), 7)
        assert 0.03 < spread(network, like_imagenet(16)) < 0.09, width


def test_the_papers_start_is_fifteen_times_weaker() -> None:
    network = Network(architecture("two-column", recipe("paper"), 1000, 0.25), recipe("paper"), 7)
    assert 0.002 < spread(network, like_imagenet(16)) < 0.006  # facts: 0.0035


@pytest.mark.parametrize("name", ["source", "paper"])
def test_bfloat16_is_float32_within_its_precision(name: str) -> None:
    """Logits and gradients agree; parameters, their gradients and the output stay in float32."""
    chosen = recipe(name)  # type: ignore[arg-type]
    images = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(3)) * 60
    by_precision = []
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    table = architecture("two-column", chosen, 10, 0.0625)
    for precision in precisions:
        network = Network(table, chosen, 3, precision=precision).eval()
        logits = network(images)
        logits.square().sum().backward()
        gradients = torch.cat([p.grad.flatten()
                               for _, _, p in network.named_columns() if p.grad is not None])
        by_precision.append((logits.detach(), gradients))
        assert logits.dtype == gradients.dtype == torch.float32
    for exact, rounded in zip(*by_precision, strict=True):
        assert 1e-5 < (exact - rounded).norm() / exact.norm() < 0.1  # bfloat16 has 8 bits
