"""The layer table of P §3.5 and Fig. 2, and the variants of it that the paper compares.

`architecture("two-column", recipe("source"), classes=1000)` is the net of the paper: 60,965,224
parameters and 724,406,816 multiply-adds for an image. Every row says what is in one column. The
comments beside it are the shapes of that column's output: maps x rows x columns -> after pooling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from alexnet.layers import STORED, After, Architecture, Convolution, FullyConnected, Local, Lrn
from alexnet.recipe import Recipe

Name = Literal["two-column", "half", "undivided", "conv6", "one-weird-trick", "cifar",
               "cifar-11pct", "cifar-18pct"]
Removable = Literal["conv3", "conv4", "conv5", "fc6", "fc7"]  # P §7: "any of the middle layers"

# The net as the source has it (S layers-145.cfg); `under_recipe` is what the switches change.
TWO_COLUMN = Architecture(columns=2, layers=(
    #           name  kernels sees      std   bias  after
    Convolution("conv1", 48, "column", 0.01, 0.0, ("lrn", "pool", "relu"),
                size=11, stride=4, padding=(0, 3)),                       # 48x55x55 -> 48x27x27
    Convolution("conv2", 128, "column", 0.01, 1.0, ("relu", "lrn", "spatial", "pool"),
                size=5, padding=(2, 2)),                                  # 128x27x27 -> 128x13x13
    Convolution("conv3", 192, "both", 0.03, 0.0, ("relu",)),              # 192x13x13
    Convolution("conv4", 192, "column", 0.03, 1.0, ("relu",)),            # 192x13x13
    Convolution("conv5", 128, "column", 0.03, 1.0, ("pool", "relu")),     # 128x13x13 -> 128x6x6
    FullyConnected("fc6", 2048, "both", 0.01, 1.0, ("relu", "dropout")),  # 2048
    FullyConnected("fc7", 2048, "both", 0.01, 1.0, ("relu", "dropout")),  # 2048
    FullyConnected("fc8", 1000, "both", 0.01, 0.0, only_first=True),      # 1000, in column 0
))
assert TWO_COLUMN.parameters == 60_965_224  # P §3.5: "60 million"
assert TWO_COLUMN.macs == 724_406_816

# P §6, "CNN*": a sixth convolution over the last pooling layer.
CONV6 = Convolution("conv6", 128, "both", 0.03, 1.0, ("relu",))           # 128x6x6

# Means and standard deviations of R, G and B, which most ports have, with pixels in 0..1
# (torchvision references/classification/presets.py); here on the scale of 0..255.
CHANNEL_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
CHANNEL_SCALE = (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225))

# P Fig. 1: the four-layer net, which without normalisation has 13 % test error on CIFAR-10, and
# with it 11 % (§3.3). S layers-cifar/layers-conv-local-13pct.cfg, and the normalisation of the net
# of 11 %, which `network.normalization: false` takes away.
CIFAR = Architecture(columns=1, lrn=Lrn(size=9, k=1.0, alpha=0.001), stored=32, crop=24, views=9,
                     layers=(
    Convolution("conv1", 64, "column", 0.0001, 0.0, ("relu", "pool", "lrn"), decay=0.0,
                size=5, padding=(2, 2)),                                  # 64x24x24 -> 64x12x12
    Convolution("conv2", 64, "column", 0.01, 0.0, ("relu", "lrn", "pool"), decay=0.0,
                size=5, padding=(2, 2)),                                  # 64x12x12 -> 64x6x6
    Local("local3", 32, "column", 0.04, 0.0, ("relu",), decay=8.0),       # 32x6x6; S: wc 0.004
    Local("local4", 32, "column", 0.04, 0.0, ("relu",), decay=8.0),       # 32x6x6
    FullyConnected("fc10", 10, "column", 0.01, 0.0, decay=8.0, only_first=True),  # 10
))

# The net of 11 % as it was: C2 layers-cifar10-11pct.cfg, layer-params-cifar10-11pct.cfg.
CIFAR_11PCT = CIFAR.with_layers({"local3": {"outputs": 64}, "fc10": {"decay": 20.0}})  # wc 0.01

# The other candidate for the net of P Fig. 1, which has four learned layers: S
# layers-18pct.cfg, layer-params-18pct.cfg (wc 0.004, of fc10 1), without its two normalisations
# across pixels.
CIFAR_18PCT = replace(CIFAR, layers=(
    Convolution("conv1", 32, "column", 0.0001, 0.0, ("pool", "relu"), decay=8.0,
                size=5, padding=(2, 2)),                                  # 32x24x24 -> 32x12x12
    Convolution("conv2", 32, "column", 0.01, 0.0, ("relu", "average pool"), decay=8.0,
                size=5, padding=(2, 2)),                                  # 32x12x12 -> 32x6x6
    Convolution("conv3", 64, "column", 0.01, 0.0, ("relu", "average pool"), decay=8.0,
                size=5, padding=(2, 2)),                                  # 64x6x6 -> 64x3x3
    FullyConnected("fc10", 10, "column", 0.01, 0.0, decay=2000.0, only_first=True),  # 10
))


def half(net: Architecture) -> Architecture:
    """Return the net on one GPU "with half as many kernels" (P §3.2).

    Its conv5 and fully connected layers keep the size of both columns (S #145-half).
    """
    return replace(net, columns=1).with_layers({
        "conv5": {"outputs": 256}, "fc6": {"outputs": 4096}, "fc7": {"outputs": 4096}})


def undivided(net: Architecture) -> Architecture:
    """Return the net with all kernels of both columns in one, as most ports have them."""
    hidden = {layer.name: {"outputs": 2 * layer.outputs} for layer in net.layers[:-1]}
    return replace(net, columns=1).with_layers(hidden)


def with_conv6(net: Architecture) -> Architecture:
    """Return the net of "CNN*", with a sixth convolution after the last pooling (P §6)."""
    position = [layer.name for layer in net.layers].index("conv5") + 1
    return replace(net, layers=(*net.layers[:position], CONV6, *net.layers[position:]))


# The net on one GPU of "One weird trick" (Krizhevsky 2014): C2 layers-imagenet-1gpu.cfg. Its rows
# are those of 2012 save for the kernels; torchvision's net has the same.
ONE_WEIRD_TRICK = replace(TWO_COLUMN, columns=1).with_layers({
    name: {"outputs": outputs} for name, outputs in (
        ("conv1", 64), ("conv2", 192), ("conv3", 384), ("conv4", 256), ("conv5", 256),
        ("fc6", 4096), ("fc7", 4096))})
assert ONE_WEIRD_TRICK.parameters == 61_100_840

ARCHITECTURES: Mapping[Name, Architecture] = {
    "two-column": TWO_COLUMN,
    "half": half(TWO_COLUMN),
    "undivided": undivided(TWO_COLUMN),
    "conv6": with_conv6(TWO_COLUMN),
    "one-weird-trick": ONE_WEIRD_TRICK,
    "cifar": CIFAR,
    "cifar-11pct": CIFAR_11PCT,
    "cifar-18pct": CIFAR_18PCT,
}


def architecture(name: Name, recipe: Recipe, classes: int, width: float = 1.0, *,
                 neuron: Literal["relu", "tanh"] = "relu", normalization: bool = True,
                 pooling: Literal["overlapping", "separate"] = "overlapping", dropout: bool = True,
                 without: Removable | None = None) -> Architecture:
    """Build the layer table of the named net under this recipe.

    Args:
        name: `two-column`, the paper's net; `half`, its net on one GPU (§3.2); `undivided`, all
            kernels in one column; `conv6`, the net of "CNN*" (§6); `one-weird-trick`, Krizhevsky's
            net of 2014, and torchvision's; `cifar`, the four-layer net on CIFAR-10 (§3.1, Fig. 1,
            §3.3), `cifar-11pct`, that of 11 % error as it was, and `cifar-18pct`, the smaller one
            of 18 % error, without its normalisations.
        recipe: decides what `under_recipe` says; of the nets on CIFAR-10 only whether they see the
            whole image.
        classes: units of the output layer, 1000 in the paper.
        width: factor on every other layer's units, 1 in the paper.
        neuron: `tanh` in place of ReLU (§3.1).
        normalization: False leaves out every normalisation (§3.3).
        pooling: `separate` has windows that do not overlap (§3.4).
        dropout: False leaves it out (§4.2).
        without: the middle layer that is left out (§7).

    Raises:
        ValueError: the net does not have the layer that is to be left out, or takes no whole
            images.
    """
    net = ARCHITECTURES[name]
    if net.stored == STORED:  # those on CIFAR-10 have other files, which no switch is about
        net = under_recipe(net, recipe)
    if recipe.crops == "whole":
        if net.stored == STORED:
            raise ValueError(f"recipe.crops: {name} takes crops of {net.crop} pixels, not whole "
                             "images")
        net = replace(net, crop=net.stored)  # S convdata_cifar.py CIFARDataProvider
    if without:
        net = without_layer(net, without)
    if neuron == "tanh":
        net = with_tanh(net)
    if not normalization:
        net = without_normalization(net)
    if not dropout:
        net = without_dropout(net)
    if pooling == "separate":
        net = with_separate_pooling(net)
    return scaled(net, classes, width)


def under_recipe(net: Architecture, recipe: Recipe) -> Architecture:
    """Return the net with the rows that the recipe's switches decide.

    docs/deviations.md has the evidence for each of them.
    """
    orders: dict[str, tuple[After, ...]] = {
        "norm-pool-relu": ("lrn", "pool", "relu"), "relu-norm-pool": ("relu", "lrn", "pool"),
        "relu-pool-norm": ("relu", "pool", "lrn"), "relu-pool": ("relu", "pool")}
    padding = {"right-bottom": (0, 3), "symmetric": (2, 2), "none": (0, 0)}
    spread, spread67 = {"init_std": recipe.conv345_init_std}, {"init_std": recipe.fc67_init_std}
    bias = {"init_bias": recipe.init_bias}
    net = replace(net, crop=recipe.crop_side, lrn=replace(net.lrn, k=float(recipe.lrn_k)),
                  init=recipe.init).with_layers({
        "conv1": {"after": orders[recipe.layer1_order], "padding": padding[recipe.conv1_padding]},
        "conv2": {"after": orders[recipe.layer2_order], **bias},
        "conv3": spread, "conv4": spread | bias, "conv5": spread | bias, "conv6": spread | bias,
        "fc6": spread67 | bias, "fc7": spread67 | bias,
        "fc8": {"init_bias": recipe.fc8_init_bias}})
    if recipe.spatial_norm:
        net = net.with_layers({"conv2": {"after": _after_lrn(orders[recipe.layer2_order])}})
    if recipe.dropout_place == "before":
        net = with_dropout_before(net)
    if recipe.input == "channels":
        net = replace(net, input_scale=CHANNEL_SCALE)
    return net


def _after_lrn(steps: tuple[After, ...]) -> tuple[After, ...]:
    """Return the steps with the spatial normalisation after LRN (S layers-145.cfg: cnorm2)."""
    return tuple(step for old in steps
                 for step in ((old, "spatial") if old == "lrn" else (old,)))


def with_dropout_before(net: Architecture) -> Architecture:
    """Return the net with dropout before fc6 and fc7 and not after them: on the pooled maps of the
    last convolution, and on fc6 (torchvision)."""
    names = [layer.name for layer in net.layers]
    pooled = net.layers[names.index("fc6") - 1]
    return net.with_layers({pooled.name: {"after": (*pooled.after, "dropout")},
                            "fc7": {"after": ("relu",)}})


def with_tanh(net: Architecture) -> Architecture:
    """Return the net with tanh in place of every ReLU (P §3.1, Fig. 1)."""
    return net.with_after({"relu": ("tanh",)})


def without_normalization(net: Architecture) -> Architecture:
    """Return the net without normalisation of either kind (P §3.3; S #148)."""
    return net.with_after({"lrn": (), "spatial": ()})


def with_separate_pooling(net: Architecture) -> Architecture:
    """Return the net with 2 x 2 pooling windows, which do not overlap (P §3.4).

    It has "equivalent dimensions": the sides of its maps are 55 -> 28 -> 26 -> 13 -> 11 -> 6 pixels
    (S layers-147.cfg: conv2 pad 1, conv5 pad 0).
    """
    less = {layer.name: {"padding": (layer.padding[0] - 1, layer.padding[1] - 1)}
            for layer in net.layers
            if isinstance(layer, Convolution) and layer.name in ("conv2", "conv5")}
    return replace(net, pool=(2, 2)).with_layers(less)


def without_dropout(net: Architecture) -> Architecture:
    """Return the net without dropout, which "exhibits substantial overfitting" (P §4.2)."""
    return net.with_after({"dropout": ()})


def without_layer(net: Architecture, name: Removable) -> Architecture:
    """Return the net less one middle layer (P §7).

    The layer before it takes over its pooling, and the layer after it reads both columns if it did.

    Raises:
        ValueError: the net has no such layer.
    """
    position = [layer.name for layer in net.layers].index(name)
    previous, removed, following = net.layers[position - 1: position + 2]
    if "pool" in removed.after:
        previous = replace(previous, after=(*previous.after, "pool"))
    if removed.sees == "both":
        following = replace(following, sees="both")
    return replace(net, layers=(*net.layers[: position - 1], previous, following,
                                *net.layers[position + 2:]))


def scaled(net: Architecture, classes: int, width: float) -> Architecture:
    """Return the net with so many classes, and every layer but the last `width` times as wide."""
    *hidden, output = net.layers
    narrow = [replace(layer, outputs=max(1, round(layer.outputs * width))) for layer in hidden]
    return replace(net, layers=(*narrow, replace(output, outputs=classes)),
                   full_inputs={shape.layer.name: shape.inputs for shape in net.shapes()})
