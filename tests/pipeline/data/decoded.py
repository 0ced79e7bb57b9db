"""A digest of all that the decoder and our resampling make of some pictures, the same on every
processor.

`python -m tests.pipeline.data.decoded` prints it and the decoder, and ends with 0 where both are as
they should be. `aarch64.sh` does so on an emulated processor.
"""

from __future__ import annotations

import hashlib
import io
import platform
import sys

from PIL import Image

from pipeline.data import pixels
from pipeline.data.sources import patterns

PICTURES = 24
FINGERPRINT = "c7f4e39c9283179c"
DIGEST = "c0e6c26ccb33548b94832073671088df4a339e89dbfef9a6adc34827e30f29ae"


def files() -> list[bytes]:
    """JPEGs of the sample's kinds of pictures: all samplings of colour, progressive ones among
    them."""
    contents = []
    for index in range(PICTURES):
        stream = io.BytesIO()
        Image.fromarray(patterns.picture(2012, 0, index, index % 10)).save(
            stream, "JPEG", quality=(75, 92, 97)[index % 3], subsampling=index // 3 % 3,
            progressive=index % 4 == 3)
        contents.append(stream.getvalue())
    return contents


def digest() -> str:
    """SHA-256 over the files, their pixels by both filters, and the JPEGs that a store keeps."""
    sha256 = hashlib.sha256()
    for content in files():
        sha256.update(content)
        image = pixels.decode(content)
        for part in (image, pixels.decode(content, filter="area"),
                     pixels.decode_stored(pixels.encode_stored(image))):
            sha256.update(part.tobytes())
        sha256.update(pixels.encode_stored(image))
    return sha256.hexdigest()


if __name__ == "__main__":
    found = (pixels.decoder()["fingerprint"], digest())
    print(platform.machine(), pixels.describe_decoder(pixels.decoder()), found[1])
    sys.exit(found != (FINGERPRINT, DIGEST))
