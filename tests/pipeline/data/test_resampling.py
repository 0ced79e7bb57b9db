"""Resampling in C is pillow-simd's to the bit, at all sizes; so pixels do not depend on which of the
two is there."""

from __future__ import annotations

import ctypes
import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from alexnet.arithmetic import library
from pipeline.data import pixels, resampling
from pipeline.data.pixels import kept_box
from pipeline.data.resampling import SIMD, Box, resample, resample_in_c
from pipeline.system.errors import UserError
from tests.pipeline.data import decoded

# Of `picture` at these sizes, (height, width, side), from pillow-simd 12.1.1 on x86-64: held to on
# processors that it is not for.
DIGESTS = {
    (375, 500, 256): "49054353ee0038cd",
    (500, 375, 256): "acbdf0a17eab6197",
    (60, 41, 256): "9506705c21abfd1a",
    (3000, 33, 32): "eb392a9720475a75",
    (33, 700, 256): "02119448ded0f3b8",
    (1, 1, 8): "d5accda627b63984",
    (256, 256, 256): "006196b17a75a8b1",
    (1025, 1537, 256): "830c6cae694459e0",
}
needs_simd = pytest.mark.skipif(not SIMD, reason="pillow-simd is not installed: it is for x86-64")


def picture(height: int, width: int, kind: str = "noise", seed: int = 0) -> NDArray[np.uint8]:
    """Noise, the extremes in a chequer of chance, whose overshoots are cut off, or a ramp."""
    random = np.random.Generator(np.random.Philox(key=seed))
    noise = random.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "extremes":
        return np.where(noise > 127, np.uint8(255), np.uint8(0))
    return noise if kind == "noise" else np.sort(noise, axis=1)


def simd(image: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=box))


@needs_simd
@given(height=st.integers(1, 400), width=st.integers(1, 400), side=st.integers(1, 260),
       kind=st.sampled_from(["noise", "extremes", "ramp"]), seed=st.integers(0, 99))
@example(height=1, width=1, side=256, kind="noise", seed=0)
@example(height=1, width=3000, side=1, kind="extremes", seed=0)
@example(height=2500, width=2, side=256, kind="noise", seed=0)
@example(height=257, width=255, side=256, kind="extremes", seed=0)
@example(height=2048, width=2049, side=256, kind="noise", seed=0)
def test_it_is_pillow_simds_to_the_bit(height: int, width: int, side: int, kind: str,
                                       seed: int) -> None:
    image, box = picture(height, width, kind, seed), kept_box(width, height, side)
    assert np.array_equal(resample_in_c(image, box, side), simd(image, box, side))


@needs_simd
@given(data=st.data(), height=st.integers(2, 200), width=st.integers(2, 200),
       side=st.integers(1, 99))
def test_of_any_box_too(data: st.DataObject, height: int, width: int, side: int) -> None:
    def edges(length: int) -> tuple[float, float]:
        start = data.draw(st.floats(0, length - 1))
        return start, data.draw(st.floats(start + 0.5, length))

    (left, right), (top, bottom) = edges(width), edges(height)
    image, box = picture(height, width), (left, top, right, bottom)
    assert np.array_equal(resample_in_c(image, box, side), simd(image, box, side))


@pytest.mark.parametrize("size", DIGESTS, ids=str)
def test_the_bits_are_these_on_every_processor(size: tuple[int, int, int]) -> None:
    height, width, side = size
    image, box = picture(height, width), kept_box(width, height, side)
    found = [resample_in_c(image, box, side), resample(Image.fromarray(image), box, side)]
    assert {hashlib.sha256(one.tobytes()).hexdigest()[:16] for one in found} == {DIGESTS[size]}


ARM, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"


@pytest.mark.skipif(not (shutil.which(ARM) and shutil.which(EMULATOR)),
                    reason=f"needs {ARM} and {EMULATOR}")
