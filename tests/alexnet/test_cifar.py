"""The four-layer net of Fig. 1: shapes, local layers against loops, decay by layer, its crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet.architectures import Name, architecture
from alexnet.arithmetic.native import NATIVE
from alexnet.augmentation import Order, Statistics, Views, draw_views
from alexnet.layers import Local
from alexnet.network import Network
from alexnet.plan import Plan
from alexnet.recipe import recipe
from alexnet.training import Training

RECIPE = recipe("source", colour_noise="none", weight_lr=0.001, bias_lr=0.002, images_per_crop=1)


def test_shapes_and_parameters() -> None:
    table = architecture("cifar", RECIPE, classes=10)
    assert [(s.layer.name, s.input_side, s.side, s.output_side) for s in table.shapes()] == [
        ("conv1", 24, 24, 12), ("conv2", 12, 12, 6), ("local3", 6, 6, 6), ("local4", 6, 6, 6),
        ("fc10", 6, 1, 1)]
    local3, local4 = 36 * (32 * 576 + 32), 36 * (32 * 288 + 32)
    assert table.parameters == (64 * 75 + 64) + (64 * 1600 + 64) + local3 + local4 + 11530
    assert table.macs == 24**2 * 64 * 75 + 12**2 * 64 * 1600 + 36 * 32 * 576 + 36 * 32 * 288 + 11520
    assert "lrn" in table.layers[0].after
    bare = architecture("cifar", RECIPE, classes=10, normalization=False, neuron="tanh")
    assert [layer.after for layer in bare.layers] == [
        ("tanh", "pool"), ("tanh", "pool"), ("tanh",), ("tanh",), ()]


# filters and wc / 0.0005 of each layer, as the files have them.
FILTERS_AND_DECAY = {
    # S layers-cifar/layers-conv-local-13pct.cfg, layer-params-conv-local-13pct-noisylr.cfg
    "cifar": {"conv1": (64, 0.0), "conv2": (64, 0.0), "local3": (32, 0.004), "local4": (32, 0.004),
              "fc10": (10, 0.004)},
    # C2 layers/layers-cifar10-11pct.cfg, layer-params-cifar10-11pct.cfg
    "cifar-11pct": {"conv1": (64, 0.0), "conv2": (64, 0.0), "local3": (64, 0.004),
                    "local4": (32, 0.004), "fc10": (10, 0.01)},
    # S layers-18pct.cfg, layer-params-18pct.cfg
    "cifar-18pct": {"conv1": (32, 0.004), "conv2": (32, 0.004), "conv3": (64, 0.004),
                    "fc10": (10, 1.0)},
}


def test_the_net_of_18_percent() -> None:
    """S layers-18pct.cfg: pool=max after conv1 with neuron=relu on pool1, pool=avg after conv2 and
    conv3, sizeX=3 and stride=2 of all; its rnorm1 and rnorm2 are left out."""
    whole = recipe("source", colour_noise="none", crops="whole")
    table = architecture("cifar-18pct", whole, classes=10)
    assert [(s.layer.name, s.weight, s.side, s.output_side) for s in table.shapes()] == [
        ("conv1", (32, 3, 5, 5), 32, 16), ("conv2", (32, 32, 5, 5), 16, 8),
        ("conv3", (64, 32, 5, 5), 8, 4), ("fc10", (10, 1024), 1, 1)]
    assert [layer.after for layer in table.layers] == [
        ("pool", "relu"), ("relu", "average pool"), ("relu", "average pool"), ()]
    assert [layer.init_std for layer in table.layers] == [0.0001, 0.01, 0.01, 0.01]
    assert architecture("cifar-18pct", whole, 10, neuron="tanh").layers[0].after == ("pool", "tanh")
    assert {layer.name: (layer.outputs, round(layer.decay * whole.weight_decay, 9))
            for layer in table.layers} == FILTERS_AND_DECAY["cifar-18pct"]


def test_average_pooling_is_of_what_lies_within_the_map() -> None:
    """S conv_util.cuh, kLocalPool: regionSize is cut off at the edge of the image."""
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.tensor([[5.0, 6.5], [11.0, 12.5]])  # 3 x 3, 3 x 2, 2 x 3, 2 x 2 values
    assert torch.equal(NATIVE.average_pool(x, 3, 2)[0, 0], expected)


@pytest.mark.parametrize("name", ["cifar", "cifar-11pct"])
def test_filters_and_decay_are_those_of_the_files(name: Name) -> None:
    table = architecture(name, RECIPE, classes=10)
    assert {layer.name: (layer.outputs, round(layer.decay * RECIPE.weight_decay, 9))
            for layer in table.layers} == FILTERS_AND_DECAY[name]
    # S layers-conv-local-13pct.cfg: initW; C2 layers-cifar10-11pct.cfg: rnorm size=9, scale=0.001
    assert [layer.init_std for layer in table.layers] == [0.0001, 0.01, 0.04, 0.04, 0.01]
    assert (table.lrn.size, table.lrn.alpha, table.views) == (9, 0.001, 9)


def test_without_augmentation_the_inputs_are_whole_images() -> None:
    """S convdata_cifar.py: CIFARDataProvider has img_size = 32, and neither crops nor mirrors."""
    whole = recipe("source", colour_noise="none", crops="whole")
    table = architecture("cifar", whole, classes=10)
    assert (table.stored, table.crop) == (32, 32)
    assert [(s.input_side, s.output_side) for s in table.shapes()] == [
        (32, 16), (16, 8), (8, 8), (8, 8), (8, 1)]
    views = draw_views(whole, 1, Order(whole, 1, 50), torch.arange(100), margin=0)
    assert not views.tops.any()
    assert not views.lefts.any()
    assert not views.flips.any()
    assert architecture("cifar", RECIPE, classes=10).crop == 24
    with pytest.raises(ValueError, match=r"recipe\.crops: half takes crops of 224 pixels"):
        architecture("half", whole, classes=10)


def test_a_local_layer_is_what_loops_say() -> None:
    table = architecture("cifar", RECIPE, classes=10)
    network = Network(table, RECIPE, seed=3).double()
    parameters = {name: p for name, _, p in network.named_columns()}
    weight, bias = (parameters[f"local3.{kind}"].detach().numpy() for kind in ("weight", "bias"))
    bias += np.arange(bias.size).reshape(bias.shape) / bias.size  # zeros would hide a transposition
    x = np.random.default_rng(2).normal(size=(2, 64, 6, 6))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.empty((2, 32, 6, 6))
    for n in range(2):
        for top in range(6):
            for left in range(6):
                window = padded[n, :, top: top + 3, left: left + 3]
                for kernel in range(32):
                    place = 6 * top + left
                    weighted = window * weight[place, kernel]
                    expected[n, kernel, top, left] = weighted.sum() + bias[place, kernel]
    layer = table.layers[2]
    assert isinstance(layer, Local)
    actual = network._learned_layer(layer, [torch.from_numpy(x)])[0].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_crops_of_24_from_32_and_decay_of_the_local_layers() -> None:
    order = Order(RECIPE, 1, 50)
    seen = draw_views(RECIPE, 1, order, torch.arange(4000), margin=8)
    assert {int(top) for top in seen.tops} == set(range(9))
    table = architecture("cifar", RECIPE, classes=10)
    pictures = torch.randint(0, 256, (50, 32, 32, 3), generator=torch.Generator().manual_seed(1),
                             dtype=torch.uint8)

    def crops(part: Views) -> torch.Tensor:
        return torch.stack([pictures[i, t: t + 24, left: left + 24] for i, t, left
                            in zip(part.images, part.tops, part.lefts, strict=True)])

    training = Training(Network(table, RECIPE, seed=1), RECIPE, Plan(1, 2, 8, 1),
                        torch.arange(50) % 10,
                        Statistics(pictures.float().mean(0), torch.ones(3).double(),
                                   torch.eye(3).double()), crops)
    before = {name: p.detach().clone() for name, _, p in training.parameters}
    training.advance()
    for (name, _, parameter), gradient in zip(training.parameters, training.gradients, strict=True):
        layer, kind = name.split(".")
        decay = 8 * 0.0005 if kind == "weight" and layer not in ("conv1", "conv2") else 0.0
        lr = 0.001 if "weight" in name else 0.002
        start = before[name].double()
        expected = start - lr * gradient.double() - lr * decay * start
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-6, atol=1e-9)
