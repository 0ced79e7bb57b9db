"""Shapes, parameters and multiply-adds of every architecture, against the facts sheet."""

from __future__ import annotations

from typing import Any

import pytest

from alexnet.architectures import Name, architecture
from alexnet.layers import Architecture
from alexnet.network import Network
from alexnet.recipe import recipe

SOURCE, PAPER = recipe("source"), recipe("paper")

# Output side of the layer, side after its pooling, maps of both columns, weights, multiply-adds
# with two columns, and with one column that has all kernels.
TABLE = {
    "conv1": (55, 27, 96, 34_848, 105_415_200, 105_415_200),
    "conv2": (27, 13, 256, 307_200, 223_948_800, 447_897_600),
    "conv3": (13, 13, 384, 884_736, 149_520_384, 149_520_384),
    "conv4": (13, 13, 384, 663_552, 112_140_288, 224_280_576),
    "conv5": (13, 6, 256, 442_368, 74_760_192, 149_520_384),
    "fc6": (1, 1, 4096, 37_748_736, 37_748_736, 37_748_736),
    "fc7": (1, 1, 4096, 16_777_216, 16_777_216, 16_777_216),
    "fc8": (1, 1, 1000, 4_096_000, 4_096_000, 4_096_000),
}


def table(name: Name = "two-column", classes: int = 1000, width: float = 1.0,
          **options: Any) -> Architecture:
    return architecture(name, options.pop("recipe", SOURCE), classes, width, **options)


@pytest.mark.parametrize("recipe", [SOURCE, PAPER], ids=["source", "paper"])
@pytest.mark.parametrize(("name", "parameters", "macs"), [
    ("two-column", 60_965_224, 724_406_816),
    ("half", 59_798_312, 391_500_000),
    ("undivided", 62_378_344, 1_135_256_096),
    ("conv6", 61_555_304, 724_406_816 + 256 * 256 * 9 * 36),
])
def test_totals(recipe: Any, name: Name, parameters: int, macs: int) -> None:
    built = table(name, recipe=recipe)
    assert built.parameters == parameters
    assert built.macs == (pytest.approx(macs, abs=50_000) if name == "half" else macs)


@pytest.mark.parametrize("recipe", [SOURCE, PAPER], ids=["source", "paper"])
def test_each_layer(recipe: Any) -> None:
    two, one = table(recipe=recipe), table("undivided", recipe=recipe)
    for divided, whole in zip(two.shapes(), one.shapes(), strict=True):
        name = divided.layer.name
        side, after, maps, weights, macs, macs_undivided = TABLE[name]
        held = 1 if name == "fc8" else 2
        for shape in (divided, whole):
            assert (shape.side, shape.output_side) == (side, after)
        assert divided.layer.outputs * held == whole.layer.outputs == maps
        assert (divided.parameters - divided.layer.outputs) * held == weights
        assert divided.macs * held == macs
        assert whole.macs == macs_undivided


def test_kernels_are_as_in_the_paper() -> None:
    kernels = {shape.layer.name: shape.weight for shape in table().shapes()}
    assert kernels == {  # of one GPU; P §3.5: "11x11x3", "5x5x48", "3x3x256", "3x3x192", "3x3x192"
        "conv1": (48, 3, 11, 11), "conv2": (128, 48, 5, 5), "conv3": (192, 256, 3, 3),
        "conv4": (192, 192, 3, 3), "conv5": (128, 192, 3, 3), "fc6": (2048, 9216),
        "fc7": (2048, 4096), "fc8": (1000, 4096)}
    # §3.2; S #145-half
    assert {shape.layer.name: shape.weight[0] for shape in table("half").shapes()} == {
        "conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256, "fc6": 4096,
        "fc7": 4096, "fc8": 1000}
    conv6 = next(shape for shape in table("conv6").shapes() if shape.layer.name == "conv6")
    assert conv6.weight == (128, 256, 3, 3)


def test_neurons() -> None:
    """P abstract: 650,000. Fig. 2's 253,440 counts conv1 with 55 x 55 x 48; layer 1 has 290,400."""
    neurons = {s.layer.name: s.side**2 * s.layer.outputs * table().held_by(s.layer)
               for s in table().shapes()}
    assert neurons == {"conv1": 290_400, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896,
                       "conv5": 43_264, "fc6": 4096, "fc7": 4096, "fc8": 1000}
    assert sum(neurons.values()) == 659_272


