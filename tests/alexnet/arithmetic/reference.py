"""docs/arithmetic.md word by word: slow, obvious, and without a line or a constant of the
kernels.

Everything is a Python loop over single numbers. float32 is NumPy's scalar, whose + - * / are
IEEE 754's; fma is libm's `fmaf`; float64 is Python's float. Maps are [n, c, h, w], as on that
page. Constants of the polynomials are read from it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import math
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Number = Any  # a float32: NumPy's types do not tell an element from an array
Term = tuple[Number, Number]
Places = dict[tuple[int, ...], tuple[int, int]]  # of each window's greatest value
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "arithmetic.md").read_text(encoding="utf-8")

f32 = np.float32
_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fmaf.restype = ctypes.c_float
_libm.fmaf.argtypes = [ctypes.c_float] * 3


def fma(a: Number, b: Number, c: Number) -> np.float32:
    return f32(_libm.fmaf(a, b, c))


# --- section 2 ---


def chain(terms: Iterable[Term]) -> np.float32:
    c = 0.0
    fmaf = _libm.fmaf
    for a, b in terms:
        c = fmaf(a, b, c)
    return f32(c)


def total(terms: Iterable[np.float32]) -> np.float32:
    s = f32(0)
    for a in terms:
        s = s + a
    return s


def blocks(terms: Sequence[Term]) -> np.float32:
    return total(chain(terms[start:start + 128]) for start in range(0, len(terms), 128))


def positive_zero(x: Number) -> np.float32:
    return f32(0) if x == 0 else f32(x)


# --- section 3 ---


def convolution(x: F32, w: F32, bias: F32 | None, stride: int, before: int, after: int) -> F32:
    n, c, height, width = x.shape
    o, _, size, _ = w.shape
    rows, columns = ((side + before + after - size) // stride + 1 for side in (height, width))
    y = np.empty((n, o, rows, columns), f32)
    for a, k, p, q in itertools.product(range(n), range(o), range(rows), range(columns)):
        terms = []
        for i, j, m in itertools.product(range(size), range(size), range(c)):
            row, column = p * stride + i - before, q * stride + j - before
            if 0 <= row < height and 0 <= column < width:
                terms.append((x[a, m, row, column], w[k, m, i, j]))
        y[a, k, p, q] = chain(terms) + (f32(0) if bias is None else positive_zero(bias[k]))
    return y


def convolution_input_gradient(g: F32, w: F32, shape: Sequence[int], stride: int,
                               before: int) -> F32:
    _, o, rows, columns = g.shape
    size = w.shape[2]
    dx = np.empty(tuple(shape), f32)
    for a, m, h, v in itertools.product(*map(range, shape)):
        terms = []
        for p, q, k in itertools.product(range(rows), range(columns), range(o)):
            i, j = h + before - p * stride, v + before - q * stride
            if 0 <= i < size and 0 <= j < size:
                terms.append((g[a, k, p, q], w[k, m, i, j]))
        dx[a, m, h, v] = chain(terms) + f32(0)
    return dx


def convolution_weight_gradient(g: F32, x: F32, size: int, stride: int, before: int) -> F32:
    n, o, rows, columns = g.shape
    _, c, height, width = x.shape
    dw = np.empty((o, c, size, size), f32)
    for k, m, i, j in itertools.product(range(o), range(c), range(size), range(size)):
        images = []
        for a in range(n):
            terms = []
            for p, q in itertools.product(range(rows), range(columns)):
                row, column = p * stride + i - before, q * stride + j - before
                if 0 <= row < height and 0 <= column < width:
                    terms.append((g[a, k, p, q], x[a, m, row, column]))
            images.append(chain(terms))
        dw[k, m, i, j] = total(images)
    return dw


def bias_gradient(g: F32) -> F32:
    """g [n, o, pixels]."""
    n, o, pixels = g.shape
    return np.array(
        [total(total(g[a, k, p] for p in range(pixels)) for a in range(n)) for k in range(o)], f32)


def squares(x: F32) -> F32:
    """The squares of the norms of rows."""
    return np.array([blocks(list(zip(row, row, strict=True))) for row in x], f32)


def linear(x: F32, w: F32, bias: F32 | None) -> F32:
    y = np.empty((len(x), len(w)), f32)
    for n, o in np.ndindex(*y.shape):
        y[n, o] = blocks(list(zip(
            x[n], w[o], strict=True))) + (f32(0) if bias is None else positive_zero(bias[o]))
    return y


def linear_input_gradient(g: F32, w: F32) -> F32:
    dx = np.empty((len(g), w.shape[1]), f32)
    for n, k in np.ndindex(*dx.shape):
        dx[n, k] = blocks(list(zip(g[n], w[:, k], strict=True))) + f32(0)
    return dx


def linear_weight_gradient(g: F32, x: F32) -> F32:
    dw = np.empty((g.shape[1], x.shape[1]), f32)
    for o, k in np.ndindex(*dw.shape):
        dw[o, k] = blocks(list(zip(g[:, o], x[:, k], strict=True))) + f32(0)
    return dw


def local(x: F32, w: F32, bias: F32 | None, before: int) -> F32:
    """w [p, q, o, c, i, j], bias [p, q, o]."""
    n, c, height, width = x.shape
    rows, columns, o, _, size, _ = w.shape
    y = np.empty((n, o, rows, columns), f32)
    for a, k, p, q in itertools.product(range(n), range(o), range(rows), range(columns)):
        terms = []
        for i, j, m in itertools.product(range(size), range(size), range(c)):
            row, column = p + i - before, q + j - before
            if 0 <= row < height and 0 <= column < width:
                terms.append((x[a, m, row, column], w[p, q, k, m, i, j]))
        y[a, k, p, q] = chain(terms) + (f32(0) if bias is None else positive_zero(bias[p, q, k]))
    return y


def local_input_gradient(g: F32, w: F32, before: int) -> F32:
    n, o, rows, columns = g.shape
    c, size = w.shape[3:5]
    dx = np.empty((n, c, rows, columns), f32)
    for a, m, h, v in itertools.product(range(n), range(c), range(rows), range(columns)):
        terms = []
        for p, q, k in itertools.product(range(rows), range(columns), range(o)):
            i, j = h + before - p, v + before - q
            if 0 <= i < size and 0 <= j < size:
                terms.append((g[a, k, p, q], w[p, q, k, m, i, j]))
        dx[a, m, h, v] = chain(terms) + f32(0)
    return dx


def local_weight_gradient(g: F32, x: F32, size: int, before: int) -> F32:
    n, o, rows, columns = g.shape
    c = x.shape[1]
    dw = np.zeros((rows, columns, o, c, size, size), f32)
    for p, q, k, m, i, j in np.ndindex(*dw.shape):
        row, column = p + i - before, q + j - before
        inside = 0 <= row < rows and 0 <= column < columns
        dw[p, q, k, m, i,
           j] = blocks([(g[a, k, p, q], x[a, m, row, column]) for a in range(n) if inside])
    return dw


# --- section 4 ---


def relu(x: F32) -> F32:
    return np.array([f32(0) if v <= 0 else v for v in x.flat], f32).reshape(x.shape)


def relu_gradient(g: F32, y: F32) -> F32:
    return np.array([f32(0) if v <= 0 else d for d, v in zip(g.flat, y.flat, strict=True)],
                    f32).reshape(g.shape)


def tanh_gradient(g: F32, y: F32) -> F32:
    return np.array([d * fma(-v, v, f32(1)) for d, v in zip(g.flat, y.flat, strict=True)],
                    f32).reshape(g.shape)


def windows(side: int, size: int, stride: int) -> int:
    count = math.ceil((side - size) / stride) + 1
    return count - 1 if (count - 1) * stride >= side else count


def max_pool(x: F32, size: int, stride: int) -> tuple[F32, Places]:
    n, c, height, width = x.shape
    y = np.empty((n, c, windows(height, size, stride), windows(width, size, stride)), f32)
    places: Places = {}
    for a, m, p, q in np.ndindex(*y.shape):
        best, place = None, (0, 0)
        for i, j in itertools.product(range(size), range(size)):
            row, column = p * stride + i, q * stride + j
            if row < height and column < width:
                value = x[a, m, row, column]
                if best is None or value > best or value != value:
                    best, place = value, (row, column)
        y[a, m, p, q], places[a, m, p, q] = best, place
    return y, places


def max_pool_gradient(g: F32, places: Places,
                      shape: Sequence[int]) -> F32:
    dx = np.empty(tuple(shape), f32)
    _, _, rows, columns = g.shape
    for a, m, h, w in np.ndindex(*dx.shape):
        dx[a, m, h, w] = total(g[a, m, p, q]
                               for p, q in itertools.product(range(rows), range(columns))
                               if places[a, m, p, q] == (h, w))
    return dx


def _within(p: int, q: int, size: int, stride: int, shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pixels of window (p, q) that lie within maps of this shape, in their order."""
    return [(p * stride + i, q * stride + j)
            for i, j in itertools.product(range(size), range(size))
            if p * stride + i < shape[2] and q * stride + j < shape[3]]


