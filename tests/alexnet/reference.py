"""AlexNet in float64, written the slow and obvious way: what the tests compare `alexnet/` with.

It is plain numpy and a loop over every window, after the paper and the original source of 2012;
nothing of alexnet/ is used. Each layer returns its output and a function from the gradient of the
output to the gradient of the input; `Net` is the whole network. Below it are the draws in whole
numbers, the augmentation, the error count and the update rule.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Back = Callable[[Array], Array]
Weights = dict[tuple[str, int], tuple[Array, Array]]  # (layer, column) -> weight, bias

BETA = 0.75  # P §3.3
SEES_BOTH = {"conv3", "conv6", "fc6", "fc7", "fc8"}  # P §3.2, Fig. 2: these see both GPUs


# Layers. Maps are [n, channels, height, width].


def overlap(start: int, size: int, length: int) -> tuple[slice, slice]:
    """Return the part of the window start .. start + size - 1 that is inside 0 .. length - 1, as a
    slice of the image and as a slice of the window."""
    first, behind = max(start, 0), min(start + size, length)
    return slice(first, behind), slice(first - start, behind - start)


def convolution(x: Array, weight: Array, bias: Array, stride: int, before: int, side: int,
                ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Return `side` x `side` outputs; the first window begins `before` pixels outside the image,
    where it reads zeros."""
    size, (n, _, height, width) = weight.shape[2], x.shape
    y = np.zeros((n, len(weight), side, side))
    windows = []
    for i, j in np.ndindex(side, side):
        rows, kernel_rows = overlap(i * stride - before, size, height)
        columns, kernel_columns = overlap(j * stride - before, size, width)
        windows.append((i, j, (..., rows, columns), (..., kernel_rows, kernel_columns)))
    for i, j, here, part in windows:
        y[:, :, i, j] = x[here].reshape(n, -1) @ weight[part].reshape(len(weight), -1).T + bias

    def back(g: Array) -> tuple[Array, Array, Array]:
        gx, gw = np.zeros_like(x), np.zeros_like(weight)
        for i, j, here, part in windows:
            of_patch = g[:, :, i, j] @ weight[part].reshape(len(weight), -1)
            gx[here] += of_patch.reshape(x[here].shape)
            gw[part] += (g[:, :, i, j].T @ x[here].reshape(n, -1)).reshape(gw[part].shape)
        return gx, gw, g.sum((0, 2, 3))

    return y, back