def test_what_follows_each_layer() -> None:
    assert {layer.name: layer.after for layer in table().layers} == {
        "conv1": ("lrn", "pool", "relu"), "conv2": ("relu", "lrn", "spatial", "pool"),
        "conv3": ("relu",), "conv4": ("relu",), "conv5": ("pool", "relu"),
        "fc6": ("relu", "dropout"), "fc7": ("relu", "dropout"), "fc8": ()}
    as_printed = table(recipe=PAPER).layers[:2]
    assert [layer.after for layer in as_printed] == [("relu", "lrn", "pool")] * 2
    seeing_both = [layer.name for layer in table().layers if layer.sees == "both"]
    assert seeing_both == ["conv3", "fc6", "fc7", "fc8"]
    assert table().pool == (3, 2)


def test_non_overlapping_pooling_keeps_the_dimensions() -> None:
    """S #147: 55 -> 28 -> 26 -> 13 -> 11 -> 6, and not one parameter more."""
    separate = table(pooling="separate")
    assert separate.pool == (2, 2)
    sides = [(shape.side, shape.output_side) for shape in separate.shapes()[:5]]
    assert sides == [(55, 28), (26, 13), (13, 13), (13, 13), (11, 6)]
    assert separate.parameters == table().parameters


def test_names_and_shapes_of_the_parameters() -> None:
    built = table()
    first, second = built.parameters_of(0), built.parameters_of(1)
    assert first["conv2.weight"] == second["conv2.weight"] == (128, 48, 5, 5)
    assert first["fc8.bias"] == (1000,)
    assert second.keys() == first.keys() - {"fc8.weight", "fc8.bias"}
    merged = built.canonical()
    assert merged["conv1.weight"] == (96, 3, 11, 11)
    assert merged["fc6.weight"] == (4096, 9216)
    assert merged["fc8.weight"] == (1000, 4096)
    weights = [name for name in merged if name.endswith("weight")]
    assert weights == [f"{name}.weight" for name in TABLE]


@pytest.mark.parametrize("without", ["conv3", "conv4", "conv5", "fc6", "fc7"])
@pytest.mark.parametrize("name", ["two-column", "half", "undivided", "conv6"])
def test_a_layer_removed_leaves_the_rest_and_its_dimensions(name: Name, without: str) -> None:
    whole, less = table(name), table(name, without=without)
    remaining = [layer.name for layer in whole.layers if layer.name != without]
    assert [layer.name for layer in less.layers] == remaining
    kept = {s.layer.name: s.output_side for s in whole.shapes()}
    before = {"conv5": {"conv4": 6}}.get(without, {})  # takes over the pooling
    assert {s.layer.name: s.output_side for s in less.shapes()} == {
        layer: side for layer, side in (kept | before).items() if layer != without}
    seen = {layer.name for layer in less.layers if layer.sees == "both"}
    assert seen == ({layer.name for layer in whole.layers if layer.sees == "both"} - {without}
                    | ({"conv4"} if without == "conv3" else set()))


@pytest.mark.parametrize("name", ["two-column", "half", "undivided", "conv6"])
@pytest.mark.parametrize("width", [0.0625, 0.03])
@pytest.mark.parametrize("options", [{}, {"pooling": "separate"}, {"without": "conv5"}], ids=str)
def test_counts_are_those_of_the_tensors(name: Name, width: float, options: dict[str, Any]) -> None:
    built = table(name, 7, width, **options)
    network = Network(built, SOURCE, 1)
    tensors = {(name, column): tuple(parameter.shape)
               for name, column, parameter in network.named_columns()}
    assert tensors == {(name, column): shape for column in range(built.columns)
                       for name, shape in built.parameters_of(column).items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == built.parameters


def test_width_scales_every_layer_but_the_last() -> None:
    def outputs(net: Architecture) -> list[int]:
        return [layer.outputs for layer in net.layers]

    assert outputs(table(width=0.25)) == [12, 32, 48, 48, 32, 512, 512, 1000]
    assert outputs(table(width=0.001, classes=3)) == [1, 1, 1, 1, 1, 2, 2, 3]
    assert outputs(table("half", width=0.5)) == [24, 64, 96, 96, 128, 2048, 2048, 1000]
