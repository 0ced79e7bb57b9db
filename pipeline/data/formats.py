"""What a file is that is no picture that can be decoded here, by its first bytes, and what makes a
picture of it."""

from __future__ import annotations

import re

FETCH = "fetch it again"
CONVERT = "convert it to PNG or JPEG, as ImageMagick does: magick FILE FILE.png"
# What a file begins with; what it is; how it becomes a picture. The first that fits counts.
FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (rb"RIFF....WEBP", "WebP", CONVERT),
    (rb"....ftyp(avif|avis)", "AVIF", CONVERT),
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIC", CONVERT),
    (rb"....ftyp", "a video (MP4)", FETCH),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", CONVERT),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", CONVERT),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL", CONVERT),
    (rb"\x00\x00[\x01\x02]\x00[\x01-\xff]\x00", "an icon (ICO)", CONVERT),
    (rb"8BPS", "Photoshop", CONVERT),
    (rb"\x00[\x00\x01][\x02\x03\x0a\x0b]\x00", "TGA", CONVERT),
    (rb"%PDF", "PDF", CONVERT),
    (rb"%!PS", "PostScript", CONVERT),
    (rb"\x00\x05\x16\x07", "AppleDouble, what macOS knows of another file",
     "it is none of the data set's: copy the data set without the files that begin with ._"),
    (rb"version https://git-lfs", "a git-lfs pointer", "git lfs pull"),
    (rb"(\.\./)*\.?(git/)?/?annex/objects/", "a git-annex pointer", "git annex get FILE"),
    (rb"\x1f\x8b", "gzip", "unpack it with gunzip"),
    (rb"PK\x03\x04", "a zip archive", "unpack it with unzip"),
    (rb"Rar!|7z\xbc\xaf|\xfd7zXZ|BZh", "an archive", "unpack it"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", "an HTML page",
     f"{FETCH}; the page may say why it came instead, such as a missing login"),
    (rb"(\xef\xbb\xbf)?\s*<(\?xml|svg|error)", "XML", f"{FETCH}; the text may say what is wrong"),
    (rb"(\xef\xbb\xbf)?\s*\{", "JSON", f"{FETCH}; the text may say what is wrong"),
    (rb"\0+\Z", "nothing but zero bytes", f"{FETCH}: the disk or the copy has lost it"),
    (rb".{1,64}?\xff\xd8\xff[\xc0-\xfe]", "a JPEG after bytes that do not belong to it", FETCH),
    (rb"\xff\xd8\xff", "a JPEG with a broken header", FETCH),
    (rb"[\t\n\r\x20-\x7e]+\Z", "text", FETCH),
)
_COMPILED = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), name, fix)
             for pattern, name, fix in FORMATS]


def identify(content: bytes) -> tuple[str, str]:
    """Return what a file is, in words, and what makes a picture of it; "" where it is unknown."""
    for pattern, name, fix in _COMPILED:
        if pattern.match(content):
            return name, fix
    return "", FETCH