def average_pool(x: F32, size: int, stride: int) -> F32:
    n, c, height, width = x.shape
    y = np.empty((n, c, windows(height, size, stride), windows(width, size, stride)), f32)
    for a, m, p, q in np.ndindex(*y.shape):
        pixels = _within(p, q, size, stride, x.shape)
        y[a, m, p, q] = total(x[a, m, h, w] for h, w in pixels) / f32(len(pixels))
    return y


def average_pool_gradient(g: F32, shape: Sequence[int], size: int, stride: int) -> F32:
    dx = np.empty(tuple(shape), f32)
    inside = {(p, q): _within(p, q, size, stride, shape) for p, q in np.ndindex(*g.shape[2:])}
    for a, m, h, w in np.ndindex(*dx.shape):
        dx[a, m, h, w] = total(g[a, m, p, q] / f32(len(pixels))
                               for (p, q), pixels in inside.items() if (h, w) in pixels)
    return dx


def _window_sum(x: F32, size: int, across: str, squares: bool) -> F32:
    """x [n, c, h, w]."""
    half = size // 2
    _, c, height, width = x.shape

    def summed(parts: list[np.float32]) -> np.float32:
        return chain((v, v) for v in parts) if squares else total(parts)

    result = np.empty_like(x)
    if across == "channels":
        for a, m, h, w in np.ndindex(*x.shape):
            result[a, m, h,
                   w] = summed([x[a, j, h, w] for j in range(m - half, m + half + 1) if 0 <= j < c])
        return result
    rows = np.empty_like(x)
    for a, m, h, w in np.ndindex(*x.shape):
        rows[a, m, h,
             w] = summed([x[a, m, h, j] for j in range(w - half, w + half + 1) if 0 <= j < width])
    for a, m, h, w in np.ndindex(*x.shape):
        result[a, m, h, w] = total(rows[a, m, j, w] for j in range(h - half, h + half + 1)
                                   if 0 <= j < height)
    return result


