"""The network: one column or both, their initial weights, and the forward pass (P §3).

The layers are in `architectures.py`. A `Network` holds one column of them or both, and gives the
same bits either way.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from alexnet import draws
from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.exchange import gather_and_apply, gather_on_first, with_halo
from alexnet.layers import After, Architecture, FullyConnected, Layer, Shape
from alexnet.placement import Placement
from alexnet.recipe import Recipe

Precision = Literal["fp32", "tf32", "bf16"]


class Network(nn.Module):
    """The columns that this process holds, and the forward pass through them.

    Maps are [n, channels, height, width] with the channels last in memory, which is how
    convolutions, pooling and normalisation are fastest. Every convolution arranges its input so,
    and no bit depends on where the input comes from.

    Args:
        table: the layers.
        recipe: LRN's divisor and window, dropout's scaling.
        seed: of the initial weights and of dropout.
        placement: which columns are here; None is all of them, on the CPU.
        precision: `bf16` has convolutions and matrix products take bfloat16 and add in float32,
            with weights, their update, normalisation and loss in float32. `fp32` and `tf32` leave
            everything in float32; what a GPU does within a product of float32 is the process's
            setting (`torch.backends`).
        arithmetic: that computes it.

    Raises:
        ValueError: portable arithmetic with another precision than `fp32`.
    """

    def __init__(self, table: Architecture, recipe: Recipe, seed: int,
                 placement: Placement | None = None, precision: Precision = "fp32",
                 arithmetic: Arithmetic = NATIVE) -> None:
        super().__init__()
        self.table, self.recipe, self.seed, self.precision = table, recipe, seed, precision
        self.placement = placement or Placement(table.columns, tuple(range(table.columns)))
        self.arithmetic = arithmetic
        if arithmetic.name == "portable" and precision != "fp32":
            raise ValueError(f"{precision} is a precision of native arithmetic; portable has fp32")
        self.columns = nn.ModuleDict({str(column): Column(table, column, seed, arithmetic)
                                      for column in self.placement.held})
        self.to(self.placement.device)

    def forward(self, images: Tensor, step: int = 0, offset: int = 0) -> Tensor:
        """Return the logits before the softmax (P §3.5).

        Args:
            images: float32 [n, 3, 224, 224], RGB, centred, on the 0..255 scale; of nets with
                other crops 227.
            step: number of the update, which the dropout masks of training depend on.
            offset: position of images[0] in the whole batch, which they depend on, too.

        Returns:
            float32 [n, classes] where column 0 is; elsewhere a scalar whose `backward()` takes part
            in column 0's.
        """
        with self._autocast():
            logits = self._up_to(len(self.table.layers), images, step, offset)[0]
        return logits.float() if self.precision == "bf16" else logits

    def last_hidden(self, images: Tensor) -> Tensor:
        """Return float32 [n, units], the last hidden layer: 4096 units in the paper's net (P §6.1).

        All columns must be in this process.

        Args:
            images: as for `forward`.
        """
        with self._autocast():
            columns = self._up_to(len(self.table.layers) - 1, images)
        return torch.cat([units.flatten(1) for units in columns], dim=1).float()

    def named_columns(self) -> list[tuple[str, int, nn.Parameter]]:
        """Return every parameter here as (canonical name, column, tensor), in the table's order.

        For instance [("conv1.weight", 0, ...), ("conv1.weight", 1, ...), ("conv1.bias", 0, ...)].
        """
        return [(f"{layer.name}.{kind}", column, getattr(self._layers(column)[layer.name], kind))
                for layer in self.table.layers for kind in ("weight", "bias")
                for column in self.placement.held if layer.name in self._layers(column)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.placement.device.type, torch.bfloat16,
                              enabled=self.precision == "bf16")

    def _up_to(self, layers: int, images: Tensor, step: int = 0, offset: int = 0) -> list[Tensor]:
        """Return the output of the first so many layers, for each column held here."""
        if self.table.input_scale:
            images = self.arithmetic.scale_channels(images, self.table.input_scale)
        maps = [images] * len(self.placement.held)  # both GPUs see the image
        for position, layer in enumerate(self.table.layers[:layers]):
            maps = self._learned_layer(layer, maps, gather=position > 0 and layer.sees == "both")
            for name in layer.after:
                maps = self._after(name, layer, maps, step, offset)
        return maps

    def _learned_layer(self, layer: Layer, maps: list[Tensor],
                       gather: bool = False) -> list[Tensor]:
        operator = self.arithmetic.operator(layer)
        in_column_0_alone = isinstance(layer, FullyConnected) and layer.only_first
        if gather and not in_column_0_alone:
            return gather_and_apply(maps, self.placement, operator, [
                self._weight_and_bias(column, layer) for column in self.placement.held],
                self.arithmetic)
        if gather:
            maps = gather_on_first(maps, self.placement)
        # The output layer has one column, so that there may be fewer maps than columns.
        return [operator(x, *self._weight_and_bias(column, layer))
                if layer.name in self._layers(column) else x
                for column, x in zip(self.placement.held, maps, strict=False)]

    def _weight_and_bias(self, column: int, layer: Layer) -> tuple[Tensor, Tensor]:
        module = self._layers(column)[layer.name]
        return cast(Tensor, module.weight), cast(Tensor, module.bias)

    def _layers(self, column: int) -> nn.ModuleDict:
        return cast(Column, self.columns[str(column)]).layers

    def _after(self, name: After, layer: Layer, maps: list[Tensor], step: int,
               offset: int) -> list[Tensor]:
        """Return what the maps of each column become in one of the steps after a learned layer."""
        arithmetic = self.arithmetic
        if name == "relu":
            return [arithmetic.relu(x) for x in maps]
        if name == "tanh":
            return [arithmetic.tanh(x) for x in maps]
        if name == "lrn":
            return self._lrn(maps)
        if name == "spatial":
            return [arithmetic.spatial_norm(x) for x in maps]
        if name in ("pool", "average pool"):
            pool = arithmetic.max_pool if name == "pool" else arithmetic.average_pool
            return [pool(x, *self.table.pool) for x in maps]
        return self._dropout(maps, layer, step, offset)

    def _lrn(self, maps: list[Tensor]) -> list[Tensor]:
        """Normalise in windows that end at the edge of the column, or reach into the other one."""
        lrn, divisor, constants = self.arithmetic.lrn, self.recipe.lrn_divisor, self.table.lrn
        if self.recipe.lrn_window == "column" or self.placement.columns == 1:
            return [lrn(x, divisor, constants) for x in maps]
        channels = maps[0].shape[1]
        reach = min(constants.size // 2, channels)  # a column of a very narrow net has one map
        wide = with_halo(maps, reach, self.placement, self.arithmetic)
        return [lrn(x, divisor, constants).narrow(1, reach * column, channels)
                for column, x in zip(self.placement.held, wide, strict=True)]

    def _dropout(self, units: list[Tensor], layer: Layer, step: int, offset: int) -> list[Tensor]:
        """Silence half the units in training; in testing all speak, half as loud (P §4.2)."""
        units = [x.flatten(1) for x in units]  # pooled maps, where dropout is before fc6
        in_testing = self.recipe.dropout_scaling == "test"
        if not self.training:
            return [self.arithmetic.halve(x) if in_testing else x for x in units]
        dropped = []
        for column, x in zip(self.placement.held, units, strict=True):
            kept = draws.coins(self.seed, f"dropout {layer.name} column {column}", step, offset,
                               len(x), x.shape[1], x.device)
            dropped.append(self.arithmetic.drop(x, kept, rescaled=not in_testing))
        return dropped


class Column(nn.Module):
    """The learned layers of one column: `layers[name]` has a weight and a bias.

    Args:
        table: the layers.
        column: number of the column.
        seed: of the initial weights.
        arithmetic: that turns random words into Gaussians.
    """

    def __init__(self, table: Architecture, column: int, seed: int,
                 arithmetic: Arithmetic = NATIVE) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for shape in table.shapes():
            if column < table.held_by(shape.layer):
                self.layers[shape.layer.name] = _initial(table, shape, column, seed,
                                                             arithmetic)


def _initial(table: Architecture, shape: Shape, column: int, seed: int,
             arithmetic: Arithmetic) -> nn.Module:
    """Return a layer with its initial weights: zero-mean Gaussians, drawn for each layer and column
    (P §5), and a constant bias; or, where the table says `torch`, both uniform."""
    layer, module, purpose = shape.layer, nn.Module(), f"initial {shape.layer.name} column {column}"
    if table.init == "torch":
        bound = 1 / math.sqrt(math.prod(shape.weight) // math.prod(shape.bias))
        module.weight = nn.Parameter(draws.uniform_tensor(seed, purpose, shape.weight, bound))
        module.bias = nn.Parameter(draws.uniform_tensor(seed, f"{purpose} bias", shape.bias, bound))
        return module
    module.weight = nn.Parameter(draws.gaussian_tensor(
        seed, purpose, shape.weight, table.init_std(shape), arithmetic.gaussians))
    module.bias = nn.Parameter(torch.full(shape.bias, layer.init_bias, dtype=torch.float32))
    return module
