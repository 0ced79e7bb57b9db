"""The operators of docs/arithmetic.md on tensors of a GPU: what `alexnet/arithmetic/operators.py`
is on NumPy's arrays, method by method.

Maps are [n, rows, columns, channels], weights as in the definition. All tensors are float32 and
contiguous unless a docstring says otherwise. The network's own shapes arrive here, so nothing is
checked. What PyTorch does here itself only moves numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.arithmetic.gpu import loss_triton as loss
from alexnet.arithmetic.gpu import maps_triton as maps
from alexnet.arithmetic.gpu import products_triton as products
from alexnet.arithmetic.operators import Normalization


class GpuOperators:
    """Every operator that a training computes on its device."""

    # --- learned layers (section 3) ---

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int,
                    padding: tuple[int, int]) -> Tensor:
        """Return [n, rows, columns, o] of x [n, h, w, c], weight [o, c, s, s] and bias [o]."""
        size = weight.shape[2]
        rows, columns = ((side + sum(padding) - size) // stride + 1 for side in x.shape[1:3])
        return products.convolution(x, weight.permute(2, 3, 1, 0).contiguous(), bias, rows, columns,
                                    stride, 1, padding[0])

    def convolution_input_gradient(self, g: Tensor, weight: Tensor, shape: Sequence[int],
                                   stride: int, padding: tuple[int, int]) -> Tensor:
        """Return the gradient of a convolution's input, of this shape [n, h, w, c].

        A chain over (p, q, o) is one over (i, j, o) with the greatest i and j first: a convolution
        of g, its rows `stride` apart, with the kernels turned round.
        """
        turned = weight.flip(2, 3).permute(2, 3, 0, 1).contiguous()
        return products.convolution(g, turned, None, shape[1], shape[2], 1, stride,
                                    weight.shape[2] - 1 - padding[0])

    def convolution_weight_gradient(self, g: Tensor, x: Tensor, size: int, stride: int,
                                    padding: tuple[int, int]) -> Tensor:
        """Return the gradient [o, c, size, size] of a convolution's weights."""
        dw = products.convolution_weight_gradient(g, x, size, stride, padding[0])
        return dw.permute(0, 3, 1, 2).contiguous()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return [n, outputs] of x [n, inputs], weight [outputs, inputs] and bias [outputs]."""
        return products.product(x[None], weight.T[None], None if bias is None else bias[None],
                                products.BLOCK)[0]

    def linear_input_gradient(self, g: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient [n, inputs] of a fully connected layer's input."""
        return products.product(g[None], weight[None], None, products.BLOCK)[0]

    def linear_weight_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        """Return the gradient [outputs, inputs] of a fully connected layer's weights."""
        return products.product(g.T[None], x[None], None, products.BLOCK)[0]

    def local(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        """Return [n, h, w, o] of x [n, h, w, c], weight [h * w, o, c, s, s] and bias
        [h * w, o]."""
        windows = _windows(x, weight.shape[3], padding)
        weights = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)  # [h * w, s * s * c, o]
        y = products.product(windows, weights, bias, None)
        return y.transpose(0, 1).contiguous().view(*x.shape[:3], -1)

    def local_input_gradient(self, g: Tensor, weight: Tensor, padding: int) -> Tensor:
        """Return the gradient [n, h, w, c] of a local layer's input: at each pixel a chain over
        the windows (p, q) that see it, each with its own weights."""
        n, h, w, outputs = g.shape
        inputs, size = weight.shape[2], weight.shape[3]
        around = F.pad(weight.view(h, w, outputs, inputs, size, size),
                       (0, 0, 0, 0, 0, 0, 0, 0, padding, padding, padding, padding))
        seen = [around[p: p + h, q: q + w, :, :, size - 1 - p, size - 1 - q]
                for p in range(size) for q in range(size)]
        weights = torch.stack(seen, 2).view(h * w, size * size * outputs, inputs)
        dx = products.product(_windows(g, size, padding), weights, None, None)
        return dx.transpose(0, 1).contiguous().view(n, h, w, inputs)

    def local_weight_gradient(self, g: Tensor, x: Tensor, size: int, padding: int) -> Tensor:
        """Return the gradient [h * w, o, c, size, size] of a local layer's weights."""
        n, h, w, inputs = x.shape
        of_outputs = g.view(n, h * w, -1).permute(1, 2, 0)  # [h * w, o, n]
        dw = products.product(of_outputs, _windows(x, size, padding), None, products.BLOCK)
        return dw.view(h * w, -1, size, size, inputs).permute(0, 1, 4, 2, 3).contiguous()

    def bias_gradient(self, g: Tensor) -> Tensor:
        """Return g [n, ..., o] summed over the pixels of each image, then over the images: [o]."""
        terms = g.view(len(g), -1, g.shape[-1])
        if terms.shape[1] > 1:
            images = torch.zeros((len(g), g.shape[-1]), device=g.device)
            products.add_in_order(terms, images)
            terms = images
        total = torch.zeros((1, g.shape[-1]), device=g.device)
        products.add_in_order(terms.view(1, len(g), -1), total)
        return total[0]

    # --- what follows a layer (section 4) ---

    def relu(self, x: Tensor) -> Tensor:
        """Return +0 where x <= 0, else x."""
        return maps.elementwise(maps.RELU, x)

    def relu_gradient(self, g: Tensor, y: Tensor) -> Tensor:
        """Return +0 where y <= 0, else g."""
        return maps.elementwise(maps.RELU_GRADIENT, g, y)

    def tanh(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent."""
        return maps.elementwise(maps.TANH, x)

    def tanh_gradient(self, g: Tensor, y: Tensor) -> Tensor:
        """Return g * (1 - y * y)."""
        return maps.elementwise(maps.TANH_GRADIENT, g, y)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a + b."""
        return maps.elementwise(maps.ADD, a, b)

    def dropout(self, x: Tensor, kept: Tensor, factor: float = 1.0) -> Tensor:
        """Return x * factor where a unit is kept (bool, of x's shape), else +0."""
        return maps.elementwise(maps.DROPOUT, x, kept, factor)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Return x * factor, with the factor rounded to float32."""
        return maps.elementwise(maps.SCALE, x, factor=factor)

    def max_pool(self, x: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
        """Return the greatest of each window of x [n, h, w, c], and its place in it, uint8."""
        return maps.max_pool(x, size, stride)

    def max_pool_gradient(self, g: Tensor, places: Tensor, shape: Sequence[int], size: int,
                          stride: int) -> Tensor:
        """Return the gradient of max pooling's input, of this shape [n, h, w, c]."""
        return maps.max_pool_gradient(g, places, tuple(shape), size, stride)

    def average_pool(self, x: Tensor, size: int, stride: int) -> Tensor:
        """Return the mean of what each window of x [n, h, w, c] has within the map."""
        return maps.average_pool(x, size, stride)

    def average_pool_gradient(self, g: Tensor, shape: Sequence[int], size: int,
                              stride: int) -> Tensor:
        """Return the gradient of average pooling's input, of this shape [n, h, w, c]."""
        return maps.average_pool_gradient(g, tuple(shape), size, stride)

    def lrn(self, x: Tensor, constants: Normalization) -> tuple[Tensor, Tensor]:
        """Return x [n, h, w, c] normalised across channels, and 1 / d."""
        return maps.normalized(x, constants, "channels")

    def lrn_gradient(self, g: Tensor, x: Tensor, quotient: Tensor,
                     constants: Normalization) -> Tensor:
        """Return the gradient of `lrn`'s input."""
        return maps.normalized_gradient(g, x, quotient, constants, "channels")

    def spatial(self, x: Tensor, constants: Normalization) -> tuple[Tensor, Tensor]:
        """Return x [n, h, w, c] normalised across pixels, and 1 / d."""
        return maps.normalized(x, constants, "pixels")

    def spatial_gradient(self, g: Tensor, x: Tensor, quotient: Tensor,
                         constants: Normalization) -> Tensor:
        """Return the gradient of `spatial`'s input."""
        return maps.normalized_gradient(g, x, quotient, constants, "pixels")

    # --- loss, update, inputs (sections 5, 8 and 9) ---

    def cross_entropy(self, logits: Tensor, labels: Tensor,
                      batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sum of the images' losses (float64 [1]), how many are wrong (int64), and the
        gradient of the logits [n, classes]; `batch` divides the gradient."""
        return loss.cross_entropy(logits, labels, batch)

    def mean_loss(self, total: Tensor, batch: int) -> Tensor:
        """Return a float64 [1] divided by the images of a batch, float32 scalar."""
        return loss.mean(total, batch)

    def update(self, weight: Tensor, velocity: Tensor, gradient: Tensor, momentum: float, lr: float,
               decay: float) -> None:
        """Do one update in place; a rate of 0 changes nothing."""
        maps.update(weight, velocity, gradient, momentum, lr, decay)

    def rescale(self, velocity: Tensor, factor: float) -> None:
        """Multiply the velocity by a factor, in place."""
        velocity.copy_(self.scale(velocity, factor))

    def centred(self, crops: Tensor, mean: Tensor, tops: Tensor, lefts: Tensor, flips: Tensor,
                offsets: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Return crops (uint8 [n, side, side, 3]) less the mean of their place, with colour
        noise; tops, lefts and flips are int64 [n]."""
        return maps.centred(crops, mean, (tops, lefts, flips), offsets, factor)


def _windows(x: Tensor, size: int, padding: int) -> Tensor:
    """Return the windows around each pixel of x [n, h, w, c]: [h * w, n, size * size * c], with
    channels fastest; outside of x there are zeros."""
    n, h, w, c = x.shape
    around = F.pad(x, (0, 0, padding, padding, padding, padding))
    seen = [around[:, i: i + h, j: j + w] for i in range(size) for j in range(size)]
    return torch.stack(seen, 3).view(n, h * w, size * size * c).transpose(0, 1)
