"""Portable arithmetic on PyTorch's tensors, with the ways back: docs/arithmetic.md.

On a CPU tensors are handed to `operators.py` as NumPy's arrays of the same memory, on a GPU to
`gpu/operators_triton.py` as they are; maps as [n, rows, columns, channels]. What PyTorch does here
itself only moves numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from alexnet import draws
from alexnet.arithmetic import rates
from alexnet.arithmetic.library import chosen, load
from alexnet.arithmetic.native import Arithmetic, LayerOperator, Name, Windows
from alexnet.arithmetic.operators import Normalization, Operators, error_rate
from alexnet.layers import Convolution, Layer, Local, Lrn
from alexnet.normalization import SPATIAL_K, SPATIAL_SCALE, SPATIAL_SIZE

Gradients = tuple[Tensor | None, ...]


def _plain(tensor: Tensor) -> Tensor:
    """Return the tensor's numbers, in its own order of dimensions, outside of autograd."""
    return tensor.detach().contiguous()


def _maps(tensor: Tensor) -> Tensor:
    """Return maps [n, c, h, w] as [n, h, w, c]."""
    return _plain(tensor.permute(0, 2, 3, 1))


def _first(maps: Tensor) -> Tensor:
    """Return maps [n, h, w, c] as [n, c, h, w]."""
    return maps.permute(0, 3, 1, 2)


def _flat(x: Tensor) -> Tensor:
    """Return the numbers of a tensor in the order in which maps lie in memory."""
    return _maps(x) if x.dim() == 4 else _plain(x)


def _like(values: Tensor, x: Tensor) -> Tensor:
    return _first(values) if x.dim() == 4 else values


class TensorOperators:
    """The CPU's operators as functions of tensors, which share their memory with the arrays.

    Args:
        operators: of arrays.
    """

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the operator of this name."""
        operator = getattr(self._operators, name)
        return lambda *arguments: _tensors(operator(*map(_array, arguments)))

    def set_threads(self, threads: int) -> None:
        """Share each operator's outputs among so many threads."""
        self._operators.threads = threads


def _array(argument: Any) -> Any:
    return argument.detach().numpy() if isinstance(argument, Tensor) else argument


def _tensors(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_tensors(part) for part in result)
    return torch.from_numpy(result) if isinstance(result, np.ndarray) else result


