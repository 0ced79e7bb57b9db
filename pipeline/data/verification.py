"""`alexnet mean --verify`, `alexnet pca --verify`: what they hold, once more and slowly, from every
stored pixel.

Nothing here is shared with the fast way, which adds up moments while images are stored: pixels are
read back from the store, summed in plain int64, and each written number is held against exact
rational ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.paths import MEAN, PCA, STORE
from pipeline.data.statistics import read_mean
from pipeline.data.store import Store
from pipeline.system.errors import UserError
from pipeline.system.files import read_json
from pipeline.system.terminal import progress, say

CHANNELS = "RGB"


@dataclass(frozen=True)
class Sums:
    """Over `count` images: of each pixel's values, int64 [side, side, 3]; of products of channels,
    [3][3]."""

    count: int
    pixels: NDArray[np.int64]
    products: list[list[int]]


def sums() -> Sums:
    """Return the sums over every training image of the store, read from its pixels."""
    store = Store(STORE)
    split = store.split("train")
    if not len(split):
        raise UserError(f"{STORE}: no training images to verify anything with")
    pixels = np.zeros((store.side, store.side, 3), np.int64)
    products = [[0, 0, 0] for _ in CHANNELS]
    with progress("verify", len(split), "images") as advance:
        for index in range(len(split)):
            image = split.image(index).astype(np.int64)
            pixels += image
            for i in range(3):
                for j in range(3):
                    products[i][j] += int(np.vdot(image[..., i], image[..., j]))
            advance(1)
    return Sums(len(split), pixels, products)


def verify_mean() -> None:
    """See that every value of data/mean.npy is a float32 than which none is nearer to the exact
    mean.

    Raises:
        UserError: the first pixel of which that is not true; a file that is missing or of another
            form.
    """
    mean = read_mean(MEAN)
    exact_sums = sums()
    if mean.dtype != np.float32 or mean.shape != exact_sums.pixels.shape:
        raise _wrong(MEAN, f"{mean.dtype} {list(mean.shape)}, not float32 "
                           f"{list(exact_sums.pixels.shape)}", "mean")
    below, above = np.nextafter(mean, np.float32(-1)), np.nextafter(mean, np.float32(256))
    for place in np.ndindex(mean.shape):
        exact = Fraction(int(exact_sums.pixels[place]), exact_sums.count)
        value = float(mean[place])
        if not math.isfinite(value) or not _nearest(value, float(below[place]), float(above[place]),
                                                    exact):
            y, x, channel = place
            raise _wrong(MEAN, f"row {y}, column {x}, {CHANNELS[channel]} is {value!r}, and the "
                               f"stored images' mean is {float(exact)!r}", "mean")
    say(f"{MEAN}: verified: each of its {mean.size} values is the float32 nearest to the exact "
        f"mean of {exact_sums.count} stored images")


def verify_pca() -> None:
    """See that in data/pca.json the covariance is the exact one, rounded once, and the rest its
    decomposition, by our rules.

    Raises:
        UserError: the first thing that is not so; a file that is missing or of another form.
    """
    written = read_json(PCA, "pca")
    exact_sums = sums()
    problem = _problem_with_pca(written, exact_sums)
    if problem:
        raise _wrong(PCA, problem, "pca")
    say(f"{PCA}: verified: the covariance is the float64 nearest to the exact one of "
        f"{written['pixels']} stored pixels, and its components are in order, orthonormal and of "
        "the right sign")


def _problem_with_pca(written: Any, sums: Sums) -> str | None:
    n = sums.count * sums.pixels.shape[0] * sums.pixels.shape[1]
    try:
        pixels, matrix = written["pixels"], np.array(written["covariance"],
                                                     np.float64).reshape(3, 3)
        values, vectors = (np.array(written["eigenvalues"], np.float64),
                           np.array(written["eigenvectors"], np.float64))
        stdevs = np.array(written["stdevs"], np.float64)
        shapes = (values.shape, vectors.shape, stdevs.shape)
    except (KeyError, TypeError, ValueError) as error:
        return f"not the components of colour ({type(error).__name__}: {error})"
    if (shapes != ((3,), (3, 3), (3,))
            or not np.isfinite([*matrix.flat, *values, *vectors.flat, *stdevs]).all()):
        return "not the components of colour"
    if pixels != n:
        return f"{pixels} pixels, and the store has {n}"
    totals = [int(total) for total in sums.pixels.sum(axis=(0, 1))]
    for i in range(3):
        for j in range(3):
            exact = Fraction(sums.products[i][j], n) - Fraction(totals[i],
                                                                n) * Fraction(totals[j], n)
            value = float(matrix[i, j])
            if not _nearest(value, math.nextafter(value, -math.inf),
                            math.nextafter(value, math.inf), exact):
                return (f"covariance {CHANNELS[i]}{CHANNELS[j]} is {value!r}, and that of the "
                        f"stored pixels {float(exact)!r}")
    return _problem_with_components(matrix, values, vectors, stdevs)


def _problem_with_components(matrix: NDArray[np.float64], values: NDArray[np.float64],
                             vectors: NDArray[np.float64],
                             stdevs: NDArray[np.float64]) -> str | None:
    scale = max(float(np.abs(matrix).max()), 1e-300)
    expected = np.linalg.eigvalsh(matrix)[::-1]
    for k in range(3):
        vector = vectors[:, k]
        if k and values[k] > values[k - 1]:
            return "eigenvalues do not descend"
        if abs(values[k] - max(expected[k], 0.0)) > 1e-12 * scale:
            return (f"eigenvalue {k + 1} is {values[k]!r}, and that of the covariance "
                    f"{expected[k]!r}")
        if np.abs(matrix @ vector - values[k] * vector).max() > 1e-12 * scale:
            return f"column {k + 1} of the eigenvectors is none of the covariance's"
        if np.abs(vectors.T @ vector - np.eye(3)[k]).max() > 1e-12:
            return "eigenvectors are not orthonormal"
        if vector[np.abs(vector).argmax()] <= 0:
            return f"eigenvector {k + 1} has the wrong sign: its largest component is negative"
        if stdevs[k] != math.sqrt(values[k]):
            return (f"stdev {k + 1} is {stdevs[k]!r}, and the square root of the eigenvalue "
                    f"{math.sqrt(values[k])!r}")
    return None


def _nearest(value: float, below: float, above: float, exact: Fraction) -> bool:
    error = abs(Fraction(value) - exact)
    return all(error <= abs(Fraction(neighbour) - exact) for neighbour in (below, above))


def _wrong(file: Any, what: str, stage: str) -> UserError:
    return UserError(f"{file}: not that of {STORE}: {what}; make it again with `alexnet {stage}`, "
                     "and should that not help, the store with `alexnet resize`")
