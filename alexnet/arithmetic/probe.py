"""A digest of what PyTorch's own kernels compute on this machine.

Two machines whose digests differ cannot be expected to train the same bits in native arithmetic.
The name of a processor says less: processors of one name compute differently, and others alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.arithmetic.table import values

IMAGES = 4
CONVOLUTIONS = ((3, 63, 24, 11, 4), (24, 27, 32, 5, 1), (48, 13, 64, 3, 1))
"""Channels and side of the maps, kernels, their size and stride: like the network's, narrower."""
PRODUCTS = ((600, 256), (256, 10))
"""Inputs and outputs of fully connected layers."""


def native_digest() -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the results of each kind of kernel.

    They are products and sums of convolutions and matrices, with their gradients, powers,
    exponentials, logarithms and cosines, on one thread; it takes some ten milliseconds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digest = hashlib.sha256()
        for result in (*_products(), *_functions()):
            digest.update(result.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
    finally:
        torch.set_num_threads(threads)


def _products() -> Iterator[Tensor]:
    for channels, side, kernels, size, stride in CONVOLUTIONS:
        maps = _values(1, IMAGES, channels, side, side)
        maps = maps.contiguous(memory_format=torch.channels_last)
        inputs = maps, _values(2, kernels, channels, size, size), _values(3, kernels)
        yield from _with_gradients(inputs, lambda x, w, b, stride=stride: F.conv2d(x, w, b, stride))
    for count, outputs in PRODUCTS:
        yield from _with_gradients((_values(1, IMAGES, count), _values(2, outputs, count),
                                    _values(3, outputs)), F.linear)


def _with_gradients(inputs: tuple[Tensor, ...], layer: Callable[..., Tensor]) -> Iterator[Tensor]:
    with torch.enable_grad():
        leaves = [tensor.requires_grad_() for tensor in inputs]
        output = layer(*leaves)
        yield output
        # Of a sum, whose gradient is 1: given one explicitly, PyTorch would import sympy for it.
        yield from torch.autograd.grad((output * _values(4, *output.shape)).sum(), leaves)


def _functions() -> Iterator[Tensor]:
    x = _values(5, 64, 1000)
    yield from (x.tanh(), (x.square() + 2).pow(-0.75), x.double().cos(),
                F.cross_entropy(x, torch.arange(64)), x.softmax(1), x.square().sum(1))


def _values(key: int, *shape: int) -> Tensor:
    return torch.from_numpy(values(key, *shape))
