"""What a row of the layer table in `network.py` says, and the shapes, parameters and multiply-adds that follow from it.

A layer is written per column: the paper's "48 + 48 kernels" are 48 outputs with two columns. `sees` says whether a
layer reads its own column's maps or those of both (a crossing between the two GPUs). `after` lists what follows it, in
order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

STORED = 256  # P §2: the side of the stored images
CROP = 224  # P §3.5: 224 x 224 x 3 input; 227 is Caffe's
After = Literal["relu", "tanh", "lrn", "spatial", "pool", "dropout"]


@dataclass(frozen=True)
class Layer:
    """One learned layer of one column, and what follows it.

    Attributes:
        name: as in the paper, "conv1" to "fc8".
        outputs: kernels or units in one column.
        sees: the outputs of its own column, or of both: a crossing (P §3.5, Fig. 2).
        init_std: standard deviation of the initial weights, at full width (P §5, S layers-145.cfg initW).
        init_bias: initial bias (P §5, S layers-145.cfg initB).
        after: what its outputs pass through, in this order.
        decay: times the recipe's weight decay.
    """

    name: str
    outputs: int
    sees: Literal["column", "both"]
    init_std: float
    init_bias: float
    after: tuple[After, ...] = ()
    decay: float = 1.0


@dataclass(frozen=True)
class Convolution(Layer):
    """Kernels that slide over the input.

    Attributes:
        size: side of the square kernels, in pixels.
        stride: pixels between one place and the next.
        padding: zeros around the input, in pixels: before (left and top) and behind (right and bottom).
    """

    size: int = 3
    stride: int = 1
    padding: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Local(Convolution):
    """Like a convolution, with weights and biases of its own at every position (S layers-conv-local-13pct.cfg)."""


@dataclass(frozen=True)
class FullyConnected(Layer):
    """Each output is a weighted sum of all inputs, in the order [maps, rows, columns].

    Attributes:
        only_first: held by column 0 alone, as the output layer (S layers-145.cfg: fc8 on GPU 0).
    """

    only_first: bool = False


@dataclass(frozen=True)
class Shape:
    """What one layer takes and gives, in one column.

    Attributes:
        layer: which.
        inputs: maps that it reads, or units.
        input_side: of these maps, in pixels; 1 for units.
        side: of its own maps, before they are pooled; 1 for units.
        output_side: after its pooling.
    """

    layer: Layer
    inputs: int
    input_side: int
    side: int
    output_side: int

    @property
    def weight(self) -> tuple[int, ...]:
        """Of one column: [outputs, inputs, size, size], the same for each position (first) of a local layer, or
        [outputs, inputs]."""
        if isinstance(self.layer, Convolution):
            kernel = (self.layer.outputs, self.inputs, self.layer.size, self.layer.size)
            return (self.side**2, *kernel) if isinstance(self.layer, Local) else kernel
        return (self.layer.outputs, self.inputs * self.input_side**2)

    @property
    def bias(self) -> tuple[int, ...]:
        """Of one column: [outputs], or [positions, outputs] of a local layer."""
        return (self.side**2, self.layer.outputs) if isinstance(self.layer, Local) else (self.layer.outputs,)

    @property
    def parameters(self) -> int:
        """Weights and biases of one column."""
        return math.prod(self.weight) + math.prod(self.bias)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image in one column."""
        return math.prod(self.weight) * (1 if isinstance(self.layer, Local) else self.side**2)


@dataclass(frozen=True)
class Lrn:
    """Constants of the normalisation across channels (P §3.3): `size` is the paper's n, in channels; `k`; `alpha`."""

    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4


@dataclass(frozen=True)
class Architecture:
    """The layers of a net, by the column; what is the same for all of them.

    Attributes:
        columns: 2 in the paper, 1 of a net on one GPU.
        layers: from the input on.
        full_inputs: inputs of each layer at full width, by name: the initial spread is meant for these.
        pool: size and stride of the pooling, in pixels (P §3.4: 3 and 2, overlapping).
        lrn: constants of the normalisation.
        input_maps: 3, for R, G and B.
        stored: side of the images that crops are cut from, in pixels: 256 in the paper.
        crop: side of the input, in pixels: 224 in the paper.
    """

    columns: int
    layers: tuple[Layer, ...]
    full_inputs: dict[str, int]
    pool: tuple[int, int] = (3, 2)
    lrn: Lrn = field(default_factory=Lrn)
    input_maps: int = 3
    stored: int = STORED
    crop: int = CROP

    def shapes(self) -> list[Shape]:
        """Every layer's shapes, in order."""
        found: list[Shape] = []
        maps, side = self.input_maps, self.crop
        for layer in self.layers:
            inputs = maps if not found or layer.sees == "column" else maps * self.columns
            here = side
            own = (here + sum(layer.padding) - layer.size) // layer.stride + 1 if isinstance(layer, Convolution) else 1
            side = own
            if "pool" in layer.after:
                side = -(-(side - self.pool[0]) // self.pool[1]) + 1
            found.append(Shape(layer, inputs, here, own, side))
            maps = layer.outputs
        return found

    def parameters_of(self, column: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter that a column holds: {"conv1.weight": (48, 3, 11, 11), ...}."""
        return {f"{shape.layer.name}.{kind}": shape.weight if kind == "weight" else shape.bias
                for shape in self.shapes() for kind in ("weight", "bias") if column < self.held_by(shape.layer)}

    def canonical(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter with the columns merged: {"conv1.weight": (96, 3, 11, 11), ...}."""
        columns = [self.parameters_of(column) for column in range(self.columns)]
        return {name: (sum(column[name][0] for column in columns if name in column), *shape[1:])
                for name, shape in columns[0].items()}

    def held_by(self, layer: Layer) -> int:
        """How many columns have this layer."""
        return 1 if isinstance(layer, FullyConnected) and layer.only_first else self.columns

    @property
    def parameters(self) -> int:
        """Weights and biases of all columns: 60,965,224 of the paper's net with 1000 classes."""
        return sum(shape.parameters * self.held_by(shape.layer) for shape in self.shapes())

    @property
    def macs(self) -> int:
        """Multiply-adds of a forward pass of one image through all columns, biases not counted."""
        return sum(shape.macs * self.held_by(shape.layer) for shape in self.shapes())

    def init_std(self, shape: Shape) -> float:
        """The layer's initial spread: as published at full width, and growing by 1/sqrt(width) in a narrower net, so
        that the sum over fewer inputs is as large as over all of them."""
        return shape.layer.init_std * math.sqrt(self.full_inputs[shape.layer.name] / shape.inputs)
