"""The operators of docs/arithmetic.md on NumPy's arrays: types and shapes are checked here, bits
are made in C.

Maps are [n, rows, columns, channels], weights as in the definition. All arrays are float32 and
contiguous unless a docstring says otherwise; a wrong type or shape raises ValueError, which
names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import DTypeLike, NDArray

from alexnet.arithmetic.library import Library
from alexnet.arithmetic.memory import MEMORY

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
LARGEST_KERNEL = 32  # rows of a local layer's kernel
LARGEST_CROP = 1024  # pixels in a row of an input


@dataclass(frozen=True)
class Normalization:
    """Constants of a normalisation, y = x / (k + a * sum of squares in a window) ** 0.75.

    Attributes:
        size: of the window, in channels or in pixels of a side; odd.
        k, a: float64, rounded to float32 once.
    """

    size: int
    k: float
    a: float


def _check(name: str,
           array: NDArray[np.generic] | None,
           shape: Sequence[int],
           dtype: DTypeLike = np.float32) -> None:
    if array is None:
        return
    if array.dtype != dtype or array.shape != tuple(shape) or not array.flags.c_contiguous:
        kind = "" if array.flags.c_contiguous else ", not contiguous"
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}{kind}; "
                         f"wanted {np.dtype(dtype)} {list(shape)}")
    if 0 in array.shape:
        raise ValueError(f"{name}: empty, {list(array.shape)}")


def _empty(shape: Sequence[int]) -> F32:
    result: F32 = MEMORY.empty(shape)
    return result


class Operators:
    """Every operator, computed by one library.

    Args:
        library: for an instruction set that this processor offers; no bit depends on which.
        threads: that share an operator's outputs; no bit depends on them.
    """
    def __init__(self, library: Library, threads: int = 1) -> None:
        self.library, self.threads = library, threads

    def _run(self,
             name: str,
             sizes: Sequence[int],
             arrays: Sequence[NDArray[np.generic] | None],
             scalars: Sequence[float] = ()) -> None:
        self.library.call(name, sizes, scalars, arrays, self.threads)

    # --- learned layers (section 3) ---

    def convolution(self, x: F32, weight: F32, bias: F32 | None, stride: int,
                    padding: tuple[int, int]) -> F32:
        """Return the convolution of x [n, h, w, c] with weight [o, c, s, s] and bias [o].

        Args:
            padding: zeros before the first row and column, and after the last.

        Returns:
            [n, rows, columns, o].
        """
        sizes, y = _convolution_sizes(x.shape, weight.shape, stride, padding)
        _check("x", x, (sizes[0], *sizes[2:4], sizes[1]))
        _check("weight", weight, (sizes[4], sizes[1], sizes[5], sizes[5]))
        _check("bias", bias, (sizes[4], ))
        result = _empty(y)
        self._run("convolution", sizes, [x, weight, bias, result])
        return result

    def convolution_input_gradient(self, g: F32, weight: F32, shape: Sequence[int], stride: int,
                                   padding: tuple[int, int]) -> F32:
        """Return the gradient of a convolution's input, of this shape [n, h, w, c], from g [n,
        rows, columns, o]."""
        sizes, y = _convolution_sizes(shape, weight.shape, stride, padding)
        _check("g", g, y)
        _check("weight", weight, (sizes[4], sizes[1], sizes[5], sizes[5]))
        dx = _empty(shape)
        self._run("convolution_input_gradient", sizes, [g, weight, dx])
        return dx

    def convolution_weight_gradient(self, g: F32, x: F32, size: int, stride: int,
                                    padding: tuple[int, int]) -> F32:
        """Return the gradient [o, c, size, size] of a convolution's weights."""
        sizes, y = _convolution_sizes(x.shape, (g.shape[-1], x.shape[-1], size, size), stride,
                                      padding)
        _check("g", g, y)
        _check("x", x, x.shape)
        dw = _empty((sizes[4], sizes[1], size, size))
        self._run("convolution_weight_gradient", sizes, [g, x, dw])
        return dw

    def linear(self, x: F32, weight: F32, bias: F32 | None) -> F32:
        """Return x [n, inputs] through weight [outputs, inputs] and bias [outputs]: [n,
        outputs]."""
        n, outputs, inputs = len(x), *weight.shape
        _check("x", x, (n, inputs))
        _check("weight", weight, (outputs, inputs))
        _check("bias", bias, (outputs, ))
        y = _empty((n, outputs))
        self._run("linear", [n, inputs, outputs], [x, weight, bias, y])
        return y

    def linear_input_gradient(self, g: F32, weight: F32) -> F32:
        """Return the gradient [n, inputs] of a fully connected layer's input."""
        outputs, inputs = weight.shape
        _check("g", g, (len(g), outputs))
        _check("weight", weight, weight.shape)
        dx = _empty((len(g), inputs))
        self._run("linear_input_gradient", [len(g), inputs, outputs], [g, weight, dx])
        return dx

    def linear_weight_gradient(self, g: F32, x: F32) -> F32:
        """Return the gradient [outputs, inputs] of a fully connected layer's weights."""
        n, inputs = x.shape
        _check("g", g, (n, g.shape[-1]))
        _check("x", x, x.shape)
        dw = _empty((g.shape[1], inputs))
        self._run("linear_weight_gradient", [n, inputs, g.shape[1]], [g, x, dw])
        return dw

    def local(self, x: F32, weight: F32, bias: F32 | None, padding: int) -> F32:
        """Return a local layer of x [n, h, w, c] with weight [h * w, o, c, s, s] and bias [h * w,
        o]: [n, h, w, o]."""
        sizes = _local_sizes(x.shape, weight.shape, padding)
        _check("x", x, x.shape)
        _check("weight", weight, weight.shape)
        _check("bias", bias, weight.shape[:2])
        y = _empty((*x.shape[:3], weight.shape[1]))
        self._run("local", sizes, [x, weight, bias, y])
        return y

    def local_input_gradient(self, g: F32, weight: F32, padding: int) -> F32:
        """Return the gradient [n, h, w, c] of a local layer's input."""
        shape = (*g.shape[:3], weight.shape[2])
        _check("g", g, (*shape[:3], weight.shape[1]))
        _check("weight", weight, weight.shape)
        dx = _empty(shape)
        self._run("local_input_gradient", _local_sizes(shape, weight.shape, padding),
                  [g, weight, dx])
        return dx

    def local_weight_gradient(self, g: F32, x: F32, size: int, padding: int) -> F32:
        """Return the gradient [h * w, o, c, size, size] of a local layer's weights."""
        shape = (x.shape[1] * x.shape[2], g.shape[3], x.shape[3], size, size)
        _check("g", g, (*x.shape[:3], g.shape[3]))
        _check("x", x, x.shape)
        dw = _empty(shape)
        self._run("local_weight_gradient", _local_sizes(x.shape, shape, padding), [g, x, dw])
        return dw

    def squares(self, x: F32) -> F32:
        """Return the sum of squares of each row of x [n, k], in blocks: [n]."""
        _check("x", x, x.shape)
        result = _empty((len(x),))
        self._run("squares", x.shape, [x, result])
        return result

    def bias_gradient(self, g: F32) -> F32:
        """Return the gradient of biases: g [n, ..., o] summed over the pixels of each image, and
        then over the images: [o]."""
        _check("g", g, g.shape)
        pixels = int(np.prod(g.shape[1:-1], dtype=np.int64))
        db = _empty((g.shape[-1],))
        self._run("bias_gradient", [len(g), pixels, g.shape[-1]], [g, db])
        return db

    # --- what follows a layer (section 4) ---

    def relu(self, x: F32) -> F32:
        """Return +0 where x <= 0, else x."""
        return self._elementwise("relu", x)

    def relu_gradient(self, g: F32, y: F32) -> F32:
        """Return +0 where y <= 0, else g."""
        return self._elementwise("relu_gradient", g, y)

    def tanh(self, x: F32) -> F32:
        """Return the hyperbolic tangent."""
        return self._elementwise("tanh", x)

    def tanh_gradient(self, g: F32, y: F32) -> F32:
        """Return g * (1 - y * y)."""
        return self._elementwise("tanh_gradient", g, y)

    def _elementwise(self, name: str, *inputs: F32) -> F32:
        for array in inputs:
            _check(name, array, inputs[0].shape)
        result = _empty(inputs[0].shape)
        self._run(name, [result.size], [*inputs, result])
        return result

    def add(self, a: F32, b: F32) -> F32:
        """Return a + b: gradients from two columns, or of two parts of a batch."""
        return self._elementwise("add", a, b)

    def dropout(self, x: F32, kept: NDArray[np.bool_], factor: float = 1.0) -> F32:
        """Return x * factor where a unit is kept (bool, of x's shape), else +0; the same for
        gradients."""
        _check("x", x, x.shape)
        _check("kept", kept, x.shape, np.bool_)
        y = _empty(x.shape)
        self._run("dropout", [x.size], [x, kept, y], [factor])
        return y

    def scale(self, x: F32, factor: float) -> F32:
        """Return x * factor, with the factor rounded to float32."""
        _check("x", x, x.shape)
        y = _empty(x.shape)
        self._run("scale", [x.size], [x, y], [factor])
        return y

    def max_pool(self, x: F32, size: int, stride: int) -> tuple[F32, U8]:
        """Return the greatest of each window of x [n, h, w, c], and its place in the window: [n,
        rows, columns, c] both."""
        n, h, w, c = x.shape
        _check("x", x, x.shape)
        rows, columns = pooled(h, size, stride), pooled(w, size, stride)
        y = _empty((n, rows, columns, c))
        places: U8 = MEMORY.empty(y.shape, np.uint8)
        self._run("max_pool", [n, c, h, w, size, stride, rows, columns], [x, y, places])
        return y, places

    def max_pool_gradient(self, g: F32, places: U8, shape: Sequence[int], size: int,
                          stride: int) -> F32:
        """Return the gradient of max pooling's input, of this shape [n, h, w, c]."""
        n, h, w, c = shape
        rows, columns = pooled(h, size, stride), pooled(w, size, stride)
        _check("g", g, (n, rows, columns, c))
        _check("places", places, (n, rows, columns, c), np.uint8)
        dx = _empty(shape)
        self._run("max_pool_gradient", [n, c, h, w, size, stride, rows, columns], [g, places, dx])
        return dx

    def average_pool(self, x: F32, size: int, stride: int) -> F32:
        """Return the mean of what each window of x [n, h, w, c] has within the map: [n, rows,
        columns, c]."""
        n, h, w, c = x.shape
        _check("x", x, x.shape)
        rows, columns = pooled(h, size, stride), pooled(w, size, stride)
        y = _empty((n, rows, columns, c))
        self._run("average_pool", [n, c, h, w, size, stride, rows, columns], [x, y])
        return y

    def average_pool_gradient(self, g: F32, shape: Sequence[int], size: int, stride: int) -> F32:
        """Return the gradient of average pooling's input, of this shape [n, h, w, c]."""
        n, h, w, c = shape
        rows, columns = pooled(h, size, stride), pooled(w, size, stride)
        _check("g", g, (n, rows, columns, c))
        dx = _empty(shape)
        self._run("average_pool_gradient", [n, c, h, w, size, stride, rows, columns], [g, dx])
        return dx

    def lrn(self, x: F32, constants: Normalization) -> tuple[F32, F32]:
        """Return x [..., c] normalised across neighbouring channels, and 1 / d, which the gradient
        needs."""
        pixels, channels = x.size // x.shape[-1], x.shape[-1]
        return self._normalized("lrn", x, (pixels, channels, pixels, 1), constants)

    def lrn_gradient(self, g: F32, x: F32, quotient: F32, constants: Normalization) -> F32:
        """Return the gradient of `lrn`'s input."""
        pixels, channels = x.size // x.shape[-1], x.shape[-1]
        return self._normalized_gradient("lrn_gradient", g, x, quotient,
                                         (pixels, channels, pixels, 1), constants)

    def spatial(self, x: F32, constants: Normalization) -> tuple[F32, F32]:
        """Return x [n, h, w, c] normalised across neighbouring pixels of a map, and 1 / d, which
        the gradient needs."""
        n, h, w, c = x.shape
        return self._normalized("spatial", x, (n, c, h, w), constants)

    def spatial_gradient(self, g: F32, x: F32, quotient: F32, constants: Normalization) -> F32:
        """Return the gradient of `spatial`'s input."""
        n, h, w, c = x.shape
        return self._normalized_gradient("spatial_gradient", g, x, quotient, (n, c, h, w),
                                         constants)

    def _normalized(self, name: str, x: F32, sizes: Sequence[int],
                    constants: Normalization) -> tuple[F32, F32]:
        _check("x", x, x.shape)
        _check_window(constants)
        y, quotient = _empty(x.shape), _empty(x.shape)
        self._run(name, [*sizes, constants.size], [x, y, quotient], [constants.k, constants.a])
        return y, quotient

    def _normalized_gradient(self, name: str, g: F32, x: F32, quotient: F32, sizes: Sequence[int],
                             constants: Normalization) -> F32:
        for what, array in (("g", g), ("x", x), ("quotient", quotient)):
            _check(what, array, x.shape)
        _check_window(constants)
        dx = _empty(x.shape)
        self._run(name, [*sizes, constants.size], [g, x, quotient, dx], [constants.k, constants.a])
        return dx

    # --- loss and testing (section 5) ---

    def softmax(self, logits: F32) -> F32:
        """Return the probabilities of logits [n, classes]."""
        _check("logits", logits, logits.shape)
        result = _empty(logits.shape)
        self._run("softmax", logits.shape, [logits, result])
        return result

    def cross_entropy(self, logits: F32, labels: I64, batch: int) -> tuple[float, int, F32]:
        """Return the sum of the images' losses (float64, nats), how many are wrong, and the
        gradient of the logits [n, classes].

        Args:
            labels: int64 [n], 0 .. classes - 1.
            batch: images in the whole update, by which the gradient is divided.
        """
        n, classes = logits.shape
        _check("logits", logits, logits.shape)
        _check("labels", labels, (n, ), np.int64)
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"labels: {labels.min()} to {labels.max()}; there are {classes} classes")
        gradient, loss, wrong = _empty(logits.shape), np.empty(1,
                                                                np.float64), np.zeros(1, np.int64)
        self._run("cross_entropy", [n, classes], [logits, labels, gradient, loss, wrong], [batch])
        return float(loss[0]), int(wrong[0]), gradient

    def average(self, probabilities: F32) -> F32:
        """Return the mean of p [count, ...] over its first dimension: of ten crops, or of several
        nets."""
        _check("probabilities", probabilities, probabilities.shape)
        result = _empty(probabilities.shape[1:])
        self._run("average", [len(probabilities), result.size], [probabilities, result])
        return result

    # --- update (section 9) ---

    def update(self, weight: F32, velocity: F32, gradient: F32, momentum: float, lr: float,
               decay: float) -> None:
        """Do one update in place: v <- momentum * v - lr * g - decay * lr * w, w <- w + v; a rate
        of 0 changes nothing."""
        for what, array in (("weight", weight), ("velocity", velocity), ("gradient", gradient)):
            _check(what, array, weight.shape)
        self._run("update", [weight.size], [weight, velocity, gradient], [momentum, lr, decay])

    def rescale(self, velocity: F32, factor: float) -> None:
        """Multiply the velocity by a factor, in place."""
        _check("velocity", velocity, velocity.shape)
        self._run("scale", [velocity.size], [velocity, velocity], [factor])

    # --- functions, draws and inputs (sections 6 to 8) ---

    def exp(self, x: F64) -> F64:
        """Return the exponential function, float64."""
        return self._function(0, x)

    def log(self, x: F64) -> F64:
        """Return the natural logarithm of positive normal numbers, float64."""
        if not (x >= np.finfo(np.float64).tiny).all() or np.isinf(x).any():
            raise ValueError("log: of positive normal numbers")
        return self._function(1, x)

    def sin(self, x: F64) -> F64:
        """Return the sine, float64; |x| <= 1024."""
        return self._function(2, _angles(x))

    def cos(self, x: F64) -> F64:
        """Return the cosine, float64; |x| <= 1024."""
        return self._function(3, _angles(x))

    def _function(self, which: int, x: F64) -> F64:
        _check("x", x, x.shape, np.float64)
        y: F64 = MEMORY.empty(x.shape, np.float64)
        self._run("functions", [x.size, which], [x, y])
        return y

    def gaussians(self, words: I64) -> F64:
        """Turn words [n, 4] of 32 bits into float64 [n, 4] standard Gaussians."""
        _check("words", words, (len(words), 4), np.int64)
        z: F64 = MEMORY.empty(words.shape, np.float64)
        self._run("gaussians", [len(words)], [words, z])
        return z

    def initial_weights(self, words: I64, count: int, spread: float) -> F32:
        """Return the first `count` Gaussians of words [count / 4, rounded up; 4], times the spread:
        float32 [count]."""
        _check("words", words, (-(-count // 4), 4), np.int64)
        values = _empty((count,))
        self._run("initial_weights", [count], [words, values], [spread])
        return values

    def colour_offsets(self, gaussians: F64, sizes: F64, vectors: F64) -> F32:
        """Return float32 [n, 3] of Gaussians [n, 4], the components' sizes [3] and vectors [3, 3]
        (in columns), float64."""
        _check("gaussians", gaussians, (len(gaussians), 4), np.float64)
        _check("sizes", sizes, (3, ), np.float64)
        _check("vectors", vectors, (3, 3), np.float64)
        offsets = _empty((len(gaussians), 3))
        self._run("colour_offsets", [len(gaussians)], [gaussians, sizes, vectors, offsets])
        return offsets

    def centred(self,
                crops: U8,
                mean: F32,
                tops: I64,
                lefts: I64,
                flips: I64,
                offsets: F32 | None = None,
                factor: float = 1.0) -> F32:
        """Return crops less the mean of their place, with colour noise: fma(factor, crop - mean,
        offset * factor).

        Args:
            crops: uint8 [n, side, side, 3], mirrored where they are.
            mean: [stored, stored, 3].
            tops, lefts, flips: int64 [n], the mean's window for each crop, and whether it is
                mirrored.
            offsets: [n, 3], or None: then there is no factor either.

        Returns:
            [n, side, side, 3].
        """
        n, side, stored = len(crops), crops.shape[1], len(mean)
        _check("crops", crops, (n, side, side, 3), np.uint8)
        _check("mean", mean, (stored, stored, 3))
        for what, array in (("tops", tops), ("lefts", lefts), ("flips", flips)):
            _check(what, array, (n, ), np.int64)
            highest = 1 if what == "flips" else stored - side
            if array.min() < 0 or array.max() > highest:
                raise ValueError(f"{what}: {array.min()} to {array.max()}; wanted 0 to {highest}")
        _check("offsets", offsets, (n, 3))
        if side > LARGEST_CROP:
            raise ValueError(f"crops: {side} pixels in a row, more than {LARGEST_CROP}")
        x = _empty(crops.shape)
        self._run("centred", [n, side, stored], [crops, mean, tops, lefts, flips, offsets, x],
                  [factor])
        return x


def pooled(side: int, size: int, stride: int) -> int:
    """Return the number of windows along a side of a map; the last one begins inside.

    Raises:
        ValueError: there is none.
    """
    count = -(-(side - size) // stride) + 1
    if count > 1 and (count - 1) * stride >= side:
        count -= 1
    if count < 1 or side < 1 or size * size > 256:
        raise ValueError(f"no windows of {size} pixels, {stride} apart, in {side}")
    return count


def error_rate(probabilities: F32, labels: I64, top: int) -> float:
    """Return the fraction of images whose label is not among the `top` most probable classes
    (section 5).

    Args:
        probabilities: [n, classes].
        labels: int64 [n]. One that ties with others counts by the share of the tied places that
    fall within the top.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    above = (~(probabilities <= own)).sum(
        1)  # not ">": a probability that is not a number stands behind all others
    tied = np.maximum((probabilities == own).sum(1), 1)
    wrong = sum((1 - min(Fraction(1), Fraction(max(0, top - int(a)), int(t)))
                 for a, t in zip(above, tied, strict=True)), Fraction(0))
    return float(wrong / len(labels))


def _angles(x: F64) -> F64:
    if not (np.abs(x) <= 1024).all():
        raise ValueError("sine and cosine: of angles from -1024 to 1024")
    return x


def _check_window(constants: Normalization) -> None:
    if constants.size < 1 or constants.size % 2 == 0:
        raise ValueError(f"a window of {constants.size}; wanted an odd number")


def _convolution_sizes(x: Sequence[int], weight: Sequence[int], stride: int,
                       padding: tuple[int, int]) -> tuple[list[int], tuple[int, int, int, int]]:
    """n, c, h, w, o, size, stride, zeros before, rows, columns; and the shape of the result."""
    if len(x) != 4 or len(weight) != 4 or weight[2] != weight[3] or weight[1] != x[3]:
        raise ValueError(f"a convolution of maps {list(x)} with weights {list(weight)}")
    (n, h, w, c), (o, _, size, _), (before, after) = x, weight, padding
    if stride < 1 or not 0 <= before < size or after < 0:
        raise ValueError(
            f"a convolution with stride {stride} and padding {padding} of kernels of {size}")
    rows, columns = ((side + before + after - size) // stride + 1 for side in (h, w))
    if rows < 1 or columns < 1:
        raise ValueError(f"no window of {size} fits maps {list(x)} with padding {padding}")
    return [n, c, h, w, o, size, stride, before, rows, columns], (n, rows, columns, o)


def _local_sizes(x: Sequence[int], weight: Sequence[int], padding: int) -> list[int]:
    if len(x) != 4 or len(
            weight) != 5 or weight[3] != weight[4] or weight[2] != x[3] or weight[0] != x[1] * x[2]:
        raise ValueError(f"a local layer of maps {list(x)} with weights {list(weight)}")
    n, h, w, c = x
    if not 0 <= padding < weight[3] <= LARGEST_KERNEL or 2 * padding != weight[3] - 1:
        raise ValueError(f"a local layer with padding {padding} of kernels of {weight[3]}")
    return [n, c, h, w, weight[1], weight[3], 1, padding, h, w]
