"""What a row of the layer table says, and the shapes, parameters and multiply-adds that follow.

A layer is written for one column: the paper's "48 + 48 kernels" are 48 outputs with two columns.
`sees` says whether a layer reads the maps of its own column or those of both, where the two GPUs
exchange them. `after` lists what follows the layer, in order. The tables are in `architectures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

STORED = 256  # P §2: the side of the stored images
CROP = 224  # P §3.5: 224 x 224 x 3 input; 227 is Caffe's
After = Literal["relu", "tanh", "lrn", "spatial", "pool", "average pool", "dropout"]


@dataclass(frozen=True)
class Layer:
    """One learned layer of one column, and what follows it.

    Attributes:
        name: as in the paper, "conv1" to "fc8".
        outputs: kernels or units in one column.
        sees: the outputs of its own column, or those of both columns (P §3.5, Fig. 2).
        init_std: standard deviation of the initial weights, at full width (P §5, S layers-145.cfg
            initW).
        init_bias: initial bias (P §5, S layers-145.cfg initB).
        after: what its outputs pass through, in this order.
        decay: factor on the recipe's weight decay.
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
        stride: pixels between one window and the next.
        padding: rows and columns of zeros: (above and to the left, below and to the right).
    """

    size: int = 3
    stride: int = 1
    padding: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Local(Convolution):
    """A convolution with weights and biases of its own at every position.

    Source: S layers-conv-local-13pct.cfg.
    """


@dataclass(frozen=True)
class FullyConnected(Layer):
    """Each output is a weighted sum of all inputs, in the order [maps, rows, columns].

    Attributes:
        only_first: whether column 0 alone holds it, as the output layer (S layers-145.cfg: fc8 on
            GPU 0).
    """

    only_first: bool = False


@dataclass(frozen=True)
class Shape:
    """The dimensions of one layer in one column.

    Attributes:
        layer: the layer.
        inputs: number of maps, or units, that it reads.
        input_side: side of these maps, in pixels; 1 for units.
        side: side of its own maps before they are pooled, in pixels; 1 for units.
        output_side: side of its own maps after they are pooled, in pixels; 1 for units.
    """

    layer: Layer
    inputs: int
    input_side: int
    side: int
    output_side: int

    @property
    def weight(self) -> tuple[int, ...]:
        """Return the shape of one column's weights.

        It is [outputs, inputs, size, size] of a convolution, [positions, outputs, inputs, size,
        size] of a local layer, and [outputs, inputs] of a fully connected one.
        """
        if isinstance(self.layer, Convolution):
            kernel = (self.layer.outputs, self.inputs, self.layer.size, self.layer.size)
            return (self.side**2, *kernel) if isinstance(self.layer, Local) else kernel
        return (self.layer.outputs, self.inputs * self.input_side**2)

    @property
    def bias(self) -> tuple[int, ...]:
        """Return the shape of one column's biases.

        It is [outputs], or [positions, outputs] of a local layer.
        """
        outputs = self.layer.outputs
        return (self.side**2, outputs) if isinstance(self.layer, Local) else (outputs,)

    @property
    def parameters(self) -> int:
        """Return the number of weights and biases of one column."""
        return math.prod(self.weight) + math.prod(self.bias)

    @property
    def macs(self) -> int:
        """Return the number of multiply-adds for one image in one column."""
        return math.prod(self.weight) * (1 if isinstance(self.layer, Local) else self.side**2)


@dataclass(frozen=True)
class Lrn:
    """Constants of the normalisation across channels (P §3.3).

    Attributes:
        size: the paper's n, in channels.
        k: the constant that is added to the sum.
        alpha: the factor of the sum of squares.
    """

    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4


@dataclass(frozen=True)
class Architecture:
    """The layers of a net, written for one column, and what all of them share.

    Attributes:
        columns: 2 in the paper, 1 for a net on one GPU.
        layers: in the order in which an image passes through them.
        full_inputs: number of inputs of each layer at full width, by name, which the published
            initial spread is meant for; a layer that is not in it is at full width.
        pool: size and stride of the pooling, in pixels (P §3.4: 3 and 2, overlapping).
        lrn: constants of the normalisation across channels.
        input_maps: 3, for R, G and B.
        stored: side of the images that crops are cut from, in pixels: 256 in the paper.
        crop: side of the input, in pixels: 224 in the paper.
        init: distribution of the initial weights: `normal` as the layers say (P §5), or `torch`,
            uniform within 1 / sqrt(inputs of a unit), biases likewise.
        input_scale: factors on R, G and B of the centred input; None leaves grey levels (P §2).
        views: of an image in testing: 10, or the 9 of CIFAR-10; see `alexnet.testing`.
    """

    columns: int
    layers: tuple[Layer, ...]
    full_inputs: dict[str, int] = field(default_factory=dict)
    pool: tuple[int, int] = (3, 2)
    lrn: Lrn = field(default_factory=Lrn)
    input_maps: int = 3
    stored: int = STORED
    crop: int = CROP
    init: Literal["normal", "torch"] = "normal"
    input_scale: tuple[float, float, float] | None = None
    views: Literal[10, 9] = 10

    def with_layers(self, changes: Mapping[str, Mapping[str, Any]]) -> Architecture:
        """Return the net with other fields in some layers: {"conv5": {"outputs": 256}, ...}.

        Layers that the net does not have are passed over.
        """
        return replace(self, layers=tuple(replace(layer, **changes.get(layer.name, {}))
                                          for layer in self.layers))

    def with_after(self, substitutes: Mapping[After, tuple[After, ...]]) -> Architecture:
        """Return the net with other steps after its layers: {"relu": ("tanh",), "lrn": (), ...}."""
        return self.with_layers({layer.name: {"after": tuple(
            new for old in layer.after for new in substitutes.get(old, (old,)))}
            for layer in self.layers})

    def shapes(self) -> list[Shape]:
        """Return every layer's shapes, in the order of the layers."""
        shapes: list[Shape] = []
        maps, side = self.input_maps, self.crop
        for layer in self.layers:
            inputs = maps if not shapes or layer.sees == "column" else maps * self.columns
            input_side, side = side, 1
            if isinstance(layer, Convolution):
                side = (input_side + sum(layer.padding) - layer.size) // layer.stride + 1
            output_side = side
            if {"pool", "average pool"} & {*layer.after}:
                size, stride = self.pool
                output_side = -(-(side - size) // stride) + 1
            shapes.append(Shape(layer, inputs, input_side, side, output_side))
            maps, side = layer.outputs, output_side
        return shapes

    def parameters_of(self, column: int) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of a column's parameters.

        For instance {"conv1.weight": (48, 3, 11, 11), ...}.
        """
        return {f"{shape.layer.name}.{kind}": shape.weight if kind == "weight" else shape.bias
                for shape in self.shapes() for kind in ("weight", "bias")
                if column < self.held_by(shape.layer)}

    def canonical(self) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of the parameters with the columns merged.

        For instance {"conv1.weight": (96, 3, 11, 11), ...}.
        """
        columns = [self.parameters_of(column) for column in range(self.columns)]
        return {name: (sum(column[name][0] for column in columns if name in column), *shape[1:])
                for name, shape in columns[0].items()}

    def held_by(self, layer: Layer) -> int:
        """Return the number of columns that have this layer."""
        return 1 if isinstance(layer, FullyConnected) and layer.only_first else self.columns

    @property
    def parameters(self) -> int:
        """Return the number of weights and biases of all columns: 60,965,224 in the paper's net."""
        return sum(shape.parameters * self.held_by(shape.layer) for shape in self.shapes())

    @property
    def macs(self) -> int:
        """Return the multiply-adds of one image's forward pass through all columns.

        The additions of the biases are not counted.
        """
        return sum(shape.macs * self.held_by(shape.layer) for shape in self.shapes())

    def init_std(self, shape: Shape) -> float:
        """Return the standard deviation of the layer's initial weights.

        It is as published at full width, and larger by 1/sqrt(width) in a narrower net, so that the
        sum over fewer inputs stays as large.
        """
        full_inputs = self.full_inputs.get(shape.layer.name, shape.inputs)
        return shape.layer.init_std * math.sqrt(full_inputs / shape.inputs)
