"""PyTorch's own kernels: on every device, and other bits on another kind of processor.

`Arithmetic` is also what the network, its training and its testing ask of any arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alexnet import draws
from alexnet.layers import Convolution, Layer, Local, Lrn
from alexnet.normalization import lrn, spatial_norm

Name = Literal["portable", "native"]
Windows = tuple[Tensor, Tensor, Tensor]  # where crops were cut: tops, lefts, flips, int64 [n]
KEEP = 0.5  # P §4.2: each hidden unit of fc6 and fc7 is kept with probability 0.5
NOISE = 0.1  # P §4.1: the Gaussian's standard deviation; S color-noise
CACHE_VALUES = 1 << 19  # updated at a time on the CPU, to go through memory once, not four times
CACHED_IMAGES = 4  # centred at a time on the CPU


class LayerOperator:
    """A learned layer as a function of input, weight and bias.

    Args:
        layer: the layer, as the table has it.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return maps [n, outputs, height, width], or units [n, outputs]."""
        layer = self.layer
        if not isinstance(layer, Convolution):
            return F.linear(x.flatten(1), weight, bias)
        if isinstance(layer, Local):
            # [n, inputs x size x size, positions]; each position has its own weights
            patches = F.unfold(x, layer.size, padding=layer.padding[0])
            units = torch.einsum("nip,poi->nop", patches, weight.flatten(2)) + bias.T
            outputs: Tensor = torch.unflatten(units, 2, (x.shape[2], x.shape[3]))
            return outputs
        x = x.contiguous(memory_format=torch.channels_last)
        left, right = layer.padding
        if left != right:  # S layer.py: windows may hang over the right and lower edge, where
            x, left = F.pad(x, (left, right, left, right)), 0  # zeros are read
        maps: Tensor = F.conv2d(x, weight, bias, layer.stride, left)
        return maps

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Any]:
        """Return the output, which no graph belongs to, and what the gradients need."""
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
            output = self(*inputs)
        return output.detach(), (inputs, output)

    def input_gradient(self, saved: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the input; it comes before that of the parameters.

        Args:
            saved: by `forward`.
            gradient: of the output.
        """
        inputs, output = saved
        of_x: Tensor = torch.autograd.grad(output, inputs[0], gradient, retain_graph=True)[0]
        return of_x

    def parameter_gradients(self, saved: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of weight and bias.

        Args:
            saved: by `forward`.
            gradient: of the output.
        """
        inputs, output = saved
        of_weight, of_bias = torch.autograd.grad(output, inputs[1:], gradient)
        return of_weight, of_bias


class Arithmetic:
    """The operations of the network, by PyTorch.

    Maps are [n, channels, height, width], with the channels last in memory.
    """

    name: Name = "native"

    def operator(self, layer: Layer) -> LayerOperator:
        """Return a learned layer of the table as an operator."""
        return LayerOperator(layer)

    def relu(self, x: Tensor) -> Tensor:
        """Return max(x, 0), in the place of x (P §3.1)."""
        return F.relu(x, inplace=True)

    def tanh(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent (P §3.1)."""
        return torch.tanh(x)

    def lrn(self, x: Tensor, divisor: str, constants: Lrn) -> Tensor:
        """Return the maps normalised across channels (P §3.3); see `normalization.lrn`."""
        return lrn(x, divisor, constants)

    def spatial_norm(self, x: Tensor) -> Tensor:
        """Return the maps normalised across pixels; see `normalization.spatial_norm`."""
        return spatial_norm(x)

    def max_pool(self, x: Tensor, size: int, stride: int) -> Tensor:
        """Return the greatest of each window (P §3.4); windows may hang over the edge."""
        return F.max_pool2d(x, size, stride, ceil_mode=True)

    def average_pool(self, x: Tensor, size: int, stride: int) -> Tensor:
        """Return the mean of each window; one that hangs over the edge has only what is within the
        map (S conv_util.cuh: AvgPooler)."""
        return F.avg_pool2d(x, size, stride, ceil_mode=True)

    def drop(self, x: Tensor, kept: Tensor, rescaled: bool) -> Tensor:
        """Return x where it is kept, else 0 (P §4.2).

        Args:
            x: [n, units].
            kept: bool, of the same shape.
            rescaled: whether what is kept is doubled, so that testing has nothing to halve.
        """
        return x * kept / KEEP if rescaled else x * kept

    def halve(self, x: Tensor) -> Tensor:
        """Return what the units say in testing, when all speak: half as loud (P §4.2)."""
        return x * KEEP

    def scale_channels(self, x: Tensor, factors: Sequence[float]) -> Tensor:
        """Return an input [n, 3, side, side] with R, G and B times a factor each."""
        return x * torch.tensor(factors, dtype=x.dtype, device=x.device).view(3, 1, 1)

    def branch(self, x: Tensor, count: int) -> list[Tensor]:
        """Return x for so many users; on the way back their gradients are added."""
        return [x] * count

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a + b, outside of autograd."""
        return a + b

    def accumulate(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a + b, which may be in the place of a; a sum over parts of a batch."""
        return a.add_(b)

    def exponential(self, x: Tensor) -> Tensor:
        """Return the exponential function of numbers, float64 [n]."""
        return x.exp()

    def square_root(self, x: Tensor) -> Tensor:
        """Return the square root of numbers, float64 [n]."""
        return x.sqrt()

    def colour_offsets(self, gaussians: Tensor, size: Tensor, vectors: Tensor) -> Tensor:
        """Return what is added to R, G and B, float32 [n, 3] (P §4.1).

        Args:
            gaussians: float64 [n, 4], of which the first three count.
            size: float64 [3], what a component is multiplied by besides.
            vectors: float64 [3, 3], the components, in columns.
        """
        a = gaussians[:, :3] * NOISE * size
        # Written out, so that no library decides the order of the sums.
        offsets = [a[:, 0] * vectors[c, 0] + a[:, 1] * vectors[c, 1] + a[:, 2] * vectors[c, 2]
                   for c in range(3)]
        return torch.stack(offsets, dim=1).to(torch.float32)

    def centred(self, crops: Tensor, mean: Tensor, windows: Windows | None,
                offsets: Tensor | None, factor: float) -> Tensor:
        """Return (crops - mean + offsets) * factor, float32 [n, 3, side, side].

        A few images are handled at a time, which stay in the processor's cache. Noise and division
        are one pass: offsets * factor + factor * (crops - mean).

        Args:
            crops: uint8 [n, side, side, 3], mirrored where they are.
            mean: float32 [stored, stored, 3].
            windows: of the mean, for each crop; None is the central one for all.
            offsets: float32 [n, 3], or None: then there is no factor either.
            factor: of the input with noise.
        """
        if crops.is_cuda and crops.is_contiguous() and draws.has_triton():  # one pass, not five
            from alexnet.arithmetic.gpu.maps_triton import centred

            places = windows and tuple(tensor.to(crops.device) for tensor in windows)
            return centred(crops, mean.contiguous(), cast(Windows | None, places), offsets,
                           factor).permute(0, 3, 1, 2)
        means = _mean_windows(mean, windows, crops.shape[1])
        n, side = crops.shape[:2]
        # [n, side, side * 3]: a row is long enough for vector instructions, a pixel is not
        rows = crops.flatten(2)
        # [n, 1, side * 3]
        added = None if offsets is None else (offsets * factor).repeat(1, side)[:, None]
        x = torch.empty(rows.shape, dtype=torch.float32, device=crops.device)
        part = CACHED_IMAGES if crops.device.type == "cpu" else max(1, n)
        for start in range(0, n, part):
            here = slice(start, start + part)
            some = x[here].copy_(rows[here])
            if len(means) == 1:
                some.sub_(means[0])
            elif isinstance(means, Tensor):
                some.sub_(means[here])
            else:
                for image, own in zip(some, means[here], strict=True):
                    image.sub_(own)
            if added is not None:
                torch.add(added[here], some, alpha=factor, out=some)
        return x.view(crops.shape).permute(0, 3, 1, 2)

    def loss(self, logits: Tensor, labels: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a micro-batch, and how many of its images are wrong, as scalars.

        P §3.5: the mean over the batch of the log-probability of the right label.

        Args:
            logits: [n, classes].
            labels: int64 [n].
            batch: images of the whole batch, by which the sum is divided.
        """
        wrong = (logits.detach().argmax(1) != labels).sum()
        return F.cross_entropy(logits, labels, reduction="sum") / batch, wrong

    def softmax(self, logits: Tensor) -> Tensor:
        """Return probabilities [n, classes]."""
        return torch.softmax(logits, dim=1)

    def average(self, probabilities: Tensor) -> Tensor:
        """Return the mean over the first dimension: of ten crops, or of several nets."""
        return probabilities.mean(0)

    def errors(self, probabilities: Tensor, labels: Tensor, top: int) -> float:
        """Return the fraction of images whose label is not among the `top` most probable classes.

        A label that ties with others counts by the share of the tied places that are within the top
        (S LogregCostLayer). A probability that is not a number, after training diverged, ranks
        below all others.

        Args:
            probabilities: [n, classes].
            labels: int64 [n].
            top: 1 or 5; with fewer classes than that, nothing can be wrong.
        """
        own = probabilities.gather(1, labels[:, None])
        # not ">": nothing compares with what is not a number
        above = (~(probabilities <= own)).sum(1)
        tied = (probabilities == own).sum(1).clamp(min=1)  # with itself
        share = ((top - above).clamp(min=0) / tied).clamp(max=1.0)
        return float((1.0 - share.double()).mean())

    def mean_cross_entropy(self, logits: Tensor, labels: Tensor) -> float:
        """Return the mean loss of images, in nats, for logits [n, classes] and labels [n]."""
        return float(F.cross_entropy(logits.double(), labels))

    def log(self, x: Tensor) -> Tensor:
        """Return the natural logarithm of positive numbers, float64."""
        return x.log()

    def mean(self, x: Tensor) -> float:
        """Return the mean over the rows of the sums of each, for float64 [n] or [n, m]."""
        return float(x.sum(1).mean()) if x.dim() == 2 else float(x.mean())

    def colours(self, kernels: Tensor) -> Tensor:
        """Return the share of each kernel's energy that is not grey; see `qualitative.colour`."""
        weights = kernels.double()
        energy = weights.square().sum((1, 2, 3))
        grey = 3 * weights.mean(1).square().sum((1, 2))
        return torch.where(energy > 0, 1 - grey / energy.clamp(min=1e-300), 0.0).clamp(0, 1)

    def specialisation(self, colours: Tensor, splits: int) -> float:
        """Return how far apart the means of both halves are, less the mean over random divisions,
        which are the same every time; see `qualitative.specialisation`."""
        values = colours.numpy()
        half = len(values) // 2

        def distance(values: NDArray[np.float64]) -> float:
            return float(abs(values[:half].mean() - values[half:].mean()))

        generator = np.random.Generator(np.random.Philox(2012))
        by_chance = [distance(generator.permutation(values)) for _ in range(splits)]
        return float(distance(values) - np.mean(by_chance))

    def distances(self, queries: Tensor, images: Tensor) -> Tensor:
        """Return |a|^2 - 2 a b, float32 [q, n], for queries b [q, features] and images a.

        It is |a - b|^2 less |b|^2, which is the same for all images.
        """
        return images.square().sum(1) - 2 * queries @ images.T

    def smallest(self, values: Tensor, count: int) -> Tensor:
        """Return where the smallest values of each row are, int64 [n, count], in their order."""
        return values.topk(count, dim=1, largest=False).indices

    def average_pixels(self, maps: Tensor, side: int) -> Tensor:
        """Return maps [n, c, h, h] averaged to [n, c, side, side]."""
        return F.adaptive_avg_pool2d(maps, side)

    def update(self, weight: Tensor, velocity: Tensor, gradient: Tensor, momentum: float,
               lr: float, decay: float) -> None:
        """Do one update in place, in the order of S src/weights.cu update().

        v <- momentum v - lr g - decay lr w;  w <- w + v (P §5).

        Args:
            weight, velocity: contiguous, float32, of one shape; they are changed.
            gradient: of the same shape.
            momentum, lr, decay: as in P §5.
        """
        if weight.is_cuda and draws.has_triton():  # one kernel, not four
            from alexnet.arithmetic.gpu import maps_triton

            maps_triton.update(weight.detach(), velocity, gradient.contiguous(), momentum, lr,
                               decay)
            return
        w, v, g = weight.view(-1), velocity.view(-1), gradient.reshape(-1)
        part = CACHE_VALUES if w.device.type == "cpu" else max(1, len(w))
        for start in range(0, len(w), part):
            here = slice(start, start + part)
            _update(w[here], v[here], g[here], momentum, lr, decay)

    def rescale(self, velocity: Tensor, factor: float) -> None:
        """Multiply the velocity in place."""
        velocity.mul_(factor)

    def gaussians(self, words: Tensor) -> Tensor:
        """Turn words [n, 4] of 32 bits into standard Gaussians, float64 [n, 4]."""
        return draws.gaussians(words)

    def drop_of_rate(self, drops: int) -> float:
        """Return the factor on the initial rate after so many divisions by 10 (P §5)."""
        return 0.1**drops

    def decay_of_rate(self, total: float, steps: int, step: int) -> float:
        """Return total ** -(step / (steps - 1)): equal steps in the exponent."""
        return float(total ** -(step / (steps - 1)))


def _update(weight: Tensor, velocity: Tensor, gradient: Tensor, momentum: float, lr: float,
            decay: float) -> None:
    velocity.mul_(momentum).add_(gradient, alpha=-lr)
    if decay:
        velocity.add_(weight, alpha=-decay * lr)
    weight.add_(velocity)


def _mean_windows(mean: Tensor, windows: Windows | None, crop: int) -> Sequence[Tensor] | Tensor:
    """Return each crop's window of the mean image, [crop, crop * 3], or the one for all.

    On the CPU they share the memory of one copy; elsewhere they are copied in one go.
    """
    side = len(mean)
    if windows is None:
        border = (side - crop) // 2
        return [mean[border: border + crop, border: border + crop].flatten(1)]
    tops, lefts, flips = windows
    both = torch.stack([mean, mean.flip(1)])  # a mirrored window is a window of the mirrored mean
    lefts = torch.where(flips == 1, side - crop - lefts, lefts)
    if mean.device.type == "cpu":
        starts = (flips * side**2 + tops * side + lefts) * 3
        return [both.as_strided((crop, crop * 3), (3 * side, 1), start)
                for start in starts.tolist()]
    offsets = side - crop + 1
    every = both.as_strided((2, offsets, offsets, crop, crop * 3),
                            (3 * side**2, 3 * side, 3, 3 * side, 1))
    return every[flips.to(mean.device), tops.to(mean.device), lefts.to(mean.device)]


NATIVE = Arithmetic()
