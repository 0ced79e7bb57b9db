"""From the bytes of a picture file to the 256x256 pixels that the network's crops are cut from (32x32 for CIFAR-10).

`decode` yields uint8 [256, 256, 3], RGB: "we first rescaled the image such that the shorter side was of length 256, and
then cropped out the central 256×256 patch" (P §2). The filter is bicubic, and only what the crop keeps is resampled.
`decoder` says which library did it, with a fingerprint of its pixels: two builds need not agree in the last bit.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import logging
import warnings

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

SIDE = 256
PIXEL_LIMIT = 150_000_000  # pixels of one picture; ImageNet's largest has some 60 million
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM")  # told by content, not by name

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs corrupt EXIF, which nothing here reads


class Undecodable(Exception):
    """These bytes are no usable picture. The message is the reason, from a fixed set of short texts."""


def decode(content: bytes, side: int = SIDE) -> NDArray[np.uint8]:
    """The central square of a picture, resampled to side x side, 256x256 in the paper.

    The kept square is the one that torchvision's `Resize(256, BICUBIC)` and `CenterCrop(256)` keep; see `kept_box`.
    Colours are as Pillow's `convert("RGB")` makes them, as in 2012: grayscale is repeated, a palette looked up, CMYK
    converted without a profile, an alpha channel dropped. Of 16 bits the upper 8 are kept. EXIF rotation is not
    applied, as in 2012. A shorter one is enlarged. Of several frames the first is taken.

    Returns:
        uint8 [side, side, 3], RGB, 0..255.

    Raises:
        Undecodable: not a picture of a known format, truncated, broken, or of more than 150 million pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = _rgb(content)
        except (Undecodable, MemoryError):  # running out of memory is no property of the picture
            raise
        except UnidentifiedImageError:
            raise Undecodable("not a picture of a known format" if content else "empty") from None
        except Image.DecompressionBombError:
            raise Undecodable(f"more than {PIXEL_LIMIT} pixels") from None
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            raise Undecodable("truncated" if "truncated" in str(error).lower() else "broken data") from None
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=kept_box(*image.size, side)))


def _rgb(content: bytes) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > PIXEL_LIMIT:  # before anything is decompressed
        raise Undecodable(f"more than {PIXEL_LIMIT} pixels")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise Undecodable("floating-point pixels")
    return image.convert("RGB")


def kept_box(width: int, height: int, side: int = SIDE) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what the central crop keeps, in pixels of the original.

    The shorter side goes to 256 (`side`) and the longer to the integer below 256 * longer / shorter, of which the crop
    begins at round((longer - 256) / 2), halves to even. Those two roundings are torchvision's. The box is that crop
    brought back to the original, so that resampling the box alone gives the same pixels, save that Pillow keeps a box
    in float32, which moves some values by one level.
    """
    shorter, longer = min(width, height), max(width, height)
    resized = int(side * longer / shorter)
    first = round((resized - side) / 2)
    start, stop = first * longer / resized, (first + side) * longer / resized
    return (0.0, start, width, stop) if height > width else (start, 0.0, stop, height)


@functools.cache
def decoder() -> dict[str, str]:
    """What decodes and resamples here.

    Returns:
        `library` (Pillow or pillow-simd) and `libjpeg`, with their versions; `fingerprint`, the first 16 digits of the
        sha256 of the pixels of three small pictures: two JPEGs that are enlarged (one with subsampled colour, one
        CMYK), and a PNG that is reduced.
    """
    pixels = b"".join(decode(picture).tobytes() for picture in (*_golden_jpegs(), _golden_png()))
    libjpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    library = f"{'pillow-simd' if '.post' in PIL.__version__ else 'Pillow'} {PIL.__version__}"
    return {"library": library, "libjpeg": str(libjpeg), "fingerprint": hashlib.sha256(pixels).hexdigest()[:16]}


def _golden_jpegs() -> tuple[bytes, bytes]:
    return base64.b85decode(_SUBSAMPLED), base64.b85decode(_CMYK)


def _golden_png() -> bytes:
    """Coloured ramps with an odd period. Its encoder does not matter, for PNG is lossless."""
    y, x = np.mgrid[0:311, 0:463]
    stream = io.BytesIO()
    Image.fromarray(np.stack([x * 7, y * 11, x * y], axis=-1).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


# 26x19 pixels, the same ramps: quality 60 with 4:2:0, and CMYK of quality 50.
_SUBSAMPLED = (
    b"|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`kO^"
    b"PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2A01*fP695_m0U`hb5di}c"
    b"0sq7R7ytkR0RaF20000000000000041p@~E!~i7_009C80|WyA00000000000RRF61Q8M;1r#C^F_Dr&Qi1=(02u)Q0s{d6000000000000004"
    b"1_A>G2mizXA`t)q1ONpE0000000000000310s{mQ5;1|nA~Hd-(f`^23<CiG0ucid06zfYW%T;filqlk09C*MtV&3L+latV!I7^wij&wWM)<^G"
    b"&KQ!1t9;|CjR#I=#f9IAje`aY8|<&ck<TGqb{GLMvL9CZl}wYc9|K{})X84|08XiR3~x!e86v8LCN}pQM;7D45QAwsTeqUQ%|e`j#@yE0Eh4mA"
    b"gMoqJ2wAg8_F<HfuL+*NYX8{"
)
_CMYK = (
    b"|JeWT01iQ9Z(?NtWB>pF0095n07C!}3k(hn3J?wr4iXU%6BsBO7#0>7F(V}%C^|DeJUKHsH$X^SPC!IgMK?H5ZBbWWVrOV)K233XaAbH~WoKjm"
    b"zyK5o022Tj1Va%3O%VWD5dcdO0RO}Q8vp?T00IL60000000000000061O)*C2Lu1a05A{$0RjXB0|o{I000000000100IL95g`Q<F+md*Vg?i<"
    b"BT``{LQ!#nkupPa|Jnc!1VaE#09gP_002J#kC53*a=w)#hhhEdmaSKyDoG8KmGr78eVLVmFWx6#4h$jlKGig>2h`ZuT@@sT$;$dyX5n~S^EOUK"
    b"Jln-GyDmmMO5EIU^6mLWxEciIeJh8`;ZWY_aU>+z_L@1apJ*VBK^aka{D#WYmGrJVD#$QoT{$smP??$9RQn3<bROjuB!<b#`c_mpdHyGg`O^`6"
    b"Fkm*-rj2OXqPIT#lX9ex**RZI`bTTbLdnqRj^VY>m4f~p2yGNKeMzS7y-kLKh_?ekoUf&H?^4kG4sISxY)fThIDQB;KX8l3<Th0tHhMzAk$aih"
    b"sb(~cv8EWvf|`mKQ})sNMM)vDaM|e#Zd_Z5;xPbjc}Y(s<sKSC&OZJkP0><FY@9ZFLdBD7MEs^48U&-@GArSMOwP>VbE(i<OCsD20&v;s3l0W7"
    b"i0~o#u>Syv{)m51@{9l3"
)