class PortableLayer(LayerOperator):
    """A learned layer in portable arithmetic.

    Args:
        layer: the layer, as the table has it.
        operators: that compute it: TensorOperators, or GpuOperators.
    """

    def __init__(self, layer: Layer, operators: Any) -> None:
        super().__init__(layer)
        self.operators = operators

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return maps [n, outputs, height, width], or units [n, outputs]."""
        output: Tensor = _Layer.apply(x, weight, bias, self)
        return output

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        """Return the output, and input and weights."""
        layer, o = self.layer, self.operators
        w, b = _plain(weight), _plain(bias)
        if not isinstance(layer, Convolution):
            units = _plain(x.flatten(1))
            return o.linear(units, w, b), (units, w, x.shape)
        maps = _maps(x)
        if isinstance(layer, Local):
            y = o.local(maps, w, b, layer.padding[0])
        else:
            y = o.convolution(maps, w, b, layer.stride, layer.padding)
        return _first(y), (maps, w, x.shape)

    def input_gradient(self, saved: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the input."""
        x, w, shape = saved
        layer, o = self.layer, self.operators
        if not isinstance(layer, Convolution):
            of_units: Tensor = o.linear_input_gradient(_plain(gradient), w)
            return of_units.view(shape)
        g = _maps(gradient)
        if isinstance(layer, Local):
            return _first(o.local_input_gradient(g, w, layer.padding[0]))
        return _first(o.convolution_input_gradient(g, w, x.shape, layer.stride, layer.padding))

    def parameter_gradients(self, saved: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of weight and bias."""
        x, w, _ = saved
        layer, o = self.layer, self.operators
        if not isinstance(layer, Convolution):
            g = _plain(gradient)
            dw, db = o.linear_weight_gradient(g, x), o.bias_gradient(g)
        elif isinstance(layer, Local):
            g = _maps(gradient)
            dw = o.local_weight_gradient(g, x, layer.size, layer.padding[0])
            positions = w.shape[0]
            db = o.bias_gradient(g.reshape(len(g), -1)).reshape(positions, -1)
        else:
            g = _maps(gradient)
            dw = o.convolution_weight_gradient(g, x, layer.size, layer.stride, layer.padding)
            db = o.bias_gradient(g)
        return dw, db


class Portable(Arithmetic):
    """The operations of the network as docs/arithmetic.md defines them.

    On a GPU the network, its loss, its update and its inputs are computed there; draws, and what is
    small and seldom, on the CPU as ever.

    Args:
        gpu: whether the network's tensors are on a GPU; that its operators agree is for
            `gpu/check.py` to say.

    Raises:
        LibraryError: the kernels cannot be compiled or loaded on this machine.
        ImportError: `gpu`, and there is no Triton.
    """

    name: Name = "portable"

    def __init__(self, gpu: bool = False) -> None:
        self._host = TensorOperators(Operators(load(chosen())))
        self._gpu: Any = None
        if gpu:
            from alexnet.arithmetic.gpu.operators_triton import GpuOperators

            self._gpu = GpuOperators()

    @property
    def host(self) -> Any:
        """Return the CPU's operators, on as many threads as PyTorch's own would have."""
        self._host.set_threads(torch.get_num_threads())
        return self._host

    @property
    def operators(self) -> Any:
        """Return the operators of the device that the network is on."""
        return self._gpu or self.host

    def operator(self, layer: Layer) -> LayerOperator:
        """Return a learned layer of the table as an operator."""
        return PortableLayer(layer, self.operators)

    def relu(self, x: Tensor) -> Tensor:
        """Return +0 where x <= 0, else x."""
        return cast(Tensor, _Elementwise.apply(x, "relu", self.operators))

    def tanh(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent."""
        return cast(Tensor, _Elementwise.apply(x, "tanh", self.operators))

    def lrn(self, x: Tensor, divisor: str, constants: Lrn) -> Tensor:
        """Return the maps normalised across channels."""
        a = constants.alpha / constants.size if divisor == "window" else constants.alpha
        normalization = Normalization(constants.size, constants.k, a)
        return cast(Tensor, _Normalize.apply(x, "lrn", normalization, self.operators))

    def spatial_norm(self, x: Tensor) -> Tensor:
        """Return the maps normalised across pixels."""
        normalization = Normalization(SPATIAL_SIZE, SPATIAL_K, SPATIAL_SCALE)
        return cast(Tensor, _Normalize.apply(x, "spatial", normalization, self.operators))

    def max_pool(self, x: Tensor, size: int, stride: int) -> Tensor:
        """Return the greatest of each window."""
        return cast(Tensor, _MaxPool.apply(x, size, stride, self.operators))

    def average_pool(self, x: Tensor, size: int, stride: int) -> Tensor:
        """Return the mean of each window, of what it has within the map."""
        return cast(Tensor, _AveragePool.apply(x, size, stride, self.operators))

    def drop(self, x: Tensor, kept: Tensor, rescaled: bool) -> Tensor:
        """Return x, or twice x, where it is kept, else +0."""
        return cast(Tensor, _Drop.apply(x, kept, 2.0 if rescaled else 1.0, self.operators))

    def halve(self, x: Tensor) -> Tensor:
        """Return x / 2; it is for testing, and has no way back."""
        return cast(Tensor, self.operators.scale(_plain(x), 0.5))

    def scale_channels(self, x: Tensor, factors: Sequence[float]) -> Tensor:
        """Return an input with each channel times its factor; it has no way back."""
        return torch.stack([self.operators.scale(_plain(x[:, c]), factor)
                            for c, factor in enumerate(factors)], dim=1)

    def branch(self, x: Tensor, count: int) -> list[Tensor]:
        """Return x for so many users."""
        return list(_Branch.apply(x, count, self))

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a + b, outside of autograd."""
        shape = a.shape
        if a.dim() == 0:
            a, b = a.view(1), b.view(1)
        return _like(self.operators.add(_flat(a), _flat(b)), a).view(shape)

    def accumulate(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a + b; counts (integers) are PyTorch's to add."""
        return self.add(a, b) if a.is_floating_point() else a + b

    def loss(self, logits: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a micro-batch, and how many of its images are wrong, as scalars."""
        loss, wrong = _CrossEntropy.apply(logits, labels, batch, self.operators)
        return loss, wrong

    def softmax(self, logits: Tensor) -> Tensor:
        """Return probabilities [n, classes]."""
        probabilities: Tensor = self.host.softmax(_plain(logits.cpu()))
        return probabilities.to(logits.device)

    def average(self, probabilities: Tensor) -> Tensor:
        """Return the mean over the first dimension."""
        mean: Tensor = self.host.average(_plain(probabilities.cpu()))
        return mean.to(probabilities.device)

    def errors(self, probabilities: Tensor, labels: Tensor, top: int) -> float:
        """Return the fraction of images whose label is not among the `top` most probable
        classes."""
        return error_rate(_plain(probabilities.cpu()).numpy(), labels.cpu().numpy(), top)

    def mean_cross_entropy(self, logits: Tensor, labels: Tensor) -> float:
        """Return the mean loss of images, in nats."""
        total: float = self.host.cross_entropy(_plain(logits.cpu()), labels.cpu(), 1)[0]
        return total / len(labels)

    def log(self, x: Tensor) -> Tensor:
        """Return the natural logarithm of positive numbers, float64."""
        return cast(Tensor, self.host.log(_plain(x.cpu())))

    def mean(self, x: Tensor) -> float:
        """Return the mean over the rows of the sums of each: the exact sum, rounded once."""
        return math.fsum(x.flatten().tolist()) / len(x)

    def colours(self, kernels: Tensor) -> Tensor:
        """Return the share of each kernel's energy that is not grey, from exact sums."""
        shares = []
        for r, g, b in kernels.double():
            energy = math.fsum(torch.stack([r * r, g * g, b * b]).flatten().tolist())
            mean = ((r + g) + b) / 3.0
            grey = 3.0 * math.fsum((mean * mean).flatten().tolist())
            shares.append(min(1.0, max(0.0, 1.0 - grey / energy)) if energy > 0 else 0.0)
        return torch.tensor(shares, dtype=torch.float64)

    def specialisation(self, colours: Tensor, splits: int) -> float:
        """Return how far apart the means of both halves are, less the mean over random divisions,
        which are the same everywhere."""
        half = len(colours) // 2

        def distance(values: Tensor) -> float:
            return abs(self.mean(values[:half]) - self.mean(values[half:]))

        by_chance = [distance(colours[draws.permutation(2012, "halves", split, len(colours))])
                     for split in range(splits)]
        return distance(colours) - math.fsum(by_chance) / splits

    def distances(self, queries: Tensor, images: Tensor) -> Tensor:
        """Return |a|^2 - 2 a b, float32 [q, n], for queries b and images a."""
        a, b = _plain(images.cpu()), _plain(queries.cpu())
        products: Tensor = self.host.linear(b, a, None)
        squares: Tensor = self.host.squares(a)
        return torch.from_numpy(squares.numpy() - 2.0 * products.numpy())

    def smallest(self, values: Tensor, count: int) -> Tensor:
        """Return where the smallest values of each row are; of equal ones the first is before."""
        return values.argsort(dim=1, stable=True)[:, :count]

    def average_pixels(self, maps: Tensor, side: int) -> Tensor:
        """Return maps averaged over squares, added in order in float64.

        Raises:
            ValueError: the squares do not fit.
        """
        size, rest = divmod(maps.shape[2], side)
        if rest:
            raise ValueError(f"{maps.shape[2]} pixels are not averaged to {side}")
        maps = maps.cpu()
        total = torch.zeros(*maps.shape[:2], side, side, dtype=torch.float64)
        for row in range(size):
            for column in range(size):
                total = total + maps[:, :, row::size, column::size].double()
        return (total / size**2).float()

    def update(self, weight: Tensor, velocity: Tensor, gradient: Tensor, momentum: float,
               lr: float, decay: float) -> None:
        """Do one update in place."""
        self.operators.update(weight.detach(), velocity, _plain(gradient), momentum, lr, decay)

    def rescale(self, velocity: Tensor, factor: float) -> None:
        """Multiply the velocity in place."""
        self.operators.rescale(velocity, factor)

    def gaussians(self, words: Tensor) -> Tensor:
        """Turn words [n, 4] of 32 bits into standard Gaussians, float64 [n, 4]."""
        return cast(Tensor, self.host.gaussians(_plain(words)))

    def exponential(self, x: Tensor) -> Tensor:
        """Return the exponential function of numbers, float64 [n]."""
        return cast(Tensor, self.host.exp(_plain(x)))

    def square_root(self, x: Tensor) -> Tensor:
        """Return square roots; PyTorch's own are not rounded alike on all processors."""
        return torch.tensor([math.sqrt(value) for value in x.tolist()], dtype=torch.float64)

    def colour_offsets(self, gaussians: Tensor, size: Tensor, vectors: Tensor) -> Tensor:
        """Return what is added to R, G and B, float32 [n, 3]."""
        return cast(Tensor, self.host.colour_offsets(*map(_plain, (gaussians, size, vectors))))

    def centred(self, crops: Tensor, mean: Tensor, windows: Windows | None,
                offsets: Tensor | None, factor: float) -> Tensor:
        """Return (crops - mean + offsets) * factor, float32 [n, 3, side, side]."""
        border = (len(mean) - crops.shape[1]) // 2
        middle = torch.full((len(crops),), border)
        places = [_plain(tensor.to(crops.device))
                  for tensor in windows or (middle, middle, torch.zeros_like(middle))]
        return _first(self.operators.centred(_plain(crops), _plain(mean), *places,
                                             None if offsets is None else _plain(offsets), factor))

    def drop_of_rate(self, drops: int) -> float:
        """Return 10 ** -drops, rounded once."""
        return rates.by_hand(drops)

    def decay_of_rate(self, total: float, steps: int, step: int) -> float:
        """Return total ** -(step / (steps - 1)), rounded once."""
        return rates.automatic(int(total), steps, step)


class _Layer(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor,
                layer: PortableLayer) -> Tensor:
        context.layer = layer
        output, context.saved = layer.forward(x, weight, bias)
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        layer, saved = context.layer, context.saved
        of_x = layer.input_gradient(saved, gradient) if context.needs_input_grad[0] else None
        return of_x, *layer.parameter_gradients(saved, gradient), None


class _Elementwise(Function):
    """ReLU or tanh."""

    @staticmethod
    def forward(context: Any, x: Tensor, name: str, operators: Any) -> Tensor:
        context.operators, context.name = operators, name
        y = _like(getattr(operators, name)(_flat(x)), x)
        context.save_for_backward(y)
        return y

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        (y,) = context.saved_tensors
        of_x = getattr(context.operators, f"{context.name}_gradient")
        return _like(of_x(_flat(gradient), _flat(y)), y), None, None


class _Normalize(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, name: str, constants: Normalization,
                operators: Any) -> Tensor:
        context.operators, context.name, context.constants = operators, name, constants
        context.x = _maps(x)
        y, context.quotient = getattr(operators, name)(context.x, constants)
        return _first(y)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        of_x = getattr(context.operators, f"{context.name}_gradient")
        dx = of_x(_maps(gradient), context.x, context.quotient, context.constants)
        return _first(dx), None, None, None


class _MaxPool(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, size: int, stride: int, operators: Any) -> Tensor:
        maps = _maps(x)
        context.operators, context.shape, context.window = operators, maps.shape, (size, stride)
        y, context.places = operators.max_pool(maps, size, stride)
        return _first(y)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        dx = context.operators.max_pool_gradient(_maps(gradient), context.places, context.shape,
                                                 *context.window)
        return _first(dx), None, None, None


class _AveragePool(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, size: int, stride: int, operators: Any) -> Tensor:
        maps = _maps(x)
        context.operators, context.shape, context.window = operators, maps.shape, (size, stride)
        return _first(operators.average_pool(maps, size, stride))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        dx = context.operators.average_pool_gradient(_maps(gradient), context.shape,
                                                     *context.window)
        return _first(dx), None, None, None


class _Drop(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, kept: Tensor, factor: float,
                operators: Any) -> Tensor:
        context.operators, context.kept, context.factor = operators, _plain(kept), factor
        return cast(Tensor, operators.dropout(_plain(x), context.kept, factor))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Gradients:
        dx = context.operators.dropout(_plain(gradient), context.kept, context.factor)
        return dx, None, None, None


class _Branch(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, count: int, arithmetic: Portable) -> tuple[Tensor, ...]:
        context.arithmetic = arithmetic
        return tuple(x.detach() for _ in range(count))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Gradients:
        total = gradients[0]
        for gradient in gradients[1:]:
            total = context.arithmetic.add(total, gradient)
        return total, None, None


class _CrossEntropy(Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, labels: Tensor, batch: int,
                operators: Any) -> tuple[Tensor, Tensor]:
        total, wrong, context.gradient = operators.cross_entropy(_plain(logits), labels, batch)
        if isinstance(total, Tensor):  # it stays on the GPU
            loss, failures = operators.mean_loss(total, batch), wrong
        else:
            loss, failures = torch.tensor(total / batch, dtype=torch.float32), torch.tensor(wrong)
        context.mark_non_differentiable(failures)
        return loss, failures

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Any) -> Gradients:
        # a GPU would be waited for
        assert gradient.is_cuda or float(gradient) == 1.0, "the loss is what is differentiated"
        return context.gradient, None, None, None