def test_an_emulated_processor_has_the_same_bits(tmp_path: Path) -> None:
    flags = [flag for flag in library.FLAGS if flag not in ("-shared", "-fPIC")]
    subprocess.run([ARM, *flags, "-static", "-o", tmp_path / "driven",
                    Path(__file__).with_name("driver.c"),
                    Path(resampling.__file__).with_suffix(".c"), *library.LIBRARIES], check=True)
    asked = b"".join(
        np.array(size, np.int32).tobytes()
        + np.array(kept_box(size[1], size[0], size[2]), np.float32).tobytes()
        + picture(*size[:2]).tobytes() for size in DIGESTS)
    answer = io.BytesIO(subprocess.run([EMULATOR, tmp_path / "driven"], input=asked, check=True,
                                       capture_output=True).stdout)
    for size, digest in DIGESTS.items():
        pixels_there = answer.read(size[2]**2 * 3)
        assert hashlib.sha256(pixels_there).hexdigest()[:16] == digest, size


def test_what_is_made_of_pictures_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    if pixels.decoder()["fingerprint"] != decoded.FINGERPRINT:
        pytest.skip("the JPEG library here decodes to other pixels")
    assert decoded.digest() == decoded.DIGEST

    def one_level_off(image: Image.Image, box: Box, side: int) -> NDArray[np.uint8]:
        result = resample(image, box, side).copy()
        result[0, 0, 0] ^= 1
        return result

    monkeypatch.setattr(pixels, "resample", one_level_off)
    assert decoded.digest() != decoded.DIGEST


@pytest.mark.parametrize(("was", "instead"), [
    ("WEIGHT_BITS = 15", "WEIGHT_BITS = 14"), ("a = -0.5", "a = -0.5000001"),
    ("sum > 255 ? 255", "sum > 255 ? 254"), ("(x - centre + 0.5)", "(x - centre + 0.49999)"),
    ("centre - support + 0.5", "centre - support + 1.5"), ("1 << (axis->shift - 1)", "0")])
def test_other_arithmetic_would_be_seen(was: str, instead: str, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests above."""
    source = Path(resampling.__file__).with_suffix(".c").read_text(encoding="utf-8")
    assert was in source
    (tmp_path / "other.c").write_text(source.replace(was, instead), encoding="utf-8")
    file = library.built((), [tmp_path / "other.c"], folder=tmp_path)
    sizes = [(375, 500, 256), (500, 375, 256)]
    right = [resample_in_c(picture(h, w, "extremes"), kept_box(w, h, s), s) for h, w, s in sizes]
    monkeypatch.setattr(resampling, "_compiled", lambda: _of(file))
    found = [resample_in_c(picture(h, w, "extremes"), kept_box(w, h, s), s) for h, w, s in sizes]
    assert not all(map(np.array_equal, right, found))


def _of(file: Path) -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(str(file)).alexnet_resample
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int,
                         ctypes.c_void_p]
    return function


@needs_simd
def test_without_pillow_simd_pictures_have_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pixels.decoder()
    pixels.decoder.cache_clear()
    monkeypatch.setattr(resampling, "SIMD", False)
    monkeypatch.setattr(pixels, "SIMD", False)
    called = []

    def counted(image: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
        called.append(box)
        return resample_in_c(image, box, side)

    monkeypatch.setattr(resampling, "resample_in_c", counted)
    after = pixels.decoder()
    pixels.decoder.cache_clear()
    assert len(called) == len(pixels.REFERENCES)
    assert after["fingerprint"] == before["fingerprint"]
    assert after["library"] == f"{before['library'].replace('pillow-simd', 'Pillow')} (resampling in C)"


def test_without_a_compiler_the_message_says_what_to_install(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> Path:
        raise library.LibraryError("no C compiler was found. Install one")

    resampling._compiled.cache_clear()
    monkeypatch.setattr(library, "built", none)
    with pytest.raises(UserError, match=r"is not pillow-simd.*no C compiler was found"):
        resample_in_c(picture(9, 9), kept_box(9, 9), 256)
