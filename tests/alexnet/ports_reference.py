"""The ports' networks and updates, written from their definition files with PyTorch's functions in
float64: what the tests compare the recipes with. Nothing of alexnet/ is used.

Each is a list of lines in the order of its file: what Caffe's `train_val.prototxt` or
cuda-convnet2's `layers-imagenet-1gpu.cfg` says of a layer. `forward` goes through them; PyTorch's
autograd finds the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

Line = tuple[str, dict[str, Any]]


def conv(name: str, maps: int, size: int, stride: int = 1, pad: int = 0, group: int = 1,
         std: float = 0.01, bias: float = 0.0) -> Line:
    return "conv", {"name": name, "maps": maps, "size": size, "stride": stride, "pad": pad,
                    "group": group, "std": std, "bias": bias}


def fc(name: str, units: int, std: float = 0.01, bias: float = 0.0) -> Line:
    return "fc", {"name": name, "units": units, "std": std, "bias": bias}


RELU: Line = ("relu", {})
POOL: Line = ("pool", {})


def norm(k: float) -> Line:
    return "norm", {"k": k}


def drop(name: str) -> Line:
    return "drop", {"name": name}


@dataclass(frozen=True)
class PortNet:
    """A port's network: the side of its input, its lines, whether dropout is made up for in
    training, and whether the convolutions' last window may hang over (cuda-convnet2)."""

    side: int
    lines: tuple[Line, ...]
    inverted: bool
    hangs_over: bool = False

    def forward(self, x: Tensor, weights: Mapping[str, tuple[Tensor, Tensor]],
                masks: Mapping[str, Tensor] | None) -> Tensor:
        """Return the logits. `masks`, by the name of the dropout layer, are of training."""
        for kind, of in self.lines:
            if kind == "conv":
                weight, bias = weights[of["name"]]
                if self.hangs_over:
                    side = x.shape[-1] + 2 * of["pad"] - of["size"]
                    more = math.ceil(side / of["stride"]) * of["stride"] - side
                    x = F.pad(x, (0, more, 0, more))
                x = F.conv2d(x, weight, bias, of["stride"], of["pad"], groups=of["group"])
            elif kind == "fc":
                weight, bias = weights[of["name"]]
                x = x.flatten(1) @ weight.T + bias
            elif kind == "relu":
                x = F.relu(x)
            elif kind == "pool":
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            elif kind == "norm":  # alpha is divided by the size in all of them
                x = F.local_response_norm(x, 5, 1e-4, 0.75, of["k"])
            elif masks is not None:
                x = x.flatten(1) * masks[of["name"]] * (2.0 if self.inverted else 1.0)
            elif not self.inverted:
                x = x * 0.5
        return x

    def parameters(self, classes: int) -> dict[str, tuple[tuple[int, ...], int]]:
        """Return the shape of each layer's weights, and the number of its biases, by name."""
        shapes: dict[str, tuple[tuple[int, ...], int]] = {}
        maps, side = 3, self.side
        for kind, of in self.lines:
            if kind == "conv":
                outputs = of["maps"]
                shapes[of["name"]] = (outputs, maps // of["group"], of["size"], of["size"]), outputs
                free = side + 2 * of["pad"] - of["size"]
                side = (math.ceil if self.hangs_over else math.floor)(free / of["stride"]) + 1
                maps = outputs
            elif kind == "pool":
                side = math.ceil((side - 3) / 2) + 1
            elif kind == "fc":
                outputs = classes if of["name"] == "fc8" else of["units"]
                shapes[of["name"]] = (outputs, maps * side * side), outputs
                maps, side = outputs, 1
        return shapes


def caffe(first: tuple[Line, ...], bias: float) -> PortNet:
    """BVLC/caffe models: bvlc_alexnet, bvlc_reference_caffenet train_val.prototxt."""
    return PortNet(227, (
        conv("conv1", 96, 11, 4), RELU, *first,
        conv("conv2", 256, 5, pad=2, group=2, bias=bias), RELU, *first,
        conv("conv3", 384, 3, pad=1), RELU,
        conv("conv4", 384, 3, pad=1, group=2, bias=bias), RELU,
        conv("conv5", 256, 3, pad=1, group=2, bias=bias), RELU, POOL,
        fc("fc6", 4096, 0.005, bias), RELU, drop("fc6"),
        fc("fc7", 4096, 0.005, bias), RELU, drop("fc7"), fc("fc8", 1000)), inverted=True)


NETS = {
    "caffe": caffe((norm(1.0), POOL), 0.1),
    "caffenet": caffe((POOL, norm(1.0)), 1.0),
    "one-weird-trick": PortNet(224, (
        conv("conv1", 64, 11, 4), norm(2.0), POOL, RELU,
        conv("conv2", 192, 5, pad=2, bias=1), RELU, norm(2.0), POOL,
        conv("conv3", 384, 3, pad=1, std=0.03), RELU,
        conv("conv4", 256, 3, pad=1, std=0.03, bias=1), RELU,
        conv("conv5", 256, 3, pad=1, std=0.03, bias=1), POOL, RELU,
        fc("fc6", 4096, bias=1), RELU, drop("fc6"), fc("fc7", 4096, bias=1), RELU, drop("fc7"),
        fc("fc8", 1000, bias=-7)), inverted=False, hangs_over=True),
}


@dataclass
class Parameter:
    """A weight or bias with its history."""

    value: Tensor
    history: Tensor
    is_bias: bool

    def update(self, gradient: Tensor, rate: float, decay: float) -> None:
        """Caffe's sgd_solver.cpp and cuda-convnet2's weights.cu: the rate is inside."""
        self.history = 0.9 * self.history + rate * (gradient + decay * self.value)
        self.value = self.value - self.history


def caffe_rate(is_bias: bool, iteration: int, of: int) -> tuple[float, float]:
    """solver.prototxt: base_lr 0.01, gamma 0.1, stepsize 100000 of max_iter 450000; lr_mult 2 and
    decay_mult 0 of biases. Returns rate and decay."""
    step = iteration * 450_000 // of // 100_000
    return (0.02 if is_bias else 0.01) * 0.1**step, 0.0 if is_bias else 0.0005


def dexp_rate(is_bias: bool, iteration: int, of: int) -> tuple[float, float]:
    """layer-params-imagenet-1gpu.cfg: dexp[base=0.01;tgtFactor=250;numSteps=4], of biases
    dexp[base=0.02;tgtFactor=10;numSteps=2]; wc=0.0005."""
    base, factor, steps = (0.02, 10.0, 2) if is_bias else (0.01, 250.0, 4)
    return (base / factor ** (math.floor(iteration * steps / of) / (steps - 1)),
            0.0 if is_bias else 0.0005)


RATES: dict[str, Callable[[bool, int, int], tuple[float, float]]] = {
    "caffe": caffe_rate, "caffenet": caffe_rate, "one-weird-trick": dexp_rate}
