"""What is to be doubted of a JPEG that can be decoded: what libjpeg itself warns of, which Pillow
does not pass on; and what would take too long."""

from __future__ import annotations

import io
import random
import struct
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import jpeg
from pipeline.data.jpeg import ENDS_EARLY, LACKS_SCANS, LEFT_OVER, read_header
from pipeline.data.pixels import PIXEL_LIMIT, Undecodable, decode, decode_checked


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A ramp with noise, so that every block has something to say."""
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    ramp = np.linspace(0, 190, width)[None, :, None] + np.zeros((height, 1, 1))
    return np.asarray(ramp + noise, np.uint8)


def encoded(image: NDArray[np.uint8], **how: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **how)
    return stream.getvalue()


WHOLE = encoded(picture(240, 320))
PROGRESSIVE = encoded(picture(240, 320), progressive=True)
SCAN = WHOLE.index(b"\xff\xda") + 14  # where its data begin


def plain(content: bytes) -> NDArray[np.uint8]:
    """As Pillow decodes it without our blocks, of full size."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


@given(height=st.integers(1, 70), width=st.integers(1, 70), quality=st.integers(1, 100),
       subsampling=st.integers(0, 2), gray=st.booleans(), optimize=st.booleans(),
       progressive=st.booleans(), restarts=st.integers(0, 3), flat=st.booleans(),
       tail=st.binary(max_size=40))
def test_of_a_whole_picture_nothing_is_doubted(
        height: int, width: int, quality: int, subsampling: int, gray: bool, optimize: bool,
        progressive: bool, restarts: int, flat: bool, tail: bytes) -> None:
    image = np.full((height, width, 3), 77, np.uint8) if flat else picture(height, width)
    content = encoded(image[..., 0] if gray else image, quality=quality, subsampling=subsampling,
                      optimize=optimize, progressive=progressive,
                      restart_marker_blocks=restarts) + tail
    file = jpeg.JpegFile(content, read_header(content))
    file.load()
    assert np.array_equal(file.convert("RGB"), plain(content))
    assert decode_checked(content, 8)[1] == ""


@pytest.mark.parametrize("mode", ["CMYK", "RGB kept"])
def test_other_colours_too(mode: str) -> None:
    stream = io.BytesIO()
    image = Image.fromarray(picture(60, 80))
    if mode == "CMYK":
        image.convert("CMYK").save(stream, "JPEG")
    else:
        image.save(stream, "JPEG", keep_rgb=True)
    content = stream.getvalue()
    file = jpeg.JpegFile(content, read_header(content))
    file.load()
    assert np.array_equal(file.convert("RGB"), plain(content))
    assert file.doubt == ""


@pytest.mark.parametrize("cut", [20, 300, 5000])
def test_data_that_end_early_are_doubted_and_give_pillows_pixels(cut: int) -> None:
    content = WHOLE[:-2 - cut] + b"\xff\xd9"
    image, doubt = decode_checked(content)
    assert doubt == ENDS_EARLY
    stream = io.BytesIO()
    Image.fromarray(plain(content)).save(stream, "PNG")
    assert np.array_equal(image, decode(stream.getvalue()))


@pytest.mark.parametrize("more", [12, 60, 5000])
def test_data_that_are_left_over_are_doubted(more: int) -> None:
    content = WHOLE[:-2] + b"\x55" * more + b"\xff\xd9"
    image, doubt = decode_checked(content)
    assert doubt == LEFT_OVER
    assert np.array_equal(image, decode(WHOLE))


def test_many_a_flipped_bit_is_seen() -> None:
    """Not each: most change a value and nothing else, which nobody can know."""
    draw, seen, tried = random.Random(1), 0, 0
    for _ in range(200):
        content = bytearray(WHOLE)
        at = draw.randrange(SCAN, len(content) - 10)
        content[at] ^= 1 << draw.randrange(8)
        if 0xFF in (content[at - 1], content[at], WHOLE[at]):
            continue
        tried += 1
        seen += decode_checked(bytes(content))[1] != ""
    assert tried / 20 < seen < tried  # libjpeg warns of one in six of ImageNet's


@pytest.mark.parametrize("scans", [1, 3, 6, 9])
def test_scans_that_lack_are_doubted(scans: int) -> None:
    starts = [at for at in range(len(PROGRESSIVE)) if PROGRESSIVE[at: at + 2] == b"\xff\xda"]
    assert len(starts) == 10
    header = read_header(PROGRESSIVE)
    assert header is not None
    assert jpeg.scans_in(PROGRESSIVE, header) == 10
    content = PROGRESSIVE[:starts[scans]] + b"\xff\xd9"
    assert decode_checked(content)[1] == LACKS_SCANS
    assert decode_checked(PROGRESSIVE)[1] == ""


def test_the_header_is_read() -> None:
    assert read_header(WHOLE) == jpeg.Header(0xC0, 8, 3, SCAN - 14, 3)
    for content in (b"", b"\xff\xd8\xff", WHOLE[:100], b"\xff\xd8" + bytes(100), b"\xff" * 100):
        assert read_header(content) is None


@given(st.binary(max_size=300))
def test_any_bytes_have_a_header_or_none(content: bytes) -> None:
    header = read_header(b"\xff\xd8" + content)
    if header:
        jpeg.lacks_scans(b"\xff\xd8" + content, header)


def changed(content: bytes, marker: bytes, at: int, value: int) -> bytes:
    """With this byte after the marker another."""
    place = content.index(marker) + at
    return content[:place] + bytes([value]) + content[place + 1:]


@pytest.mark.parametrize(("content", "reason"), [
    (changed(WHOLE, b"\xff\xc0", 4, 12), "a 12-bit JPEG"),
    (changed(WHOLE, b"\xff\xc0", 1, 0xC3), "a lossless or arithmetic-coded JPEG"),
    (changed(WHOLE, b"\xff\xc0", 1, 0xC9), "a lossless or arithmetic-coded JPEG"),
    (WHOLE[:2] + b"\xff\xfe\0\3x" * 20_000 + WHOLE[2:], "more than 10000 segments"),
])
def test_what_is_rare_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=f"^{reason}$"):
        decode(content)


def test_scans_after_a_whole_one_are_refused_in_no_time() -> None:
    content = WHOLE[:-2] + WHOLE[SCAN - 14:-2] * 1000 + b"\xff\xd9"
    before = time.process_time()
    with pytest.raises(Undecodable, match="broken data"):
        decode(content)
    assert time.process_time() - before < 0.5


def test_thousands_of_scans_meet_a_limit() -> None:
    """0.85 MB of scans that refine the same bit took seven seconds."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    content = PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * 300 + b"\xff\xd9"
    before = time.process_time()
    with pytest.raises(Undecodable, match=r"^a JPEG of 310 scans, which takes long$"):
        decode(content)
    assert time.process_time() - before < 0.5
    many = PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * 50 + b"\xff\xd9"
    decode(many)
    frame = many.index(b"\xff\xc2")
    large = many[:frame + 5] + struct.pack(">HH", 10_000, PIXEL_LIMIT // 10_000) + many[frame + 9:]
    with pytest.raises(Undecodable, match=r"^a JPEG of 60 scans, which takes long$"):
        decode(large)