def _factors(x: F32, size: int, k: float, scale: float, across: str) -> tuple[F32, F32]:
    sums = _window_sum(x, size, across, squares=True)
    q, f = np.empty_like(x), np.empty_like(x)
    for at in np.ndindex(*x.shape):
        q[at] = f32(1) / fma(f32(scale), sums[at], f32(k))
        t = np.sqrt(q[at])
        f[at] = t * np.sqrt(t)
    return q, f


def normalized(x: F32, size: int, k: float, scale: float, across: str) -> F32:
    _, f = _factors(x, size, k, scale, across)
    return np.array([a * b for a, b in zip(x.flat, f.flat, strict=True)], f32).reshape(x.shape)


def normalized_gradient(g: F32, x: F32, size: int, k: float, scale: float, across: str) -> F32:
    q, f = _factors(x, size, k, scale, across)
    e, u, dx = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for at in np.ndindex(*x.shape):
        e[at] = g[at] * f[at]
        u[at] = (e[at] * x[at]) * q[at]
    sums = _window_sum(u, size, across, squares=False)
    for at in np.ndindex(*x.shape):
        dx[at] = fma(-(f32(1.5 * scale) * x[at]), sums[at], e[at])
    return dx


def dropout(x: F32, kept: NDArray[np.bool_], factor: float) -> F32:
    return np.array(
        [v * f32(factor) if k else f32(0) for v, k in zip(x.flat, kept.flat, strict=True)],
        f32).reshape(x.shape)


