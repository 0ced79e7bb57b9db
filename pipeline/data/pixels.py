"""From the bytes of a picture file to the 256x256 pixels that the network's crops are cut from
(32x32 for CIFAR-10).

`decode` yields uint8 [256, 256, 3], RGB: "we first rescaled the image such that the shorter side
was of length 256, and then cropped out the central 256×256 patch" (P §2). The filter is Pillow's
bicubic, or `area_average`, which is exact; only what the crop keeps is resampled. Both are the same
to the bit everywhere; JPEG decoders need not agree. `decoder` says which library it was, with a
fingerprint of its pixels.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError, features

from pipeline.data import formats, jpeg
from pipeline.data.jpeg import JpegFile
from pipeline.data.resampling import SIMD, resample

SIDE = 256
PIXEL_LIMIT = 150_000_000  # pixels of one picture; ImageNet's largest has some 60 million
BYTE_LIMIT = 1 << 26  # of one picture's file; ImageNet's largest has some 15 million
# Pillow takes time with the square of a GIF's comments: of 8 MB, some seconds
GIF_BYTE_LIMIT = 1 << 23
SCAN_LIMIT = 100  # of a JPEG; a progressive one has some ten
SCANNED_LIMIT = 10 * PIXEL_LIMIT  # pixels times scans: some ten seconds
SAVE_ANEW = "save it anew with a picture editor"
FORMATS = ("PNG", "GIF", "BMP", "PPM")  # besides JPEG; by content, not by name
Filter = Literal["bicubic", "area"]
Mode = Literal["centre", "squash"]

REFERENCES = ("420.jpg", "422.jpg", "444.jpg", "progressive.jpg", "gray.jpg", "cmyk.jpg",
              "ramps.png")

# it logs corrupt EXIF, which nothing here reads
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class Undecodable(Exception):
    """These bytes are no usable picture.

    Attributes:
        reason: why, in a few words.
        fix: what makes a picture of them.
    """

    def __init__(self, reason: str, fix: str = formats.FETCH) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


def decode(content: bytes, side: int = SIDE, filter: Filter = "bicubic",
           mode: Mode = "centre") -> NDArray[np.uint8]:
    """Return the central square of a picture, resampled to side x side, 256x256 in the paper; with
    the mode `squash` the whole picture, its aspect lost, as Caffe's and Theano's ports have it.

    The kept square is the one that torchvision's `Resize(256, BICUBIC)` and `CenterCrop(256)` keep;
    see `kept_box`. Colours are as Pillow's `convert("RGB")` makes them, as in 2012: grayscale is
    repeated, a palette looked up, CMYK converted without a profile, an alpha channel dropped. Of 16
    bits the upper 8 are kept. EXIF rotation is not applied, as in 2012. A shorter side is enlarged.
    Of several frames the first is taken. With the filter `area` the kept square is that of
    `area_average`; what is shorter than `side` is enlarged as with `bicubic`.

    Returns:
        uint8 [side, side, 3], RGB, 0..255.

    Raises:
        Undecodable: not a picture of a known format, truncated, broken, of more than 150 million
            pixels, or of more than 64 MiB.
    """
    return decode_checked(content, side, filter, mode)[0]


def decode_checked(content: bytes, side: int = SIDE, filter: Filter = "bicubic",
                   mode: Mode = "centre") -> tuple[NDArray[np.uint8], str]:
    """Return what `decode` does, and why the pixels are perhaps not those of the picture: a JPEG
    that is damaged can often be decoded, somehow. Empty where nothing is known against them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image, doubt = _rgb(content)
        except (Undecodable, MemoryError):  # running out of memory is no property of the picture
            raise
        except UnidentifiedImageError:
            raise _unidentified(content) from None
        except Image.DecompressionBombError:
            raise _too_large() from None
        except Exception as error:
            # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise Undecodable("truncated" if "truncated" in str(error).lower()
                              else "broken data") from None
    if filter == "area" and min(image.size) >= side:
        return area_average(np.asarray(image), side, mode), doubt
    whole = 0.0, 0.0, float(image.width), float(image.height)
    box = whole if mode == "squash" else kept_box(*image.size, side)
    return resample(image, box, side), doubt


