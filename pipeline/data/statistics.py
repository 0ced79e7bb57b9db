"""The statistics of the stored training images that training needs: the mean image (P §2) and the
principal components of colour (P §4.1).

No image is read here: both follow from the exact sums that were taken while the images were stored
(pipeline.data.moments). The stages `mean` and `pca` write them; `load_mean` and `load_pca` give
them back, held against those sums.
"""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.paths import MEAN, PCA, STORE
from pipeline.data.moments import Moments
from pipeline.data.shards import mapped_array
from pipeline.data.store import MOMENTS
from pipeline.system.errors import UserError
from pipeline.system.files import read_json

Matrix = list[list[float]]


def store_moments() -> Moments:
    """Return the sums over data/store's training images; raises UserError as `Moments.load`."""
    return Moments.load(STORE / MOMENTS)


def mean_image(moments: Moments) -> NDArray[np.float32]:
    """Return the mean image, float32 [256, 256, 3]: the exact quotients, rounded to nearest.

    The quotient of two integers is rounded to float64 and then to float32. For fewer than 2**28
    images that is the same as rounding once: a quotient with such a divisor is either a float32's
    rounding boundary or further from it than float64's error.

    Raises:
        UserError: there are no training images.
    """
    if moments.count == 0:
        raise UserError(f"{STORE}: no training images, so there is no mean image; see "
                        f"{STORE}/quarantine.json")
    return (moments.sums / np.float64(moments.count)).astype(np.float32)


def load_mean() -> NDArray[np.float32]:
    """Return data/mean.npy, which is that of the store's moments, to the bit.

    Raises:
        UserError: it is missing, damaged, or of other images.
    """
    mean = read_mean(MEAN)
    exact = mean_image(store_moments())
    if ((mean.dtype, mean.shape) != (exact.dtype, exact.shape)
            or mean_digest(mean) != mean_digest(exact)):
        raise UserError(f"{MEAN}: damaged, or not that of {STORE}; make it again with "
                        "`alexnet mean`")
    return mean


def read_mean(file: Path) -> NDArray[np.float32]:
    """Return the array in a file like data/mean.npy, float32 [side, side, 3], of whatever images.

    Raises:
        UserError: it is missing, damaged, or of another form.
    """
    return np.array(mapped_array(file, np.float32, "make it with `alexnet mean`"))


def mean_digest(mean: NDArray[np.float32]) -> str:
    """Return the SHA-256 of the mean image's float32 numbers, little-endian, in hexadecimal."""
    return hashlib.sha256(mean.astype("<f4").tobytes()).hexdigest()


def load_pca() -> dict[str, Any]:
    """Return data/pca.json, which is that of the store's moments, to the bit.

    Raises:
        UserError: it is missing, damaged, or of other images.
    """
    written: dict[str, Any] = read_json(PCA, made_by="pca")
    if written != pca_of(store_moments()):
        raise UserError(f"{PCA}: damaged, or not that of {STORE}; make it again with `alexnet pca`")
    return written


def pca_of(moments: Moments) -> dict[str, Any]:
    """Return the values of data/pca.json, all floats exact as written, on the scale of 0..255.

    Its keys: `covariance` [3][3], RGB; `eigenvalues` [3], descending; `eigenvectors` [3][3],
    component k in *column* k, RGB down the rows, as in the paper's [p1, p2, p3]; `stdevs` [3], the
    eigenvalues' square roots, which the original code multiplies its noise by; `pixels`, how many
    were counted.
    """
    return components(covariance(moments)) | {"pixels": moments.count * moments.pixels}


def covariance(moments: Moments) -> Matrix:
    """Return the covariance, [3][3], RGB: the exact rational numbers, each rounded once.

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
    """Return the eigen-decomposition, in the form of pca.json.

    Order and signs are those of `alexnet.arithmetic.eigen`; images of one colour have the unit
    vectors and zeros.
    """
    from alexnet.arithmetic import eigen  # code of the stage pca, and of no other stage here

    eigenvalues, eigenvectors = eigen.components(matrix)
    _assert_decomposes(matrix, eigenvalues, eigenvectors)
    return {"covariance": matrix, "eigenvalues": eigenvalues, "eigenvectors": eigenvectors,
            "stdevs": [math.sqrt(value) for value in eigenvalues]}


def _assert_decomposes(matrix: Matrix, eigenvalues: list[float], eigenvectors: Matrix) -> None:
    c, p = np.array(matrix), np.array(eigenvectors)
    residual = np.abs(p @ np.diag(eigenvalues) @ p.T - c).max()
    assert residual <= 1e-12 * max(np.abs(c).max(), 1e-300), ("eigen-decomposition is off by "
                                                              f"{residual}")
    assert np.abs(p.T @ p - np.eye(3)).max() <= 1e-12, "eigenvectors are not orthonormal"


def pca_digest(result: dict[str, Any]) -> str:
    """Return the SHA-256 of the result as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
