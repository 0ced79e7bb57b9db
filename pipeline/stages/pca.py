"""The principal components of colour: of "the set of RGB pixel values throughout the ImageNet
training set" (P §4.1).

Yields data/pca.json. Every pixel of every stored 256x256 training image counts once; each channel's
mean over all of them is subtracted (not the mean image, which is per position); the covariance is
divided by the number of pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from typing import Any

import numpy as np

from pipeline.config.parameters import Parameters
from pipeline.config.paths import PCA, STORE
from pipeline.data.moments import Moments
from pipeline.data.store import MOMENTS
from pipeline.system.errors import UserError
from pipeline.system.files import read_json, write_json

Matrix = list[list[float]]


def run(parameters: Parameters) -> dict[str, Any]:
    """Writes pca.json, all floats exact as written, on the scale of 0..255.

    Its keys: `covariance` [3][3], RGB; `eigenvalues` [3], descending; `eigenvectors` [3][3],
    component k in *column* k, RGB down the rows, as in the paper's [p1, p2, p3]; `stdevs` [3], the
    eigenvalues' square roots, which the original code multiplies its noise by; `pixels`, how many
    were counted.

    Returns:
        The three standard deviations, and the sha256 of pca.json's values.
    """
    result = _result()
    write_json(PCA, result)
    return {**{f"stdev_{k}": stdev for k, stdev in enumerate(result["stdevs"], start=1)},
            "pca_digest": digest(result)}


def load() -> dict[str, Any]:
    """data/pca.json, which is that of the store's moments, to the bit.

    Raises:
        UserError: it is missing, damaged, or of other images.
    """
    found: dict[str, Any] = read_json(PCA, made_by="pca")
    if found != _result():
        raise UserError(f"{PCA}: damaged, or not that of {STORE}; make it again with `alexnet pca`")
    return found


def _result() -> dict[str, Any]:
    moments = Moments.load(STORE / MOMENTS)
    return components(covariance(moments)) | {"pixels": moments.count * moments.pixels}


def covariance(moments: Moments) -> Matrix:
    """[3][3], RGB: the exact rational numbers, each rounded once.

    Raises:
        UserError: there are no training images.
    """
    n = moments.count * moments.pixels
    if n == 0:
        raise UserError(f"{STORE}: no training images, so there are no colours; see "
                        f"{STORE}/quarantine.json")
    sums = [int(channel) for channel in moments.sums.sum(axis=(0, 1))]
    return [[float(Fraction(n * int(moments.products[i, j]) - sums[i] * sums[j], n * n))
             for j in range(3)] for i in range(3)]


def components(matrix: Matrix) -> dict[str, Any]:
    """The eigen-decomposition, in the form of pca.json.

    Eigenvalues descend, and rounding below zero is cut off. The sign of an eigenvector, which is
    arbitrary, is such that its component of largest magnitude (the first of equals) is positive.
    Images of one colour have the unit vectors and zeros.
    """
    values, vectors = jacobi(matrix)
    order = sorted(range(3), key=lambda k: -values[k])
    eigenvalues = [max(values[k], 0.0) for k in order]
    columns = [_with_sign([vectors[i][k] for i in range(3)]) for k in order]
    eigenvectors = [[column[i] for column in columns] for i in range(3)]
    _assert_decomposes(matrix, eigenvalues, eigenvectors)
    return {"covariance": matrix, "eigenvalues": eigenvalues, "eigenvectors": eigenvectors,
            "stdevs": [math.sqrt(value) for value in eigenvalues]}


def jacobi(matrix: Matrix) -> tuple[list[float], Matrix]:
    """Eigenvalues and eigenvectors (columns) of a symmetric 3x3 matrix, by Jacobi's rotations.

    In Python's own floats, with nothing but + - * / and the square root, which IEEE 754 rounds
    correctly: the same bits on every machine. A LAPACK's last bits depend on its build, and every
    training image would inherit them.
    """
    a = [list(row) for row in matrix]
    v = [[float(i == j) for j in range(3)] for i in range(3)]
    for _ in range(20):  # it converges quadratically: some six rounds
        for p, q in ((0, 1), (0, 2), (1, 2)):
            if a[p][q] == 0.0:
                continue
            theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q])
            t = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1.0))
            cosine = 1.0 / math.sqrt(t * t + 1.0)
            sine = t * cosine
            for row in (*a, *v):  # columns p and q of both
                row[p], row[q] = cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]
            a[p], a[q] = ([cosine * x - sine * y for x, y in zip(a[p], a[q], strict=True)],
                          [sine * x + cosine * y for x, y in zip(a[p], a[q], strict=True)])
            a[p][q] = a[q][p] = 0.0
    return [a[k][k] for k in range(3)], v


def _with_sign(vector: list[float]) -> list[float]:
    largest = max(vector, key=abs)
    return [math.copysign(1.0, largest) * x + 0.0 for x in vector]  # + 0.0: no negative zeros


def _assert_decomposes(matrix: Matrix, eigenvalues: list[float], eigenvectors: Matrix) -> None:
    c, p = np.array(matrix), np.array(eigenvectors)
    residual = np.abs(p @ np.diag(eigenvalues) @ p.T - c).max()
    assert residual <= 1e-12 * max(np.abs(c).max(), 1e-300), ("eigen-decomposition is off by "
                                                              f"{residual}")
    assert np.abs(p.T @ p - np.eye(3)).max() <= 1e-12, "eigenvectors are not orthonormal"


def digest(result: dict[str, Any]) -> str:
    """SHA-256 of the result as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