def _unidentified(content: bytes) -> Undecodable:
    if not content:
        return Undecodable("empty")
    name, fix = formats.identify(content)
    return Undecodable("not a picture of a known format" + (f", but {name}" if name else ""), fix)


def _too_large() -> Undecodable:
    return Undecodable(f"more than {PIXEL_LIMIT} pixels", "reduce it")


def _rgb(content: bytes) -> tuple[Image.Image, str]:
    """Return the whole picture in RGB, and a reason to doubt it, or ""."""
    limit = GIF_BYTE_LIMIT if content[:4] == b"GIF8" else BYTE_LIMIT
    if len(content) > limit:
        raise Undecodable(f"more than {limit} bytes", "save it anew, smaller")
    if content[:3] == b"\xff\xd8\xff":
        image, doubt = _jpeg(content)
    else:
        image, doubt = _other(content), ""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise Undecodable("floating-point pixels", formats.CONVERT)
    # convert() would copy it
    return (image if image.mode == "RGB" else image.convert("RGB")), doubt


def _other(content: bytes) -> Image.Image:
    if content[:2] == b"BM" and content[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        raise Undecodable("a run-length BMP, which pillow-simd decodes to wrong pixels",
                          formats.CONVERT)
    file = Image.open(io.BytesIO(content), formats=FORMATS)
    assert isinstance(file, ImageFile.ImageFile)
    _check_pixels(file)
    # all at once, not in blocks of 64 KB that are joined again
    file.decodermaxblock = len(content)
    file.load()
    return file


def _jpeg(content: bytes) -> tuple[Image.Image, str]:
    try:
        header = jpeg.read_header(content)
    except jpeg.ManySegments:
        raise Undecodable(f"more than {jpeg.SEGMENT_LIMIT} segments", SAVE_ANEW) from None
    if header and header.precision != 8:
        raise Undecodable(f"a {header.precision}-bit JPEG", formats.CONVERT)
    if header and header.coding not in (*jpeg.BASELINE, jpeg.PROGRESSIVE):
        raise Undecodable("a lossless or arithmetic-coded JPEG", formats.CONVERT)
    try:
        file = jpeg.JpegFile(content, header)
        _check_pixels(file)
        scans = jpeg.scans_in(content, header) if header else 1
        if scans > SCAN_LIMIT or scans * file.width * file.height > SCANNED_LIMIT:
            raise Undecodable(f"a JPEG of {scans} scans, which takes long", SAVE_ANEW)
        file.load()
    except SyntaxError:
        raise UnidentifiedImageError from None
    doubt = file.doubt
    if doubt == jpeg.ENDS_EARLY:  # again, as libjpeg would have it without the blocks' bytes
        file = jpeg.JpegFile(content)
        file.load()
    if header and header.coding == jpeg.PROGRESSIVE and jpeg.lacks_scans(content, header):
        doubt = jpeg.LACKS_SCANS
    return file, doubt


def _check_pixels(file: Image.Image) -> None:
    if file.width * file.height > PIXEL_LIMIT:  # before anything is decompressed
        raise _too_large()


def kept_box(width: int, height: int, side: int = SIDE) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of what the central crop keeps, in pixels of the original.

    The shorter side goes to 256 (`side`) and the longer to the integer below 256 * longer /
    shorter, of which the crop begins at round((longer - 256) / 2), halves to even. Those two
    roundings are torchvision's. The box is that crop brought back to the original, so that
    resampling the box alone gives the same pixels, save that Pillow keeps a box in float32, which
    moves some values by one level.
    """
    shorter, longer = min(width, height), max(width, height)
    resized = int(side * longer / shorter)
    first = round((resized - side) / 2)
    start, stop = first * longer / resized, (first + side) * longer / resized
    return (0.0, start, width, stop) if height > width else (start, 0.0, stop, height)


def area_average(image: NDArray[np.uint8], side: int = SIDE,
                 mode: Mode = "centre") -> NDArray[np.uint8]:
    """Return the central square of a picture that is reduced by averaging, to the bit everywhere.

    A pixel of the result is the mean of the rectangle that it covers, in which a pixel at the edge
    counts by its share; the mean is rounded to the nearest level, halves up, in whole numbers. The
    longer side is rounded to the nearest, halves up, and (longer - side) // 2 pixels are cut off at
    its beginning: C2 pyext.cpp, whose INTER_AREA rounds in float32.

    Args:
        image: uint8 [height, width, channels], neither side shorter than `side`.
        side: of the result, in pixels.
        mode: `squash` takes the whole picture; then nothing is cut off.
    """
    shorter, total = min(image.shape[:2]), image.shape[0] * image.shape[1]
    edges = [_window_edges(length, length if mode == "squash" else shorter, side)
             for length in image.shape[:2]]
    rows, columns = (slice(pixels[0], pixels[-1] + 1) for pixels, _, _ in edges)
    sums: NDArray[Any] = image[rows, columns]
    for axis, (pixels, parts, units) in enumerate(edges):
        sums = _window_sums(sums, axis, pixels - pixels[0], parts, units)
    result: NDArray[np.uint8] = ((2 * sums + total) // (2 * total)).astype(np.uint8)
    return result


def _window_edges(length: int, shorter: int,
                  side: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return where the windows of the pixels that are kept begin and end along an axis, exactly.

    Returns:
        int64 [side + 1], the pixel that an edge lies in; int64 [side + 1], how many of its units
        lie before the edge; and into how many units a pixel is divided, so that edges are whole.
    """
    units = (2 * side * length + shorter) // (2 * shorter)  # the length after resizing
    first = (units - side) // 2
    pixels, parts = np.divmod(np.arange(first, first + side + 1) * length, units)
    return pixels, parts, units


def _window_sums(x: NDArray[Any], axis: int, pixels: NDArray[np.int64], parts: NDArray[np.int64],
                 units: int) -> NDArray[np.int64]:
    """Return the sums over windows along an axis, int64, in which a pixel counts by its units."""
    whole = np.add.reduceat(x.take(np.arange(pixels[-1]), axis), pixels[:-1], axis, np.int64)
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    at_edges = x.take(np.minimum(pixels, x.shape[axis] - 1), axis)  # the last may end the picture
    sums: NDArray[np.int64] = units * whole + np.diff(parts.reshape(shape) * at_edges, axis=axis)
    return sums


def encode_stored(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a store of JPEGs keeps it: quality 95, colour at half the resolution, as
    the batches of 2012."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95, subsampling="4:2:0")
    return stream.getvalue()


def decode_stored(content: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG as they are: uint8 [height, width, 3], RGB, read-only. Raises
    Undecodable."""
    try:
        image: Image.Image = JpegFile(content)
        if max(image.size) > SIDE:
            raise ValueError
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:  # as in `decode`
        raise Undecodable("truncated" if "truncated" in str(error).lower()
                          else "broken data") from None


def reference_pictures() -> dict[str, bytes]:
    """Return the files whose pixels tell one decoder from another, by name; see
    reference/README.md."""
    return {name: (Path(__file__).with_name("reference") / name).read_bytes()
            for name in REFERENCES}


@functools.cache
def decoder() -> dict[str, str]:
    """Return what decodes and resamples here.

    Returns:
        `library` (Pillow or pillow-simd) and `libjpeg`, with their versions; and two fingerprints,
        each the first 16 digits of a sha256 over pixels of the reference pictures: `fingerprint`,
        of all of them, as `decode` leaves them; `jpeg`, of that one which is like the images of a
        store of JPEGs, just decoded.
    """
    pictures = reference_pictures()
    resampled = b"".join(decode(content).tobytes() for content in pictures.values())
    libjpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    library = (f"pillow-simd {PIL.__version__}" if SIMD else
               f"Pillow {PIL.__version__} (resampling in C)")
    return {"library": library, "libjpeg": str(libjpeg), "fingerprint": _short(resampled),
            "jpeg": _short(decode_stored(pictures["420.jpg"]).tobytes())}


def describe_decoder(made_by: Mapping[str, str]) -> str:
    """Return what `decoder` returned, as a person reads it."""
    return ", ".join(f"{name} {value}" if name != "library" else value
                     for name, value in made_by.items())


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