# --- section 6 ---


def _constants(letter: str) -> list[float]:
    found = re.search(rf"{letter}1\.\.{letter}(\d) = (.*?)\.\n", PAGE, re.DOTALL)
    assert found, f"no constants {letter} on the page"
    constants = [float.fromhex(text) for text in found[2].split(",")]
    assert len(constants) == int(found[1])
    return constants


P, L, S, C = (_constants(letter) for letter in "PLSC")
LN2_UPPER, LN2_LOWER = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")


def exp(x: float) -> float:
    if x < -708:
        return 0.0
    if x > 709:
        return math.inf
    k = round(x * float.fromhex("0x1.71547652b82fep+0"))
    h, l = x - k * LN2_UPPER, k * LN2_LOWER  # noqa: E741
    r = h - l
    t = r * r
    c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))))
    return math.ldexp(1 - ((l - (r * c) / (2 - c)) - h), k)


def log(x: float) -> float:
    upper: int = struct.unpack(">I", struct.pack(">d", x)[:4])[0]
    k = (upper - 0x3FE6A09E) // 2**20
    f = math.ldexp(x, -k) - 1
    s = f / (2 + f)
    z = s * s
    w = z * z
    a = w * (L[1] + w * (L[3] + w * L[5]))
    b = z * (L[0] + w * (L[2] + w * (L[4] + w * L[6])))
    r = b + a
    q = (0.5 * f) * f
    return k * LN2_UPPER - ((q - (s * (q + r) + k * LN2_LOWER)) - f)


def _sin_cos(x: float) -> tuple[float, float]:
    k = round(x * float.fromhex("0x1.45f306dc9c883p-1"))
    a = x - k * float.fromhex("0x1.921fb544p+0")
    first = k * float.fromhex("0x1.0b4611a6p-34")
    r = a - first
    v = k * float.fromhex("0x1.3198a2e037073p-69") - ((a - r) - first)
    y = r - v
    d = (r - y) - v
    z = y * y
    w = z * z
    t = S[1] + z * (S[2] + z * S[3]) + (z * w) * (S[4] + z * S[5])
    sine = y - ((z * (0.5 * d - (z * y) * t) - d) - (z * y) * S[0])
    c = z * (C[0] + z * (C[1] + z * C[2])) + (w * w) * (C[3] + z * (C[4] + z * C[5]))
    p = 0.5 * z
    o = 1 - p
    cosine = o + (((1 - o) - p) + (z * c - y * d))
    return ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))[k % 4]


def sin(x: float) -> float:
    return _sin_cos(x)[0]


def cos(x: float) -> float:
    return _sin_cos(x)[1]


def tanh(x: np.float32) -> np.float32:
    a = abs(float(x))
    if a < 2**-7:
        z = a * a
        t = a + (a * z) * (-1 / 3 + z * (2 / 15 + z * (-17 / 315)))
    elif a >= 10:
        t = 1.0
    else:
        t = 1 - 2 / (exp(2 * a) + 1)
    return f32(np.copysign(f32(t), x))


# --- section 5 ---


def _exponentials(z: F32) -> tuple[int, list[float], list[float], float]:
    greatest = max(range(len(z)), key=lambda c: z[c])  # the first of equals
    x = [float(v) - float(z[greatest]) for v in z]
    e = [exp(v) for v in x]
    s = 0.0
    for v in e:
        s = s + v
    return greatest, x, e, s


def softmax(logits: F32) -> F32:
    rows = []
    for z in logits:
        _, _, e, s = _exponentials(z)
        rows.append([f32(v / s) for v in e])
    return np.array(rows, f32)


def cross_entropy(logits: F32, labels: I64, batch: int) -> tuple[float, int, F32]:
    loss, wrong, rows = 0.0, 0, []
    for z, label in zip(logits, labels, strict=True):
        greatest, x, e, s = _exponentials(z)
        loss = loss + (log(s) - x[label])
        wrong += greatest != label
        rows.append([f32((v / s - (1.0 if c == label else 0.0)) / batch) for c, v in enumerate(e)])
    return loss, wrong, np.array(rows, f32)


