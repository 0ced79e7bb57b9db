"""Decoding: geometry against a slow reference and against a full resize, every odd kind of file,
every broken one."""

import io
import re
import struct
import time
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from pipeline.data import pixels
from pipeline.data.pixels import (
    SIDE,
    Undecodable,
    area_average,
    decode,
    decode_stored,
    decoder,
    encode_stored,
    kept_box,
)


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Ramps with some noise: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 32, (height, width, 3))
    ramps = np.stack([200 * x / width, 200 * y / height, 100 + 100 * np.sin((x + y) / 9)], axis=-1)
    return (ramps + noise).astype(np.uint8)


def encoded(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray)
     else image).save(stream, kind, **options)
    return stream.getvalue()


def full_resize_and_crop(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What torchvision's Resize(256, BICUBIC) and CenterCrop(256) do, step by step."""
    height, width = image.shape[:2]
    size = ((SIDE, int(SIDE * height / width)) if width <= height
            else (int(SIDE * width / height), SIDE))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - SIDE) / 2.0), round((size[1] - SIDE) / 2.0)
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def bicubic_weights(length: int, start: float, stop: float) -> NDArray[np.float64]:
    """[256, length]: Keys's cubic with a = -0.5, widened when it reduces, in float64."""
    scale = (stop - start) / SIDE
    widening = max(scale, 1.0)
    centres = start + (np.arange(SIDE) + 0.5) * scale
    x = np.abs((np.arange(length) + 0.5 - centres[:, None]) / widening)
    weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1,
                       np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
    return weights / weights.sum(axis=1, keepdims=True)


@settings(max_examples=25)
@given(width=st.integers(1, 700), height=st.integers(1, 700), seed=st.integers(0, 99))
def test_same_pixels_as_a_full_resize_and_crop(width: int, height: int, seed: int) -> None:
    image = picture(width, height, seed)
    assert psnr(decode(encoded(image)), full_resize_and_crop(image)) >= 55


def test_a_crop_one_pixel_aside_is_told_from_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(500, 375)
    monkeypatch.setattr(pixels, "kept_box", lambda *_: tuple(x + 1 for x in kept_box(499, 374)))
    assert psnr(decode(encoded(image)), full_resize_and_crop(image)) < 55


@pytest.mark.parametrize(("width", "height"), [(300, 500), (500, 375), (90, 61), (33, 500)])
def test_within_a_level_of_slow_float64_arithmetic(width: int, height: int) -> None:
    image = picture(width, height)
    left, top, right, bottom = kept_box(width, height)
    across = np.einsum("xw,hwc->hxc", bicubic_weights(width, left, right), image.astype(np.float64))
    across = np.rint(across).clip(0, 255)  # Pillow has 8 bits between its two passes
    exact = np.einsum("yh,hxc->yxc", bicubic_weights(height, top, bottom), across).clip(0, 255)
    error = np.abs(decode(encoded(image)) - exact)
    assert error.mean() <= 0.26  # rounding alone has 0.25
    assert error.max() <= 1.5


@given(width=st.integers(1, 70_000), height=st.integers(1, 70_000))
def test_the_kept_box_is_a_square_within_the_image(width: int, height: int) -> None:
    left, top, right, bottom = (float(np.float32(x)) for x in kept_box(width, height))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    side = min(width, height)
    # the longer side's rounding: one in 256
    assert min(right - left, bottom - top) == pytest.approx(side, rel=0.005)
    assert max(right - left, bottom - top) == pytest.approx(side, rel=0.005)
    assert abs(left + right - width) <= 1.02 * max(side / SIDE, 1)
    assert abs(top + bottom - height) <= 1.02 * max(side / SIDE, 1)


def test_a_shorter_side_of_256_is_only_cropped() -> None:
    image = picture(301, SIDE)  # 45 / 2 columns to the left: halves go to even, as in torchvision
    assert np.array_equal(decode(encoded(image)), image[:, 22:278])
    lying = np.ascontiguousarray(image.transpose(1, 0, 2))
    assert np.array_equal(decode(encoded(lying)), lying[22:278])