def fully_connected(x: Array, weight: Array, bias: Array,
                    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Return [n, units] for [n, ...]."""
    flat = x.reshape(len(x), -1)
    return (flat @ weight.T + bias,
            lambda g: ((g @ weight).reshape(x.shape), g.T @ flat, g.sum(0)))


def local(x: Array, weight: Array,
          bias: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    """Return the outputs of a 3 x 3 window, with a border of one zero. Each position has
    weights [positions, outputs, inputs, 3, 3] and biases [positions, outputs] of its own."""
    n, _, height, width = x.shape
    y = np.zeros((n, weight.shape[1], height, width))
    windows = [(i, j, overlap(i - 1, 3, height), overlap(j - 1, 3, width))
               for i, j in np.ndindex(height, width)]
    for place, (i, j, rows, columns) in enumerate(windows):
        patch, part = x[:, :, rows[0], columns[0]], weight[place][:, :, rows[1], columns[1]]
        y[:, :, i, j] = np.einsum("ncij,ocij->no", patch, part) + bias[place]

    def back(g: Array) -> tuple[Array, Array, Array]:
        gx, gw, gb = np.zeros_like(x), np.zeros_like(weight), np.zeros_like(bias)
        for place, (i, j, rows, columns) in enumerate(windows):
            patch, part = x[:, :, rows[0], columns[0]], weight[place][:, :, rows[1], columns[1]]
            gx[:, :, rows[0], columns[0]] += np.einsum("no,ocij->ncij", g[:, :, i, j], part)
            gw[place][:, :, rows[1], columns[1]] = np.einsum("no,ncij->ocij", g[:, :, i, j], patch)
            gb[place] = g[:, :, i, j].sum(0)
        return gx, gw, gb

    return y, back


def lrn(x: Array, alpha: float, k: float = 2.0, size: int = 5) -> tuple[Array, Back]:
    """Return b_i = a_i / (2 + alpha sum_{j = i - 2 .. i + 2} a_j^2) ^ 0.75, with the sum cut off at
    either end (P §3.3)."""
    channels, half = x.shape[1], size // 2
    reach = [[j for j in range(i - half, i + half + 1) if 0 <= j < channels]
             for i in range(channels)]
    d = np.stack([k + alpha * sum(x[:, j] ** 2 for j in reach[i]) for i in range(channels)], axis=1)

    def back(g: Array) -> Array:
        gx = np.zeros_like(x)
        for i in range(channels):
            gx[:, i] += g[:, i] * d[:, i] ** -BETA
            for j in reach[i]:
                gx[:, j] -= g[:, i] * x[:, i] * BETA * d[:, i] ** (-BETA - 1) * alpha * 2 * x[:, j]
        return gx

    return x * d**-BETA, back


def spatial_norm(x: Array) -> tuple[Array, Back]:
    """Return x / (1 + 4e-5 sum of the squares of the 5 x 5 pixels around it in its map) ^ 0.75 (S
    layers-145.cfg: cnorm2a)."""
    height, width = x.shape[2:]
    scale = 0.001 / 25
    around = {(i, j): (..., overlap(i - 2, 5, height)[0], overlap(j - 2, 5, width)[0])
              for i, j in np.ndindex(height, width)}
    d = np.zeros_like(x)
    for (i, j), window in around.items():
        d[:, :, i, j] = 1.0 + scale * (x[window] ** 2).sum((2, 3))

    def back(g: Array) -> Array:
        gx = g * d**-BETA
        for (i, j), window in around.items():
            power = d[:, :, i, j] ** (-BETA - 1)
            through = g[:, :, i, j] * x[:, :, i, j] * BETA * power * scale * 2
            gx[window] -= through[:, :, None, None] * x[window]
        return gx

    return x * d**-BETA, back


def max_pool(x: Array, size: int, stride: int) -> tuple[Array, Back]:
    """Return the largest value in each window (P §3.4). There are as many windows as it takes to
    reach the last row and column."""
    n, channels, height, width = x.shape
    side = math.ceil((height - size) / stride) + 1
    y = np.zeros((n, channels, side, side))
    chosen = np.zeros((n, channels, side, side), dtype=np.int64)
    windows = {(i, j): (..., overlap(i * stride, size, height)[0],
                        overlap(j * stride, size, width)[0])
               for i, j in np.ndindex(side, side)}
    for (i, j), window in windows.items():
        flat = x[window].reshape(n, channels, -1)
        chosen[:, :, i, j] = flat.argmax(2)
        y[:, :, i, j] = flat.max(2)

    def back(g: Array) -> Array:
        gx = np.zeros_like(x)
        for (i, j), window in windows.items():
            shape = x[window].shape
            winner = np.arange(shape[2] * shape[3]) == chosen[:, :, i, j, None]
            gx[window] += (winner * g[:, :, i, j, None]).reshape(shape)
        return gx

    return y, back


def relu(x: Array) -> tuple[Array, Back]:
    return np.maximum(x, 0.0), lambda g: g * (x > 0)


def tanh(x: Array) -> tuple[Array, Back]:
    return np.tanh(x), lambda g: g * (1 - np.tanh(x) ** 2)


def times(x: Array, factor: Array | float) -> tuple[Array, Back]:
    """Do what dropout does, in training (a mask) and in testing (a number)."""
    return x * factor, lambda g: g * factor


def cross_entropy(logits: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """Return the mean over the images of -log p(label), and its gradient by the logits (P §3.5)."""
    loss, gradient = 0.0, np.zeros_like(logits)
    for row, label in enumerate(labels):
        e = np.exp(logits[row] - logits[row].max())
        p = e / e.sum()
        loss -= math.log(p[label]) / len(labels)
        gradient[row] = p / len(labels)
        gradient[row, label] -= 1.0 / len(labels)
    return loss, gradient


# The network


@dataclass
class Net:
    """The network of P §3.5, of which `columns` GPUs hold a part each.

    `recipe` maps the names of the switches to their values. `masks[layer, column]`, [n, units] of 0
    and 1, makes it the net in training, and their absence the net in testing.
    """

    recipe: Mapping[str, Any]
    layers: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    columns: int = 2
    tanh: bool = False
    normalization: bool = True
    overlapping: bool = True
    dropout: bool = True
    masks: Mapping[tuple[str, int], Array] | None = None
    gradients: Weights = field(default_factory=dict)

    def forward(self, images: Array, weights: Weights) -> Array:
        """Return the logits [n, classes] of centred images [n, 3, 224, 224]."""
        self._backs: list[Callable[[list[Array]], list[Array]]] = []
        xs = [images] * self.columns
        for before, layer in zip(("", *self.layers), self.layers, strict=False):
            if layer in SEES_BOTH or (layer == "conv4" and before == "conv2"):
                xs = self._gather(xs, 1 if layer == "fc8" else self.columns)
            xs = self._learned(layer, xs, weights)
            if layer == "conv1":
                xs = self._first(xs)
            elif layer == "conv2":
                xs = self._second(xs)
            elif layer == "conv5" or (layer == "conv4" and "conv5" not in self.layers):
                xs = self._pool(self._neuron(xs))
            elif layer in ("fc6", "fc7"):
                xs = self._dropout(layer, self._neuron(xs))
            elif layer != "fc8":
                xs = self._neuron(xs)
        return xs[0]

    def backward(self, gradient: Array) -> Weights:
        """Return the gradient of every weight and bias, from that of the logits."""
        gs = [gradient]
        for back in reversed(self._backs):
            gs = back(gs)
        return self.gradients

    def _first(self, xs: list[Array]) -> list[Array]:
        if self.recipe["layer1_order"] == "norm-pool-relu":
            return self._neuron(self._pool(self._lrn(xs)))
        return self._pool(self._lrn(self._neuron(xs)))

    def _second(self, xs: list[Array]) -> list[Array]:
        xs = self._lrn(self._neuron(xs))
        if self.recipe["spatial_norm"] and self.normalization:
            xs = self._each(xs, spatial_norm)
        return self._pool(xs)

    def _learned(self, layer: str, xs: list[Array], weights: Weights) -> list[Array]:
        outputs = []
        for column, x in enumerate(xs):
            weight, bias = weights[layer, column]
            if layer.startswith("fc"):
                outputs.append(fully_connected(x, weight, bias))
            elif layer.startswith("local"):
                outputs.append(local(x, weight, bias))
            else:
                outputs.append(convolution(x, weight, bias, *self._geometry(layer)))

        def back(gs: list[Array]) -> list[Array]:
            into = []
            for column, ((_, inner), g) in enumerate(zip(outputs, gs, strict=True)):
                gx, gw, gb = inner(g)
                self.gradients[layer, column] = gw, gb
                into.append(gx)
            return into

        self._backs.append(back)
        return [y for y, _ in outputs]

    def _geometry(self, layer: str) -> tuple[int, int, int]:
        """Return stride, pixels before the image where windows begin, and side of the output."""
        # S layers-147.cfg: 55 -> 28 -> 26 -> 13 -> 11 -> 6
        if not self.overlapping and layer in ("conv2", "conv5"):
            return {"conv2": (1, 1, 26), "conv5": (1, 0, 11)}[layer]
        if layer == "conv1":
            return (4, 0 if self.recipe["conv1_padding"] == "right-bottom" else 2, 55)
        return {"conv2": (1, 2, 27), "conv6": (1, 1, 6)}.get(layer, (1, 1, 13))

    def _each(self, xs: list[Array], layer: Callable[[Array], tuple[Array, Back]]) -> list[Array]:
        outputs = [layer(x) for x in xs]
        self._backs.append(lambda gs: [back(g) for (_, back), g in zip(outputs, gs, strict=True)])
        return [y for y, _ in outputs]

    def _neuron(self, xs: list[Array]) -> list[Array]:
        return self._each(xs, tanh if self.tanh else relu)

    def _pool(self, xs: list[Array]) -> list[Array]:
        return self._each(xs, lambda x: max_pool(x, 3 if self.overlapping else 2, 2))

    def _lrn(self, xs: list[Array]) -> list[Array]:
        if not self.normalization:
            return xs
        alpha = 1e-4 / 5 if self.recipe["lrn_divisor"] == "window" else 1e-4
        if self.recipe["lrn_window"] == "column":
            return self._each(xs, lambda x: lrn(x, alpha))
        # P §3.3: N is the number of kernels in the layer
        y, back = lrn(np.concatenate(xs, axis=1), alpha)
        self._backs.append(
            lambda gs: np.split(back(np.concatenate(gs, axis=1)), self.columns, axis=1))
        return np.split(y, self.columns, axis=1)

    def _gather(self, xs: list[Array], readers: int) -> list[Array]:
        self._backs.append(lambda gs: np.split(np.sum(gs, axis=0), self.columns, axis=1))
        return [np.concatenate(xs, axis=1)] * readers

    def _dropout(self, layer: str, xs: list[Array]) -> list[Array]:
        """P §4.2; `train` is today's way, with the compensation in training."""
        if not self.dropout:
            return xs
        today = self.recipe["dropout_scaling"] == "train"
        if self.masks is None:
            return xs if today else self._each(xs, lambda x: times(x, 0.5))
        masks = iter([self.masks[layer, column] * (2.0 if today else 1.0)
                      for column in range(self.columns)])
        return self._each(xs, lambda x: times(x, next(masks)))


class FourLayerNet(Net):
    """The net of Fig. 1 on CIFAR-10 (S layers-conv-local-13pct.cfg), with the norms of 11 %."""

    def forward(self, images: Array, weights: Weights) -> Array:
        """Return the logits [n, classes] of centred images [n, 3, 24, 24]."""
        self._backs = []
        xs = self._pool(self._neuron(self._learned("conv1", [images], weights)))
        xs = self._neuron(self._learned("conv2", self._lrn(xs), weights))
        xs = self._neuron(self._learned("local3", self._pool(self._lrn(xs)), weights))
        xs = self._neuron(self._learned("local4", xs, weights))
        return self._learned("fc10", xs, weights)[0]

    def _geometry(self, layer: str) -> tuple[int, int, int]:
        return {"conv1": (1, 2, 24), "conv2": (1, 2, 12)}[layer]

    def _lrn(self, xs: list[Array]) -> list[Array]:
        alpha = 0.001 / 9 if self.recipe["lrn_divisor"] == "window" else 0.001
        return self._each(xs, lambda x: lrn(x, alpha, 1.0, 9)) if self.normalization else xs


# Draws, in Python's own whole numbers (Salmon et al. 2011)


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def words(seed: int, purpose: str, when: int, index: int) -> tuple[int, int, int, int]:
    return philox((seed % 2**32, seed // 2**32),
                  (index % 2**32, index // 2**32, when % 2**32, zlib.crc32(purpose.encode())))


def gaussians(drawn: tuple[int, int, int, int]) -> list[float]:
    a, b, c, d = ((word + 0.5) / 2**32 for word in drawn)
    return [math.sqrt(-2 * math.log(r)) * turn(2 * math.pi * angle)
            for turn in (math.cos, math.sin) for r, angle in ((a, b), (c, d))]


def coins(seed: int, purpose: str, step: int, first: int, count: int, units: int) -> Array:
    """Return dropout's mask [count, units]: each counter gives 128 bits, and every row has
    ceil(units / 128) counters."""
    blocks = math.ceil(units / 128)
    rows = []
    for row in range(first, first + count):
        bits = [(word >> bit) & 1 for block in range(blocks)
                for word in words(seed, purpose, step, row * blocks + block) for bit in range(32)]
        rows.append(bits[:units])
    return np.array(rows, dtype=np.float64)


# What the network sees


def crop_of(recipe: Mapping[str, Any], seed: int, position: int) -> tuple[int, int, int]:
    """Return top, left and flip at a position of the stream; 32 consecutive ones may share them."""
    top, left, flip, _ = words(seed, "crop", 0, position // recipe["images_per_crop"])
    offsets = recipe["crop_offsets"]
    return top * offsets // 2**32, left * offsets // 2**32, flip * 2 // 2**32


def colour_offset(recipe: Mapping[str, Any], seed: int, position: int, eigenvalues: Array,
                  eigenvectors: Array) -> Array:
    """Return [p1 p2 p3] [a1 s1, a2 s2, a3 s3]^T with a ~ N(0, 0.1) (P §4.1; S: s is the standard
    deviation)."""
    size = {"stdev": np.sqrt(eigenvalues), "eigenvalue": eigenvalues,
            "eigenvalue-unit": eigenvalues / 255**2 * 255}[recipe["colour_noise"]]
    alphas = 0.1 * np.array(gaussians(words(seed, "colour", 0, position))[:3])
    return np.array([sum(p * amount for p, amount in zip(row, alphas * size, strict=True))
                     for row in eigenvectors])


def training_input(recipe: Mapping[str, Any], image: NDArray[np.uint8], crop: tuple[int, int, int],
                   mean: Array, offset: Array | None) -> Array:
    """Return [3, 224, 224] of a stored image [256, 256, 3]: cropped, mirrored, less the mean, plus
    the noise, divided by 1.1."""
    top, left, flip = crop
    window = (16, 16) if recipe["mean_window"] == "centre" else (top, left)
    x = np.zeros((3, 224, 224))
    for row in range(224):
        for_row = image[top + row, left: left + 224].astype(np.float64)
        mean_row = mean[window[0] + row, window[1]: window[1] + 224].astype(np.float64)
        if flip:
            for_row = for_row[::-1]
            mean_row = mean_row if recipe["mean_window"] == "centre" else mean_row[::-1]
        x[:, row] = (for_row - mean_row).T
    if offset is not None:
        x = x + offset[:, None, None]
        if recipe["noise_division"]:
            x = x / 1.1
    return x


def error(probabilities: Array, labels: NDArray[np.int64], top: int) -> float:
    """Return the error rate; among equals, the label may be at any rank with the same probability
    (P §4.1, S LogregCostLayer)."""
    wrong = 0.0
    for p, label in zip(probabilities, labels, strict=True):
        above = sum(1 for q in p if q > p[label])
        equal = sum(1 for q in p if q == p[label])
        places = range(above + 1, above + equal + 1)
        wrong += sum(1 for place in places if place > top) / equal
    return wrong / len(labels)


def update(weight: float, velocity: float, gradient: float, lr: float,
           decay: float) -> tuple[float, float]:
    """Do v <- 0.9 v - decay lr w - lr g; w <- w + v (P §5); with a rate of zero nothing moves (S
    weights.cu)."""
    if lr == 0.0:
        return weight, velocity
    velocity = 0.9 * velocity - decay * lr * weight - lr * gradient
    return weight + velocity, velocity
