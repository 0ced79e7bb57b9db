"""The colour PCA: exact covariance, numpy's decomposition as reference, fixed order and signs,
degenerate colours."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config.parameters import load
from pipeline.config.paths import PCA, STORE
from pipeline.data import statistics
from pipeline.data.moments import Accumulator, Moments
from pipeline.data.pixels import SIDE
from pipeline.data.store import DESCRIPTION, MOMENTS
from pipeline.stages import pca
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

RNG = np.random.default_rng(2)
MIXED = np.clip(RNG.normal(size=(4, SIDE, SIDE, 3)) @ [[30, 28, 25], [9, 0, -9], [2, -4, 3]]
                + [127, 119, 104], 0, 255).astype(np.uint8)


def moments(images: NDArray[np.uint8]) -> Moments:
    accumulator = Accumulator()
    for image in images:
        accumulator.add(image)
    return accumulator.moments()


def one_colour(*rgb: int) -> NDArray[np.uint8]:
    return np.full((2, SIDE, SIDE, 3), rgb, np.uint8)


def test_the_covariance_is_that_of_all_pixels() -> None:
    found = statistics.covariance(moments(MIXED))
    assert np.allclose(found, np.cov(MIXED.reshape(-1, 3).T.astype(np.float64), bias=True),
                       rtol=1e-12)


def test_the_covariance_is_the_exact_rational_rounded_once() -> None:
    """Large means and tiny variances, where the textbook formula in floating point has lost every
    digit."""
    images = np.full((40, SIDE, SIDE, 3), 255, np.uint8)
    images[0, 0, 0] = [254, 253, 255]
    n, found = 40 * SIDE**2, statistics.covariance(moments(images))
    deviations = [Fraction(1), Fraction(2), Fraction(0)]
    for i in range(3):
        for j in range(3):
            exact = deviations[i] * deviations[j] * (Fraction(1, n) - Fraction(1, n * n))
            assert found[i][j] == float(exact)


def test_equal_to_numpys_decomposition() -> None:
    matrix = statistics.covariance(moments(MIXED))
    found = statistics.components(matrix)
    values, vectors = np.linalg.eigh(matrix)
    assert np.allclose(found["eigenvalues"], values[::-1], rtol=1e-12)
    assert np.allclose(np.abs(np.sum(np.array(found["eigenvectors"]) * vectors[:, ::-1], axis=0)),
                       1, rtol=1e-12)
    assert np.allclose(found["stdevs"], np.sqrt(values[::-1]), rtol=1e-12)


@settings(max_examples=200)
@given(st.lists(st.lists(st.floats(-255, 255), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_covariance_is_decomposed_in_order_and_with_the_sign_rule(
        rows: list[list[float]]) -> None:
    matrix = (np.array(rows).T @ np.array(rows)).tolist()
    matrix = [[matrix[min(i, j)][max(i, j)] for j in range(3)] for i in range(3)]
    found = statistics.components(matrix)  # asserts its own residual
    assert found["eigenvalues"] == sorted(found["eigenvalues"], reverse=True)
    assert min(found["eigenvalues"]) >= 0
    for vector in np.array(found["eigenvectors"]).T:
        assert vector[np.abs(vector).argmax()] > 0
    assert np.allclose(found["eigenvalues"], np.linalg.eigvalsh(matrix)[::-1], rtol=0,
                       atol=1e-9 * (1 + np.max(matrix)))


def test_the_residual_is_asserted() -> None:
    matrix = statistics.covariance(moments(MIXED))
    found = statistics.components(matrix)
    values, vectors = found["eigenvalues"], found["eigenvectors"]
    with pytest.raises(AssertionError, match="off by"):
        statistics._assert_decomposes(matrix, [values[0] * (1 + 1e-9), *values[1:]], vectors)
    with pytest.raises(AssertionError, match=r"orthonormal|off by"):
        statistics._assert_decomposes(matrix, values, [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (12, 200, 99)])
def test_one_colour_has_no_variance_and_the_unit_vectors(colour: tuple[int, int, int]) -> None:
    found = statistics.components(statistics.covariance(moments(one_colour(*colour))))
    assert found["eigenvalues"] == found["stdevs"] == [0, 0, 0]
    assert found["eigenvectors"] == np.eye(3).tolist()


def test_gray_images_vary_along_the_diagonal_alone() -> None:
    gray = np.repeat(MIXED[..., :1], 3, axis=-1)
    found = statistics.components(statistics.covariance(moments(gray)))
    assert np.allclose([row[0] for row in found["eigenvectors"]], 1 / np.sqrt(3), rtol=1e-12)
    assert found["stdevs"][1:] == pytest.approx([0, 0], abs=1e-5)


def test_known_bits() -> None:
    """Python's floats alone are used, so these hold on every machine."""
    found = statistics.components([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]])
    assert [value.hex() for value in found["eigenvalues"]] == [
        "0x1.2ed1de951cae0p+2", "0x1.31815d2babbe7p+1", "0x1.e1b5cb5435ca6p+0"]


def run_stage(folder: Path, monkeypatch: pytest.MonkeyPatch,
              images: NDArray[np.uint8]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    moments(images).save(STORE / MOMENTS)
    (STORE / DESCRIPTION).write_text("{}")  # a store that says no parameters
    return pca.run(load(ROOT / "params.yaml"))


def test_the_stage_leaves_the_components(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = run_stage(tmp_path, monkeypatch, MIXED)
    written = json.loads(PCA.read_text())
    assert set(written) == {"covariance", "eigenvalues", "eigenvectors", "stdevs", "pixels"}
    assert written["pixels"] == 4 * SIDE**2
    p, values = np.array(written["eigenvectors"]), np.array(written["eigenvalues"])
    # component k in column k
    assert np.allclose(np.array(written["covariance"]) @ p, p * values, rtol=0, atol=1e-9)
    assert [metrics[f"stdev_{k}"] for k in (1, 2, 3)] == written["stdevs"]
    assert metrics["pca_digest"] == statistics.pca_digest(written)
    assert set(metrics) == {"stdev_1", "stdev_2", "stdev_3", "pca_digest"}


def test_the_digest_does_not_depend_on_order_but_on_every_bit(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = run_stage(tmp_path / "a", monkeypatch, MIXED)["pca_digest"]
    assert run_stage(tmp_path / "b", monkeypatch, MIXED[::-1])["pca_digest"] == digest
    changed = MIXED.copy()
    changed[1, 2, 3, 0] ^= 1
    assert run_stage(tmp_path / "c", monkeypatch, changed)["pca_digest"] != digest
    written = json.loads(PCA.read_text())
    before = statistics.pca_digest(written)
    written["eigenvectors"][2][1] = float(np.nextafter(written["eigenvectors"][2][1], 2))
    assert statistics.pca_digest(written) != before


def test_no_training_images_is_told() -> None:
    with pytest.raises(UserError, match="no training images"):
        statistics.covariance(Moments.zero())