@pytest.mark.parametrize(("width", "height"),
                         [(1, 1), (2, 3), (1, 4000), (4000, 1), (2000, 33), (255, 255)])
def test_small_and_long_pictures_fill_the_square(width: int, height: int) -> None:
    assert (decode(encoded(np.full((height, width, 3), 77, np.uint8))).tolist()
            == [[[77] * 3] * SIDE] * SIDE)


def shares(length: int, shorter: int, side: int) -> list[list[Fraction]]:
    """[side][length]: how much of each of the kept windows a pixel covers, as C2 pyext.cpp lays
    them out: the longer side rounded to the nearest, the crop at (resized - side) / 2, cut off."""
    resized = int(Fraction(side * length, shorter) + Fraction(1, 2))
    size = Fraction(length, resized)
    starts = [(k + (resized - side) // 2) * size for k in range(side)]
    return [[max(min(start + size, pixel + 1) - max(start, pixel), Fraction(0)) / size
             for pixel in range(length)] for start in starts]


@settings(max_examples=30, deadline=None)
@given(height=st.integers(4, 23), width=st.integers(4, 23), seed=st.integers(0, 99))
def test_area_is_the_exact_mean_of_what_a_pixel_covers(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    down, across = (shares(length, min(height, width), 4) for length in (height, width))
    expected = [[[int(Fraction(1, 2) + sum(rows * columns * int(value) for rows, row
                                           in zip(down[i], image[..., c].tolist(), strict=True)
                                           if rows
                                           for columns, value in zip(across[j], row, strict=True)))
                  for c in range(3)] for j in range(4)] for i in range(4)]
    actual = area_average(image, 4)
    assert actual.dtype == np.uint8
    assert actual.tolist() == expected
    brighter = image.copy()
    brighter[height // 2, width // 2] ^= 255
    assert area_average(brighter, 4).tolist() != expected


def test_area_rounds_the_longer_side_where_bicubic_cuts_it_off() -> None:
    """C2 makes 387 columns of 500 where torchvision makes 386 (386.7); both keep 256 from the 65th
    on."""
    image = picture(500, 331)
    expected = area_average(image)
    assert np.array_equal(decode(encoded(image), filter="area"), expected)
    x, edges = np.arange(500), (65 + np.arange(257)) * 500 / 387
    window = np.clip(np.minimum(edges[1:, None], x + 1) - np.maximum(edges[:-1, None], x), 0, None)
    rows, edges = np.arange(331), np.arange(257) * 331 / 256
    down = np.clip(np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows), 0,
                   None)
    exact = np.einsum("ay,yxc,bx->abc", down, image.astype(np.float64), window, optimize=True)
    exact /= 500 / 387 * 331 / 256
    assert np.abs(expected - exact).max() <= 0.5 + 1e-9
    assert 1 < np.abs(expected - decode(encoded(image)).astype(float)).mean() < 10


@pytest.mark.parametrize(("width", "height"), [(200, 300), (300, 255), (1, 1)])
def test_area_enlarges_as_bicubic_does(width: int, height: int) -> None:
    content = encoded(picture(width, height))
    assert np.array_equal(decode(content, filter="area"), decode(content))


def test_area_keeps_a_picture_of_the_right_size_as_it_is() -> None:
    image = picture(301, SIDE)
    assert np.array_equal(decode(encoded(image), filter="area"), image[:, 22:278])
    assert area_average(np.full((4000, 256, 3), 77, np.uint8)).tolist() == [[[77] * 3] * SIDE] * SIDE


@pytest.mark.parametrize(("width", "height"), [(500, 331), (280, 600), (100, 300)])
def test_squash_keeps_the_whole_picture(width: int, height: int) -> None:
    image = picture(width, height)
    expected = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    actual = decode(encoded(image), mode="squash")
    assert np.abs(actual.astype(int) - expected).max() <= 1
    assert np.abs(decode(encoded(image)).astype(int) - expected).max() > 8
    square = picture(400, 400)
    assert np.array_equal(decode(encoded(square), mode="squash"), decode(encoded(square)))


def test_squash_by_area_is_the_exact_mean() -> None:
    image = picture(500, 331)
    down, across = (np.array([[float(share) for share in row] for row in shares(length, length, 4)])
                    for length in (331, 500))
    exact = np.einsum("ay,yxc,bx->abc", down, image.astype(np.float64), across)
    assert np.abs(area_average(image, 4, "squash") - exact).max() <= 0.5 + 1e-9
    assert np.abs(area_average(image, 4) - exact).max() > 2
    content = encoded(image)
    assert np.array_equal(decode(content, filter="area", mode="squash"),
                          area_average(image, SIDE, "squash"))


GRAY = picture(300, 280)[..., 0]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGB", "RGBA"])
def test_every_kind_of_png_equals_its_rgb_version(mode: str) -> None:
    image = Image.fromarray(GRAY).convert(mode)
    assert np.array_equal(decode(encoded(image)), decode(encoded(image.convert("RGB"))))


def test_transparency_is_dropped_not_painted() -> None:
    rgb = picture(280, 300)
    rgba = np.concatenate([rgb, np.zeros((300, 280, 1), np.uint8)], axis=-1)
    assert np.array_equal(decode(encoded(rgba)), decode(encoded(rgb)))
    palette = Image.fromarray(rgb).quantize(16)
    assert np.array_equal(decode(encoded(palette, transparency=bytes(16))),
                          decode(encoded(palette)))


def test_sixteen_bits_keep_the_upper_eight() -> None:
    deep = GRAY.astype(np.uint16) << 8 | 0xFF
    assert np.array_equal(decode(encoded(Image.fromarray(deep))), decode(encoded(GRAY)))
    pgm = b"P5 300 280 65535 " + deep.astype(">u2").tobytes()
    assert np.array_equal(decode(pgm), decode(encoded(GRAY)))


def test_cmyk_is_converted_and_the_name_does_not_count() -> None:
    cmyk = Image.fromarray(picture(300, 280)).convert("CMYK")
    content = encoded(cmyk, "JPEG", quality=95)
    reference = Image.open(io.BytesIO(content)).convert("RGB")
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    assert np.array_equal(decode(content), decode(encoded(reference)))
    # not the negative of the picture
    assert psnr(decode(content), full_resize_and_crop(picture(300, 280))) > 25


def test_exif_rotation_is_not_applied() -> None:
    image = Image.fromarray(picture(300, 280))
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    assert np.array_equal(decode(encoded(image, "JPEG", exif=exif)), decode(encoded(image, "JPEG")))


def test_corrupt_exif_and_other_oddities_say_nothing(capfd: pytest.CaptureFixture[str],
                                                     recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(picture(300, 280))
    corrupt = b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 40
    assert np.array_equal(decode(encoded(image, "JPEG", exif=corrupt)),
                          decode(encoded(image, "JPEG")))
    decode(encoded(image.quantize(8), transparency=bytes(8)))
    wide = Image.new("1", (10_000, 9_000))  # beyond Pillow's warning, below its error
    decode(encoded(wide))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def chunk(kind: bytes, content: bytes) -> bytes:
    return (struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content)))


def png_header(width: int, height: int) -> bytes:
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR",
                                         struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))))


