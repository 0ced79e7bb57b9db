"""One digest for each operator: whether this machine computes as docs/arithmetic.md defines it.

The inputs are made of integers, so they are the same everywhere; `digests.json` has the digest
of every operator's results. `python -m alexnet.arithmetic.table` compares; with `--write`, after
a change of the definition, it writes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.arithmetic import NUMBER, library, rates
from alexnet.arithmetic.eigen import components
from alexnet.arithmetic.operators import F32, I64, Normalization, Operators, error_rate

DIGESTS = Path(__file__).with_name("digests.json")
Results = Sequence[NDArray[np.generic]]
CONVOLUTIONS = (  # n, side, channels, kernels, size, stride, zeros before and after
    (2, 13, 20, 37, 3, 1, (1, 1)),
    (1, 27, 6, 66, 5, 1, (2, 2)),
    (2, 35, 3, 12, 11, 4, (0, 3)),
    (1, 9, 1, 1, 3, 1, (1, 1)),
    (3, 5, 33, 16, 3, 2, (0, 0)),
)
PRODUCTS = (  # n, inputs, outputs
    (3, 300, 70), (130, 40, 33), (33, 257, 31), (1, 129, 5), (2, 5, 150))
LRN = (Normalization(5, 2.0, 1e-4 / 5), Normalization(5, 2.0, 1e-4),
       Normalization(9, 1.0, 0.001 / 9))
SPATIAL = Normalization(5, 1.0, 0.001 / 25)


def words(key: int, count: int) -> NDArray[np.uint64]:
    """Return uint64 [count], bits that look random (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = x + np.uint64(key << 32)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def values(key: int, *shape: int, size: float = 1.0, wide: bool = False) -> F32:
    """Return float32 of this shape from -size to size, one in sixteen a zero of either sign;
    `wide`: of many magnitudes, so that products are below the smallest normal number; the values
    are not, as NumPy would lose them where subnormals are flushed."""
    bits = words(key, int(np.prod(shape)))
    fraction = (bits >> np.uint64(40)).astype(np.int64) - (1 << 23)
    x = fraction.astype(np.float32) * np.float32(2.0**-23) * np.float32(size)
    if wide:
        x = np.ldexp(x, -(bits % np.uint64(90)).astype(np.int32)).astype(np.float32)
    x[bits % np.uint64(16) == 3] = 0.0
    x[bits % np.uint64(32) == 3] = -0.0
    return x.reshape(shape)


def integers(key: int, below: int, *shape: int) -> I64:
    """Return int64 of this shape, 0 .. below - 1."""
    drawn = words(key, int(np.prod(shape))) >> np.uint64(20)
    return (drawn % np.uint64(below)).astype(np.int64).reshape(shape)


def _convolution(o: Operators) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, side, c, k, size, stride, padding in CONVOLUTIONS:
        for wide in (False, True):
            x = values(1, n, side, side, c, wide=wide)
            weight = values(2, k, c, size, size, wide=wide)
            results.append(o.convolution(x, weight, values(3, k), stride, padding))
    return results


def _convolution_gradients(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, side, c, k, size, stride, padding in CONVOLUTIONS:
        rows = (side + sum(padding) - size) // stride + 1
        for wide in (False, True):
            g, x = values(4, n, rows, rows, k, wide=wide), values(1, n, side, side, c, wide=wide)
            if which == "weight":
                results.append(o.convolution_weight_gradient(g, x, size, stride, padding))
            else:
                weight = values(2, k, c, size, size, wide=wide)
                results.append(o.convolution_input_gradient(g, weight, x.shape, stride, padding))
    return results


def _linear(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, inputs, outputs in PRODUCTS:
        for wide in (False, True):
            x, weight = values(1, n, inputs, wide=wide), values(2, outputs, inputs, wide=wide)
            g = values(4, n, outputs, wide=wide)
            if which == "forward":
                results.append(o.linear(x, weight, values(3, outputs)))
            elif which == "input":
                results.append(o.linear_input_gradient(g, weight))
            else:
                results.append(o.linear_weight_gradient(g, x))
    return results


def _local(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, side, c, k, size in ((3, 5, 7, 18, 3), (130, 2, 2, 3, 3), (15, 3, 33, 2, 1)):
        x, weight = values(1, n, side, side, c), values(2, side**2, k, c, size, size)
        g = values(4, n, side, side, k)
        bias, padding = values(3, side**2, k), size // 2
        if which == "forward":
            results.append(o.local(x, weight, bias, padding))
        elif which == "input":
            results.append(o.local_input_gradient(g, weight, padding))
        else:
            results.append(o.local_weight_gradient(g, x, size, padding))
    return results


def _max_pool(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, h, w, c, size in ((2, 13, 12, 70, 3), (1, 7, 5, 3, 2), (1, 2, 3, 65, 3)):
        x = values(1, n, h, w, c)
        x = (np.round(x * np.float32(4)) / np.float32(4)).astype(np.float32)  # ties
        y, places = o.max_pool(x, size, 2)
        results += [y, places] if which == "forward" else [
            o.max_pool_gradient(values(4, *y.shape), places, x.shape, size, 2)
        ]
    return results


def _average_pool(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, h, w, c in ((2, 13, 12, 70), (1, 8, 8, 3), (1, 2, 3, 65)):
        x = values(1, n, h, w, c, wide=True)
        y = o.average_pool(x, 3, 2)
        results += [y] if which == "forward" else [
            o.average_pool_gradient(values(4, *y.shape, wide=True), x.shape, 3, 2)
        ]
    return results


def _lrn(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for shape in ((2, 3, 5, 96), (1, 2, 2, 13), (1, 1, 3, 2)):
        for constants in LRN:
            for size in (1.0, 600.0):
                x = values(1, *shape, size=size)
                y, quotient = o.lrn(x, constants)
                results += [y, quotient] if which == "forward" else [
                    o.lrn_gradient(values(4, *shape), x, quotient, constants)
                ]
    return results


def _spatial(o: Operators, which: str) -> Results:
    results: list[NDArray[np.generic]] = []
    for shape in ((2, 7, 9, 33), (1, 3, 2, 5), (1, 1, 1, 1)):
        for size in (1.0, 600.0):
            x = values(1, *shape, size=size)
            y, quotient = o.spatial(x, SPATIAL)
            results += [y, quotient] if which == "forward" else [
                o.spatial_gradient(values(4, *shape), x, quotient, SPATIAL)
            ]
    return results


def _cross_entropy(o: Operators) -> Results:
    results: list[NDArray[np.generic]] = []
    for n, classes, size in ((7, 10, 3.0), (3, 1000, 20.0), (2, 3, 700.0)):
        loss, wrong, gradient = o.cross_entropy(values(1, n, classes, size=size),
                                                integers(2, classes, n), 12)
        results += [gradient, np.array([loss]), np.array([wrong], np.int64)]
    return results


def _update(o: Operators) -> Results:
    results: list[NDArray[np.generic]] = []
    for lr, decay in ((0.01, 0.0005), (0.02, 0.0), (0.0, 0.0005), (1e-5, 0.004)):
        weight, velocity = values(1, 1003), values(2, 1003, size=0.01)
        o.update(weight, velocity, values(4, 1003), 0.9, lr, decay)
        o.rescale(velocity, 0.1)
        results += [weight, velocity]
    return results


def _functions(o: Operators) -> Results:
    wide = values(1, 2000).astype(np.float64) + values(2, 2000).astype(np.float64) * 2.0**-26
    return [
        o.exp(wide * 745.0),
        o.exp(wide),
        o.log(np.abs(wide) * 1e3 + 1e-300),
        o.log(np.abs(wide) + 0.5),
        o.sin(wide * 1000.0),
        o.cos(wide * 1000.0),
        o.sin(wide),
        o.cos(wide)
    ]


def _centred(o: Operators) -> Results:
    n, side, stored = 3, 11, 16
    crops = integers(1, 256, n, side, side, 3).astype(np.uint8)
    mean = np.abs(values(2, stored, stored, 3, size=255.0))
    tops, lefts = (integers(key, stored - side + 1, n) for key in (3, 5))
    flips = integers(6, 2, n)
    offsets = values(7, n, 3, size=30.0)
    return [
        o.centred(crops, mean, tops, lefts, flips),
        o.centred(crops, mean, tops, lefts, flips, offsets, 1.0 / (1.0 + 0.1)),
        o.centred(crops, mean, tops, lefts, flips, offsets)
    ]


def _eigen(_: Operators) -> Results:
    results: list[NDArray[np.generic]] = []
    for key in (1, 2, 3):
        half = integers(key, 200, 3, 5) - 100
        matrix = half @ half.T  # of integers, so exact
        eigenvalues, vectors = components([[int(x) / 3.0 for x in row] for row in matrix])
        results += [np.array(eigenvalues), np.array(vectors)]
    return results


def _rates(_: Operators) -> Results:
    factors = [rates.by_hand(k) for k in range(4)]
    factors += [rates.automatic(250, 4, k) for k in range(4)]
    factors += [rates.automatic(10, 2, k) for k in range(2)]
    return [np.array(factors)]


def _probabilities(key: int) -> F32:
    return np.abs(values(key, 10, 4, 9)) + np.float32(0.0)


CASES: dict[str, Callable[[Operators], Results]] = {
    "convolution": _convolution,
    "convolution_input_gradient": lambda o: _convolution_gradients(o, "input"),
    "convolution_weight_gradient": lambda o: _convolution_gradients(o, "weight"),
    "linear": lambda o: _linear(o, "forward"),
    "linear_input_gradient": lambda o: _linear(o, "input"),
    "linear_weight_gradient": lambda o: _linear(o, "weight"),
    "local": lambda o: _local(o, "forward"),
    "local_input_gradient": lambda o: _local(o, "input"),
    "local_weight_gradient": lambda o: _local(o, "weight"),
    "squares": lambda o: [o.squares(values(1, 33, k, wide=k < 200)) for k in (5, 128, 300)],
    "bias_gradient": lambda o:
    [o.bias_gradient(values(4, *shape)) for shape in ((5, 13, 13, 70), (130, 7), (2, 3, 65))],
    "relu": lambda o: [o.relu(values(1, 1003, wide=True))],
    "relu_gradient": lambda o: [o.relu_gradient(values(4, 1003), values(1, 1003))],
    "tanh": lambda o:
    [o.tanh(values(1, 4003, size=size)) for size in (2.0**-7, 1.0, 11.0, 2.0**-100)],
    "tanh_gradient": lambda o: [o.tanh_gradient(values(4, 1003), values(1, 1003))],
    "add": lambda o: [o.add(values(1, 1003, wide=True), values(2, 1003, wide=True))],
    "dropout": lambda o: [
        o.dropout(values(1, 33, 31),
                  integers(2, 2, 33, 31).astype(np.bool_), factor) for factor in (1.0, 2.0)
    ] + [o.scale(values(1, 1003, wide=True), 0.5)],
    "max_pool": lambda o: _max_pool(o, "forward"),
    "max_pool_gradient": lambda o: _max_pool(o, "backward"),
    "average_pool": lambda o: _average_pool(o, "forward"),
    "average_pool_gradient": lambda o: _average_pool(o, "backward"),
    "lrn": lambda o: _lrn(o, "forward"),
    "lrn_gradient": lambda o: _lrn(o, "backward"),
    "spatial": lambda o: _spatial(o, "forward"),
    "spatial_gradient": lambda o: _spatial(o, "backward"),
    "softmax": lambda o: [o.softmax(values(1, 5, 1000, size=size)) for size in (1.0, 30.0, 700.0)],
    "cross_entropy": _cross_entropy,
    "average": lambda o: [o.average(_probabilities(1))],
    "error_rate": lambda o: [
        np.array([
            error_rate(np.round(_probabilities(1)[0] * 3), integers(2, 9, 4), top) for top in (1, 5)
        ])
    ],
    "update": _update,
    "functions": _functions,
    "gaussians": lambda o: [
        o.gaussians(integers(1, 1 << 32, 1000, 4)),
        o.gaussians(np.array([[0, 0, 2**32 - 1, 2**32 - 1], [2**32 - 1, 1 << 30, 0, 1 << 31]]))
    ],
    "initial_weights": lambda o: [o.initial_weights(integers(1, 1 << 32, 251, 4), 1003, 0.01)],
    "colour_offsets": lambda o: [
        o.colour_offsets(o.gaussians(integers(1, 1 << 32, 5, 4)), np.array([121.78, 37.094, 19.721]
                                                                           ),
                         values(2, 3, 3).astype(np.float64))
    ],
    "centred": _centred,
    "eigen": _eigen,
    "rates": _rates,
}


def digest(results: Results) -> str:
    """Return the SHA-256 of the types, shapes and bytes of an operator's results, in
    hexadecimal."""
    found = hashlib.sha256()
    for array in results:
        found.update(f"{array.dtype} {list(array.shape)}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def computed(operators: Operators) -> dict[str, str]:
    """Return the digest of every operator as this machine computes it."""
    return {name: digest(case(operators)) for name, case in CASES.items()}


def stored() -> dict[str, str]:
    """Return the digest of every operator as it should be."""
    content = json.loads(DIGESTS.read_text(encoding="utf-8"))
    number = content["arithmetic"]
    assert number == NUMBER, f"{DIGESTS.name} is of arithmetic {number}, not {NUMBER}"
    digests: dict[str, str] = content["operators"]
    return digests


def differing(operators: Operators) -> list[str]:
    """Return the operators that this machine does not compute as they are defined."""
    wanted, found = stored(), computed(operators)
    return sorted(name for name in wanted.keys() | found.keys()
                  if wanted.get(name) != found.get(name))


def main(arguments: list[str]) -> int:
    """Compare every instruction set that this machine offers with the table, or write the table."""
    if arguments == ["--write"]:
        found = computed(Operators(library.load(library.chosen())))
        DIGESTS.write_text(json.dumps({
            "arithmetic": NUMBER,
            "operators": found
        }, indent=1) + "\n",
                           encoding="utf-8")
    bad = 0
    for isa in library.ISA_FLAGS:
        if isa not in library.offered():
            print(f"{isa}: not compared")
            continue
        wrong = differing(Operators(library.load(isa)))
        print(f"{isa}: {'differs: ' + ', '.join(wrong) if wrong else 'identical'}")
        bad += len(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
