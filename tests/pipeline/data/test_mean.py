"""The mean image is the nearest float32 to the exact quotient, and its digest tells one bit."""

import errno
import resource
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config.parameters import load
from pipeline.config.paths import MEAN, MEAN_PICTURE, STORE
from pipeline.data.moments import Accumulator, Moments
from pipeline.data.pixels import SIDE
from pipeline.data.statistics import mean_digest, mean_image
from pipeline.data.store import DESCRIPTION, MOMENTS
from pipeline.stages import mean
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

IMAGES = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def moments() -> Moments:
    accumulator = Accumulator()
    for image in IMAGES:
        accumulator.add(image)
    return accumulator.moments()


def mean_of(total: int, count: int) -> np.float32:
    sums = np.full((SIDE, SIDE, 3), total, np.int64)
    return np.float32(mean_image(Moments(count, sums, np.zeros((3, 3), np.int64)))[5, 6, 1])


@given(data=st.data(), count=st.integers(1, 2**28 - 1))
def test_the_nearest_float32_to_the_exact_quotient(data: st.DataObject, count: int) -> None:
    total = data.draw(st.integers(0, 255 * count))
    found, exact = mean_of(total, count), Fraction(total, count)
    error = abs(Fraction(float(found)) - exact)
    for neighbour in (np.nextafter(found, np.float32(-1)), np.nextafter(found, np.float32(300))):
        assert error <= abs(Fraction(float(neighbour)) - exact)


def test_without_room_the_systems_own_error_names_the_file(tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    moments().save(STORE / MOMENTS)
    (STORE / DESCRIPTION).write_text("{}")  # a store that says no parameters
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            mean.run(load(ROOT / "params.yaml"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(MEAN))
    assert not list(MEAN.parent.glob("*.npy*"))


def test_the_stage_leaves_the_mean_and_its_picture(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    moments().save(STORE / MOMENTS)
    (STORE / DESCRIPTION).write_text("{}")  # a store that says no parameters
    metrics = mean.run(load(ROOT / "params.yaml"))
    found = np.load(MEAN)
    assert (found.dtype, found.shape) == (np.float32, (SIDE, SIDE, 3))
    reference = IMAGES.astype(np.float64).sum(axis=0) / 3
    assert np.array_equal(found, reference.astype(np.float32))
    with Image.open(MEAN_PICTURE) as picture:
        assert np.array_equal(np.asarray(picture), np.rint(reference).astype(np.uint8))
    assert [metrics[f"mean_{name}"] for name in "rgb"] == pytest.approx(reference.mean(axis=(0, 1)),
                                                                        rel=1e-14)
    assert metrics["mean_digest"] == mean_digest(found)
    assert set(metrics) == {"mean_r", "mean_g", "mean_b", "mean_digest"}
    changed = found.copy()
    changed.view(np.uint32)[3, 4, 2] ^= 1
    assert mean_digest(changed) != metrics["mean_digest"]


def test_no_training_images_is_told() -> None:
    with pytest.raises(UserError, match="no training images"):
        mean_image(Moments.zero())