def average(p: F32) -> F32:
    result = np.empty(p.shape[1:], f32)
    for at in np.ndindex(*result.shape):
        s = 0.0
        for k in range(len(p)):
            s = s + float(p[k][at])
        result[at] = f32(s / len(p))
    return result


# --- sections 7 and 8 ---


def gaussians(words: I64) -> F64:
    rows = []
    for w in words:
        u = [(int(v) + 0.5) / 2**32 for v in w]
        r = [math.sqrt(-2 * log(u[0])), math.sqrt(-2 * log(u[2]))]
        a = [
            float.fromhex("0x1.921fb54442d18p+2") * u[1],
            float.fromhex("0x1.921fb54442d18p+2") * u[3]
        ]
        rows.append([r[0] * cos(a[0]), r[1] * cos(a[1]), r[0] * sin(a[0]), r[1] * sin(a[1])])
    return np.array(rows)


def initial_weights(words: I64, count: int, spread: float) -> F32:
    return np.array([f32(z * spread) for z in gaussians(words).flatten().tolist()][:count], f32)


def colour_offsets(z: F64, size: F64, v: F64) -> F32:
    rows = []
    for draw in z.tolist():
        b = [(draw[k] * 0.1) * float(size[k]) for k in range(3)]
        rows.append([
            f32((b[0] * float(v[c, 0]) + b[1] * float(v[c, 1])) + b[2] * float(v[c, 2]))
            for c in range(3)
        ])
    return np.array(rows, f32)


def centred(crops: NDArray[np.uint8], mean: F32, tops: I64, lefts: I64, flips: I64,
            offsets: F32 | None, factor: float) -> F32:
    """[n, side, side, 3], the mean of each pixel's own place in the stored image."""
    x = np.empty(crops.shape, f32)
    side = crops.shape[1]
    for n, h, w, c in np.ndindex(*crops.shape):
        column = lefts[n] + (side - 1 - w if flips[n] else w)
        difference = f32(crops[n, h, w, c]) - mean[tops[n] + h, column, c]
        if offsets is not None:
            difference = fma(f32(factor), difference, f32(offsets[n, c] * f32(factor)))
        x[n, h, w, c] = difference
    return x


def eigen(matrix: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """Eigenvalues, and eigenvectors in columns. A rotation by next to nothing has an h whose
    square is infinite."""
    with np.errstate(over="ignore"):
        return _eigen(matrix)


def _eigen(matrix: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    a, v = np.array(matrix), np.identity(3)
    for _ in range(20):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            if a[p, q] == 0:
                continue
            h = (a[q, q] - a[p, p]) / (2 * a[p, q])
            t = np.copysign(1.0, h) / (np.abs(h) + np.sqrt(h * h + 1))
            c = 1 / np.sqrt(t * t + 1)
            s = t * c
            for m in (a, v):
                x, y = m[:, p].copy(), m[:, q].copy()
                for i in range(3):
                    m[i, p], m[i, q] = c * x[i] - s * y[i], s * x[i] + c * y[i]
            x, y = a[p].copy(), a[q].copy()
            for i in range(3):
                a[p, i], a[q, i] = c * x[i] - s * y[i], s * x[i] + c * y[i]
            a[p, q] = a[q, p] = 0.0
    order = sorted(range(3), key=lambda k: a[k, k], reverse=True)
    columns = []
    for k in order:
        greatest = max(range(3), key=lambda i: abs(v[i, k]))
        sign = -1.0 if np.signbit(v[greatest, k]) else 1.0
        columns.append([0.0 if v[i, k] == 0 else float(sign * v[i, k]) for i in range(3)])
    return ([0.0 if a[k, k] < 0 else float(a[k, k])
             for k in order], [[columns[k][i] for k in range(3)] for i in range(3)])


# --- section 9 ---


def update(w: F32, v: F32, g: F32, momentum: float, lr: float, decay: float) -> tuple[F32, F32]:
    m, l, e = f32(momentum), f32(-lr), f32(-(decay * lr))  # noqa: E741
    w, v = w.copy(), v.copy()
    if lr == 0:
        return w, v
    for i in range(len(w)):
        v[i] = fma(l, g[i], m * v[i])
        if e != 0:
            v[i] = fma(e, w[i], v[i])
        w[i] = w[i] + v[i]
    return w, v
