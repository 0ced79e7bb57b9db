"""AlexNet: the layer table of P §3.5 and Fig. 2, and the two columns that compute it.

`architecture("two-column", recipe("source"), classes=1000)` is the net of the paper: 60,965,224 parameters and
724,406,816 multiply-adds an image. A `Network` holds one of its columns or both, and gives the same bits either way.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import draws
from alexnet.crossing import Placement, gather_on_first, gathered, with_neighbours
from alexnet.layers import After, Architecture, Convolution, FullyConnected, Layer, Local, Lrn, Shape
from alexnet.normalization import lrn, spatial_norm
from alexnet.recipe import Recipe

KEEP = 0.5  # P §4.2: each hidden unit of fc6 and fc7 is kept with probability 0.5
Removable = Literal["conv3", "conv4", "conv5", "fc6", "fc7"]  # P §7: "removing any of the middle layers"
Precision = Literal["fp32", "tf32", "bf16"]
COLUMNS = {"two-column": 2, "half": 1, "undivided": 1, "conv6": 2, "cifar": 1}  # of each architecture


def architecture(name: Literal["two-column", "half", "undivided", "conv6", "cifar"], recipe: Recipe, classes: int,
                 width: float = 1.0, *, neuron: Literal["relu", "tanh"] = "relu", normalization: bool = True,
                 pooling: Literal["overlapping", "separate"] = "overlapping", dropout: bool = True,
                 without: Removable | None = None) -> Architecture:
    """The layer table of the named net under this recipe.

    Args:
        name: `two-column`, the paper's; `half`, its one-GPU net with half the kernels (§3.2); `undivided`, all kernels
            in one column, as most ports have it; `conv6`, with the sixth convolution of "CNN*" (§6); `cifar`, the
            four-layer net on CIFAR-10 (§3.1 and Fig. 1, §3.3).
        recipe: decides what follows conv1 and conv2, conv1's padding and the initial spread of conv3-5.
        classes: units of the output layer, 1000 in the paper.
        width: factor of every other layer's units, 1 in the paper.
        neuron: `tanh` in place of ReLU (§3.1).
        normalization: False leaves out every normalisation (§3.3; S #148).
        pooling: `separate` has 2 x 2 windows that do not overlap, and the same dimensions (§3.4; S #147).
        dropout: False leaves it out (§4.2).
        without: one middle layer left out (§7).
    """
    full = _cifar_layers(classes) if name == "cifar" else _layers(name, recipe, classes)
    columns = COLUMNS[name]
    if name == "undivided":
        full = tuple(replace(layer, outputs=layer.outputs * 2) for layer in full[:-1]) + full[-1:]
    elif name == "half":  # §3.2: conv5 and the fully connected layers keep their size
        full = tuple(replace(layer, outputs=outputs)
                     for layer, outputs in zip(full, (48, 128, 192, 192, 256, 4096, 4096, classes), strict=True))
    if without:
        full = _without(full, without)
    silent = {"dropout": not dropout, "lrn": not normalization, "spatial": not normalization}
    full = tuple(replace(layer, after=tuple(neuron if what == "relu" else what
                                            for what in layer.after if not silent.get(what))) for layer in full)
    if pooling == "separate":  # 55 -> 28 -> 26 -> 13 -> 11 -> 6; S layers-147.cfg: conv2 pad 1, conv5 pad 0
        full = tuple(replace(layer, padding=(layer.padding[0] - 1, layer.padding[1] - 1))
                     if isinstance(layer, Convolution) and layer.name in ("conv2", "conv5") else layer
                     for layer in full)
    full_inputs = {shape.layer.name: shape.inputs for shape in Architecture(columns, full, {}).shapes()}
    narrow = tuple(replace(layer, outputs=max(1, round(layer.outputs * width))) for layer in full[:-1])
    built = Architecture(columns, narrow + full[-1:], full_inputs, (3, 2) if pooling == "overlapping" else (2, 2))
    if name == "cifar":
        built = replace(built, lrn=Lrn(size=9, k=1.0, alpha=0.001), stored=32, crop=24)
    if (name, width, classes, without) == ("two-column", 1.0, 1000, None):
        assert built.parameters == 60_965_224, built.parameters  # P §3.5: "60 million"
        assert built.macs == 724_406_816 or pooling == "separate", built.macs
    return built


def _without(layers: tuple[Layer, ...], name: Removable) -> tuple[Layer, ...]:
    """The table less one layer: its pooling goes to the layer before it, its crossing to the one behind it."""
    at = [layer.name for layer in layers].index(name)
    before, gone, behind = layers[at - 1: at + 2]
    if "pool" in gone.after:
        before = replace(before, after=(*before.after, "pool"))
    if gone.sees == "both":
        behind = replace(behind, sees="both")
    return (*layers[: at - 1], before, behind, *layers[at + 2:])


def _layers(name: str, recipe: Recipe, classes: int) -> tuple[Layer, ...]:
    """The table at full width, one column of two. Output shapes in the comments are per column."""
    first: tuple[After, ...] = ("lrn", "pool", "relu") if recipe.layer1_order == "norm-pool-relu" \
        else ("relu", "lrn", "pool")
    second: tuple[After, ...] = ("relu", "lrn", "spatial", "pool") if recipe.spatial_norm else ("relu", "lrn", "pool")
    conv1_padding = (0, 3) if recipe.conv1_padding == "right-bottom" else (2, 2)
    std = recipe.conv345_init_std
    conv6 = (Convolution("conv6", 128, "both", std, 1.0, ("relu",)),) if name == "conv6" else ()  # [n, 128, 6, 6]
    return (
        #            name  kernels  sees    std   bias  then
        Convolution("conv1", 48, "column", 0.01, 0.0, first, size=11, stride=4,
                    padding=conv1_padding),                                       # [n, 48, 55, 55] -> [n, 48, 27, 27]
        Convolution("conv2", 128, "column", 0.01, 1.0, second, size=5,
                    padding=(2, 2)),                                              # [n, 128, 27, 27] -> [n, 128, 13, 13]
        Convolution("conv3", 192, "both", std, 0.0, ("relu",)),                   # [n, 192, 13, 13]
        Convolution("conv4", 192, "column", std, 1.0, ("relu",)),                 # [n, 192, 13, 13]
        Convolution("conv5", 128, "column", std, 1.0, ("pool", "relu")),          # [n, 128, 13, 13] -> [n, 128, 6, 6]
        *conv6,
        FullyConnected("fc6", 2048, "both", 0.01, 1.0, ("relu", "dropout")),      # [n, 2048]
        FullyConnected("fc7", 2048, "both", 0.01, 1.0, ("relu", "dropout")),      # [n, 2048]
        FullyConnected("fc8", classes, "both", 0.01, 0.0, only_first=True),       # [n, classes], on column 0
    )


def _cifar_layers(classes: int) -> tuple[Layer, ...]:
    """The four-layer net of Fig. 1; without normalisation the one that stops at 13 % test error on CIFAR-10, with it at
    11 % (§3.3). S layers-cifar/layers-conv-local-13pct.cfg; C2 layers-cifar10-11pct.cfg."""
    return (
        Convolution("conv1", 64, "column", 0.0001, 0.0, ("relu", "pool", "lrn"), decay=0.0, size=5,
                    padding=(2, 2)),                                              # [n, 64, 24, 24] -> [n, 64, 12, 12]
        Convolution("conv2", 64, "column", 0.01, 0.0, ("relu", "lrn", "pool"), decay=0.0, size=5,
                    padding=(2, 2)),                                              # [n, 64, 12, 12] -> [n, 64, 6, 6]
        Local("local3", 32, "column", 0.04, 0.0, ("relu",), decay=8.0),           # [n, 32, 6, 6]; wc 0.004
        Local("local4", 32, "column", 0.04, 0.0, ("relu",), decay=8.0),           # [n, 32, 6, 6]
        FullyConnected("fc10", classes, "column", 0.01, 0.0, decay=8.0, only_first=True),
    )


class Column(nn.Module):
    """The learned layers of one column: `layers[name]` is a convolution or a linear map."""

    def __init__(self, table: Architecture, column: int, seed: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for shape in table.shapes():
            if column < table.held_by(shape.layer):
                self.layers[shape.layer.name] = _learned(table, shape, column, seed)


def _learned(table: Architecture, shape: Shape, column: int, seed: int) -> nn.Module:
    """A layer with its initial weights: zero-mean Gaussians drawn per layer and column (P §5)."""
    layer = shape.layer
    weight = draws.gaussian_tensor(seed, f"initial {layer.name} column {column}", shape.weight, table.init_std(shape))
    module = nn.Module()
    module.weight = nn.Parameter(weight)
    module.bias = nn.Parameter(torch.full(shape.bias, layer.init_bias))
    return module


class Network(nn.Module):
    """The columns that this process holds, and the forward pass through them.

    Maps are [n, channels, height, width] with the channels last in memory, which is how convolutions, pooling and
    normalisation are fastest; every convolution sees to it, so that no bit depends on where its input comes from.

    Args:
        table: the layers.
        recipe: LRN's divisor and window, dropout's scaling.
        seed: of the initial weights and of dropout.
        place: which columns are here.
        precision: `bf16` has convolutions and matrix products take bfloat16 and add in float32, with weights, their
            update, normalisation and loss in float32; `fp32` and `tf32` leave everything in float32, and what a GPU
            does within a product of float32 is the process's setting (`torch.backends`).
    """

    def __init__(self, table: Architecture, recipe: Recipe, seed: int, place: Placement | None = None,
                 precision: Precision = "fp32") -> None:
        super().__init__()
        self.table, self.recipe, self.seed, self.precision = table, recipe, seed, precision
        self.place = place or Placement(columns=table.columns, mine=tuple(range(table.columns)))
        self.columns = nn.ModuleDict({str(c): Column(table, c, seed) for c in self.place.mine})
        self.to(self.place.device)

    def forward(self, images: Tensor, step: int = 0, first: int = 0) -> Tensor:
        """Logits before the softmax (P §3.5).

        Args:
            images: float32 [n, 3, 224, 224], RGB, centred, on the 0..255 scale.
            step: number of the update, for the dropout masks of training.
            first: place of images[0] in the whole batch, likewise.

        Returns:
            float32 [n, classes] where column 0 is; elsewhere a scalar whose `backward()` takes part in column 0's.
        """
        with self._precision():
            found = self._up_to(len(self.table.layers), images, step, first)[0]
        return found.float() if self.precision == "bf16" else found

    def last_hidden(self, images: Tensor) -> Tensor:
        """float32 [n, units]: the last hidden layer, 4096 units in the paper's net (P §6.1); all columns are here."""
        with self._precision():
            xs = self._up_to(len(self.table.layers) - 1, images)
        return torch.cat([x.flatten(1) for x in xs], dim=1).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _up_to(self, layers: int, images: Tensor, step: int = 0, first: int = 0) -> list[Tensor]:
        xs = [images] * len(self.place.mine)  # both GPUs see the image
        for position, layer in enumerate(self.table.layers[:layers]):
            xs = self._learned_layer(layer, xs, crossing=position > 0 and layer.sees == "both")
            for what in layer.after:
                xs = self._after(what, layer, xs, step, first)
        return xs

    def _learned_layer(self, layer: Layer, xs: list[Tensor], crossing: bool = False) -> list[Tensor]:
        learned = partial(_apply, layer)
        if crossing and not (isinstance(layer, FullyConnected) and layer.only_first):
            return gathered(xs, self.place, learned,
                            [self._weight_and_bias(column, layer) for column in self.place.mine])
        if crossing:
            xs = gather_on_first(xs, self.place)
        return [learned(x, *self._weight_and_bias(column, layer)) if layer.name in self._layers(column) else x
                for column, x in zip(self.place.mine, xs, strict=False)]  # the output layer has one column

    def _weight_and_bias(self, column: int, layer: Layer) -> tuple[Tensor, Tensor]:
        module = self._layers(column)[layer.name]
        return cast(Tensor, module.weight), cast(Tensor, module.bias)

    def _layers(self, column: int) -> nn.ModuleDict:
        return cast(Column, self.columns[str(column)]).layers

    def _after(self, what: After, layer: Layer, xs: list[Tensor], step: int, first: int) -> list[Tensor]:
        if what == "relu":
            return [F.relu(x, inplace=True) for x in xs]  # P §3.1
        if what == "tanh":
            return [torch.tanh(x) for x in xs]
        if what == "lrn":
            return self._lrn(xs)
        if what == "spatial":
            return [spatial_norm(x) for x in xs]
        if what == "pool":
            size, stride = self.table.pool
            return [F.max_pool2d(x, size, stride, ceil_mode=True) for x in xs]  # P §3.4: z = 3, s = 2
        return [self._dropout(x, layer, column, step, first)
                for column, x in zip(self.place.mine, xs, strict=True)]

    def _lrn(self, xs: list[Tensor]) -> list[Tensor]:
        divisor = self.recipe.lrn_divisor
        if self.recipe.lrn_window == "column" or self.place.columns == 1:
            return [lrn(x, divisor, self.table.lrn) for x in xs]
        maps = xs[0].shape[1]
        reach = min(self.table.lrn.size // 2, maps)  # the columns of a very narrow net have one map
        wide = with_neighbours(xs, reach, self.place)
        return [lrn(x, divisor, self.table.lrn).narrow(1, reach * column, maps)
                for column, x in zip(self.place.mine, wide, strict=True)]

    def _dropout(self, x: Tensor, layer: Layer, column: int, step: int, first: int) -> Tensor:
        """P §4.2: half the units are silenced in training; in testing all speak, half as loud."""
        if not self.training:
            return x * KEEP if self.recipe.dropout_scaling == "test" else x
        purpose = f"dropout {layer.name} column {column}"
        kept = draws.coins(self.seed, purpose, step, first, len(x), x.shape[1], x.device)
        return x * kept if self.recipe.dropout_scaling == "test" else x * kept / KEEP

    def named_columns(self) -> list[tuple[str, int, nn.Parameter]]:
        """Every parameter here as (canonical name, column, tensor), for instance ("conv1.weight", 1, ...), in order."""
        return [(f"{layer.name}.{kind}", column, getattr(self._layers(column)[layer.name], kind))
                for layer in self.table.layers for kind in ("weight", "bias")
                for column in self.place.mine if layer.name in self._layers(column)]


def _apply(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if not isinstance(layer, Convolution):
        return F.linear(x.flatten(1), weight, bias)
    if isinstance(layer, Local):
        patches = F.unfold(x, layer.size, padding=layer.padding[0])  # [n, inputs x size x size, positions]
        # each position has its own weights
        found: Tensor = torch.einsum("nip,poi->nop", patches, weight.flatten(2)) + bias.T
        return torch.unflatten(found, 2, (x.shape[2], x.shape[3]))
    x = x.contiguous(memory_format=torch.channels_last)
    before, behind = layer.padding
    if before != behind:  # S layer.py: windows may hang over the right and lower edge, where zeros are read
        x, before = F.pad(x, (before, behind, before, behind)), 0
    return F.conv2d(x, weight, bias, layer.stride, before)
