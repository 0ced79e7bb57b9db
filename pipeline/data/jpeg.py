"""JPEG files: what their header says, and whether the decoder got through their data undisturbed.

libjpeg fills in what is missing and goes on, with a warning that Pillow keeps to itself. `JpegFile`
finds it out: it hands the data over in three blocks. A whole picture is finished by the second
block, which holds the last two bytes before the end marker and eight more than it needs; one that
is finished by the first has bytes left over, and one that wants the third lacked some.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin, features

SEGMENT_LIMIT = 10_000  # before the first scan; a picture has some ten
_AHEAD = 8  # bytes that libjpeg may read ahead of those that it decodes
_EXTENDED = bool(features.check_feature("libjpeg_turbo"))  # it writes Pillow's four bytes a pixel
BASELINE, PROGRESSIVE = (0xC0, 0xC1), 0xC2
NO_FRAME = (0xC4, 0xC8, 0xCC)  # markers among those of frames that are something else
# three times as fast as bytes.find and .count
START_OF_SCAN, END = re.compile(rb"\xff\xda"), re.compile(rb"\xff\xd9")
ENDS_EARLY = "its data end early; what is missing is filled in"
LEFT_OVER = "bytes of its data are left over: some of them are damaged"
LACKS_SCANS = "it lacks scans, so that it is coarser than it was"


@dataclass(frozen=True)
class Header:
    """What stands before the first scan.

    Attributes:
        coding: the marker of the frame: BASELINE, PROGRESSIVE, or something rarer.
        precision: bits of a sample: 8, or 12.
        components: of the frame: 1, 3 or 4.
        scan: the offset of the first scan's marker.
        components_in_scan: of the first scan.
    """

    coding: int
    precision: int
    components: int
    scan: int
    components_in_scan: int

    @property
    def one_scan(self) -> bool:
        """Return whether the first scan holds the whole picture."""
        return self.coding in BASELINE and self.components == self.components_in_scan


class ManySegments(ValueError):
    """There are more segments than a picture has, which would take long to read."""


def read_header(content: bytes) -> Header | None:
    """Return what a JPEG's header says; None where it is broken.

    Raises:
        ManySegments: it has more than SEGMENT_LIMIT segments.
    """
    at, frame = 2, None
    try:
        for _ in range(SEGMENT_LIMIT):
            at = content.index(b"\xff", at)
            while content[at + 1] == 0xFF:  # bytes to fill up
                at += 1
            marker, length = content[at + 1], int.from_bytes(content[at + 2: at + 4], "big")
            if marker == 0xDA:
                return frame and Header(*frame, scan=at, components_in_scan=content[at + 4])
            if 0xC0 <= marker <= 0xCF and marker not in NO_FRAME:
                frame = (marker, content[at + 4], content[at + 9])
            at += 2 + max(length, 2)
    except (IndexError, ValueError):
        return None
    raise ManySegments


def scans_in(content: bytes, header: Header) -> int:
    """Return how many scans a picture has, or at most has. After a scan that holds the whole
    picture libjpeg decodes no other."""
    return 1 if header.one_scan else len(START_OF_SCAN.findall(content, header.scan))


def lacks_scans(content: bytes, header: Header) -> bool:
    """Return whether a progressive JPEG lacks scans: not every coefficient comes to its last
    bit."""
    missing = {(component, k) for component in range(header.components) for k in range(64)}
    numbers: list[int] = []  # of the components, in the order in which they are first named
    at = header.scan
    while at >= 0:
        count = content[at + 4] if at + 4 < len(content) else 0
        fields = content[at + 5: at + 8 + 2 * count]
        if 1 <= count <= 4 and len(fields) == 2 * count + 3:
            first, last, bits = fields[2 * count:]
            for number in fields[:2 * count: 2]:
                if number not in numbers:
                    numbers.append(number)
                if bits & 15 == 0:
                    component = numbers.index(number)
                    missing -= {(component, k) for k in range(first, last + 1)}
        at = content.find(b"\xff\xda", at + 2)
    return bool(missing)


class JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG of one picture, never of several (MPO).

    It has no EXIF data, which Pillow would read for the resolution: a crafted directory of 0.3 MB
    takes gigabytes.
    """

    def __init__(self, content: bytes, header: Header | None = None) -> None:
        found = END.search(content, header.scan) if header and header.one_scan else None
        end = found.start() if found else -1
        self._checked = end > 0
        self._blocks = [content[:end - 2], content[end - 2: end] + bytes(_AHEAD),
                        content[end:]] if self._checked else [content]
        super().__init__(io.BytesIO(content))
        if self.mode == "RGB" and _EXTENDED:
            self.tile = [tile._replace(args=("RGBX", "")) for tile in self.tile]

    def getexif(self) -> Image.Exif:
        """Return no EXIF data."""
        return Image.Exif()

    def load_read(self, read_bytes: int) -> bytes:
        """Return the next block for the decoder; Pillow calls this."""
        return self._blocks.pop(0) if self._blocks else b""

    @property
    def doubt(self) -> str:
        """Return why the loaded pixels are perhaps not those of the picture; "" for no reason."""
        return ("", LEFT_OVER)[len(self._blocks) - 1] if self._checked and self._blocks else (
            ENDS_EARLY if self._checked else "")