JPEG = encoded(picture(320, 300), "JPEG")
UNKNOWN = "not a picture of a known format"
APPLE = "AppleDouble, what macOS knows of another file"


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty"),
    (b"<html>404</html>" * 50, f"{UNKNOWN}, but an HTML page"),
    (JPEG[:5000], "truncated"),
    (JPEG[:-500], "truncated"),
    (encoded(picture(320, 300))[:-5000], "truncated"),
    (png_header(300, 300), "truncated"),
    (png_header(13_000, 13_000), "more than 150000000 pixels"),
    (png_header(100_000, 100_000), "more than 150000000 pixels"),
    (b"Pf 2 2 -1.0\n" + bytes(16), "floating-point pixels"),
    (b"\xff\xd8\xff\x02 nonsense", f"{UNKNOWN}, but a JPEG with a broken header"),
    (JPEG + bytes(pixels.BYTE_LIMIT), "more than 67108864 bytes"),
    (encoded(picture(9, 9), "GIF") + bytes(pixels.GIF_BYTE_LIMIT), "more than 8388608 bytes"),
    *((encoded(picture(16, 16), kind), UNKNOWN) for kind in ("DDS", "DIB", "IM", "PCX", "QOI",
                                                             "SGI")),
    *((encoded(picture(16, 16), kind), f"{UNKNOWN}, but {name}") for kind, name in (
        ("ICO", "an icon (ICO)"), ("PDF", "PDF"), ("EPS", "PostScript"), ("TGA", "TGA"), ("TIFF", "TIFF"))),
    *((magic + bytes(200), UNKNOWN + (name and f", but {name}")) for magic, name in (
        (b"RIFF\xc8\0\0\0WEBPVP8 ", "WebP"), (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x1cftypavif", "AVIF"), (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"\0\0\0\x1cftypisom", "a video (MP4)"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "XML"), (b"SIMPLE  =", ""),
        (b"\x89HDF\r\n\x1a\n", ""), (b"/* XPM */", ""), (b"\0\5\x16\7\0\2\0\0Mac OS X", APPLE),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"\n <!DOCTYPE html>", "an HTML page"), (b'{"error": 404}', "JSON"),
        (b"\x1f\x8b\x08", "gzip"), (b"PK\3\4", "a zip archive"), (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"))),
    (b"/annex/objects/SHA256E-s100--0123.jpg\n", f"{UNKNOWN}, but a git-annex pointer"),
    (bytes(4096), f"{UNKNOWN}, but nothing but zero bytes"), (b"404 not found\n", f"{UNKNOWN}, but text"),
    (b"\xef\xbb\xbf" + JPEG, f"{UNKNOWN}, but a JPEG after bytes that do not belong to it"),
])
def test_what_cannot_be_decoded_has_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(Undecodable) as raised:
        decode(content)
    assert str(raised.value) == reason


def with_chunk(kind: bytes, content: bytes) -> bytes:
    whole = encoded(picture(64, 64))
    return whole[:33] + chunk(kind, content) + whole[33:]


def exif(entries: int, size: int) -> bytes:
    """A directory of which every entry has the same `size` bytes: read one by one they are entries
    * size."""
    table = b"".join(struct.pack("<HHII", tag, 7, size, 10 + 12 * entries)
                     for tag in range(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + table + bytes(4 + size)


def with_exif(content: bytes) -> bytes:
    parts = [b"Exif\0\0" + content[k: k + 65_000] for k in range(0, len(content), 65_000)]
    after = 4 + int.from_bytes(JPEG[4:6], "big")  # without JFIF, which would tell the resolution
    return JPEG[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
                               for part in parts) + JPEG[after:]


BOMB = zlib.compress(bytes(1 << 26))


@pytest.mark.parametrize(("content", "reason"),
                         [(with_chunk(b"zTXt", b"a\0\0" + BOMB), "broken data"),
                          (with_chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB), "broken data"),
                          (with_chunk(b"iCCP", b"a\0\0" + BOMB), "broken data"),
                          (with_chunk(b"tEXt", b"a\0" + bytes(1 << 20)), None),
                          (with_chunk(b"eXIf", exif(20_000, 50_000)), None),
                          (with_exif(exif(20_000, 50_000)), None),
                          (with_exif(exif(5000, 50_000)) + bytes(1 << 20), None)])
def test_hostile_metadata_take_neither_memory_nor_time(content: bytes, reason: str | None) -> None:
    start = time.process_time()
    tracemalloc.start()
    try:
        if reason is None:
            decode(content)
        else:
            with pytest.raises(Undecodable, match=reason):
                decode(content)
        # a directory's entries would be a gigabyte
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


def test_of_several_jpegs_in_one_file_the_first_is_taken() -> None:
    first, second = (Image.fromarray(picture(300, 280, seed)) for seed in (1, 2))
    assert np.array_equal(decode(encoded(first, "MPO", save_all=True, append_images=[second])),
                          decode(encoded(first, "JPEG")))


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(content: bytes) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(pixels, "_rgb", exhausted)
    with pytest.raises(MemoryError):
        decode(JPEG)


@settings(max_examples=100)
@given(cut=st.integers(0, len(JPEG)), position=st.integers(0, len(JPEG) - 1),
       value=st.integers(0, 255))
def test_damage_of_any_kind_is_decoded_or_undecodable(cut: int, position: int, value: int) -> None:
    damaged = bytearray(JPEG)
    damaged[position] = value
    for content in (bytes(damaged), JPEG[:cut]):
        try:
            image = decode(content)
        except Undecodable:
            continue
        assert (image.shape, image.dtype) == ((SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(("function", "changed"),
                         [("decode", {"fingerprint"}), ("decode_stored", {"jpeg"})])
def test_the_decoder_is_told_from_one_that_differs_in_one_bit(
        monkeypatch: pytest.MonkeyPatch, function: str, changed: set[str]) -> None:
    here = decoder()
    assert here == decoder.__wrapped__()
    assert set(here) == {"library", "libjpeg", "fingerprint", "jpeg"}

    def one_bit_off(content: bytes) -> NDArray[np.uint8]:
        image = original(content).copy()
        image[20, 20, 1] ^= 1
        return image

    original = getattr(pixels, function)
    monkeypatch.setattr(pixels, function, one_bit_off)
    assert {name for name, value in decoder.__wrapped__().items() if value != here[name]} == changed


def test_another_filter_or_decoder_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reference picture counts: each alone, decoded at half its resolution, changes it."""
    here = decoder()["fingerprint"]
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, size, _, box: resize(
        image, size, Image.Resampling.LANCZOS, box))
    assert decoder.__wrapped__()["fingerprint"] != here
    monkeypatch.undo()
    original = pixels._rgb
    for picture in pixels.reference_pictures().values():
        monkeypatch.setattr(pixels, "_rgb", lambda content, own=picture: (
            original(content)[0].reduce(2 if content == own else 1), ""))
        assert decoder.__wrapped__()["fingerprint"] != here
    monkeypatch.setattr(pixels, "_rgb", original)
    assert decoder.__wrapped__()["fingerprint"] == here


def test_the_reference_pictures_are_what_they_say() -> None:
    found, pictures = {}, pixels.reference_pictures()
    with Image.open(io.BytesIO(pictures.pop("ramps.png"))) as ramps:
        y, x = np.mgrid[0:311, 0:463]
        assert np.array_equal(ramps, np.stack([x * 7, y * 11, x * y], -1).astype(np.uint8))
    for kind, content in pictures.items():
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.size) == ("JPEG", (37, 29))
        sampling = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0",
                    -1: None}[JpegImagePlugin.get_sampling(image)]
        found[kind] = (image.mode, sampling, "progressive" in image.info)
    assert found == {
        "420.jpg": ("RGB", "4:2:0", False), "422.jpg": ("RGB", "4:2:2", False),
        "444.jpg": ("RGB", "4:4:4", False), "progressive.jpg": ("RGB", "4:2:0", True),
        "gray.jpg": ("L", None, False), "cmyk.jpg": ("CMYK", found["cmyk.jpg"][1], False)}


def test_the_readme_says_of_each_reference_picture_what_it_is_for() -> None:
    readme = (Path(pixels.__file__).with_name("reference") / "README.md").read_text()
    assert re.findall(r"^\| `(\S+)` \|", readme, re.M) == [*pixels.reference_pictures()]


def test_a_stored_jpeg_is_of_quality_95_with_halved_colour() -> None:
    image = picture(256, 256)
    content = encode_stored(image)
    assert content == encoded(image, "JPEG", quality=95, subsampling=2)
    assert np.array_equal(decode_stored(content), np.asarray(Image.open(io.BytesIO(content))))
    assert psnr(decode_stored(content), image) > 30
    for broken, reason in ((content[:3000], "truncated"),
                           (b"no", "broken data"), (encoded(image), "broken data"),
                           (encoded(picture(257, 256), "JPEG"), "broken data")):
        with pytest.raises(Undecodable, match=reason):
            decode_stored(broken)
