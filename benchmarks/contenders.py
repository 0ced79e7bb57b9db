"""One way of preparing pictures, in a process of its own, for benchmarks.prep.

    python -m benchmarks.contenders NAME PICTURES [SIDE]

Two builds of Pillow cannot be in one process, hence this one: SIDE is a folder of packages that go
before the environment's. Takes the files of the folder PICTURES into memory and does one; then, for
each line `START STEP` that it reads, every STEP-th from START on, and writes the seconds of
processor time back. `save FILE` leaves all pixels, uint8 [n, 256, 256, 3].
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SIDE = 256
FEW = 24  # pictures that ImageMagick does: it starts a process for each

One = Callable[[bytes], Any]  # from the file's bytes to uint8 [256, 256, 3], RGB


def ours() -> One:
    from pipeline.data.pixels import decode

    return decode


def torchvision_pillow(filter_name: str = "BICUBIC", simd: bool = False) -> One:
    import numpy
    import PIL
    import torch
    from PIL import Image

    from benchmarks.torchvision_import import transforms

    if (".post" in PIL.__version__) != simd:
        sys.exit(f"PIL {PIL.__version__} is not pillow-simd" if simd else f"PIL {PIL.__version__} "
                 "is pillow-simd: stock Pillow is not in the side folder")

    torch.set_num_threads(1)
    transform = transforms.Compose([transforms.Resize(SIDE, interpolation=getattr(
        transforms.InterpolationMode, filter_name)), transforms.CenterCrop(SIDE)])
    return lambda content: numpy.asarray(transform(Image.open(io.BytesIO(content)).convert("RGB")))


def libjpeg_turbo() -> One:
    import simplejpeg

    return lambda content: simplejpeg.decode_jpeg(content, colorspace="RGB")


def torchvision_tensors() -> One:
    import simplejpeg
    import torch

    from benchmarks.torchvision_import import transforms

    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True),
        transforms.CenterCrop(SIDE)])

    def one(content: bytes) -> Any:
        image = torch.from_numpy(simplejpeg.decode_jpeg(content, colorspace="RGB")).permute(2, 0, 1)
        return transform(image).permute(1, 2, 0).contiguous().numpy()
    return one


def opencv() -> One:
    import cv2
    import numpy

    cv2.setNumThreads(0)

    def one(content: bytes) -> Any:
        image = cv2.imdecode(numpy.frombuffer(content, numpy.uint8),
                             cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        height, width = image.shape[:2]
        scale = SIDE / min(height, width)
        size = (SIDE if width <= height else int(width * scale),
                SIDE if height <= width else int(height * scale))
        image = cv2.resize(image, size,
                           interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        top, left = round((size[1] - SIDE) / 2), round((size[0] - SIDE) / 2)
        return image[top: top + SIDE, left: left + SIDE]
    return one


def pyvips() -> One:
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    pyvips.cache_set_max(0)

    def one(content: bytes) -> Any:
        image = pyvips.Image.thumbnail_buffer(content, SIDE, height=SIDE, crop="centre",
                                              no_rotate=True)
        return (image if image.bands == 3 else image.colourspace("srgb")).numpy()
    return one


def imagemagick() -> One:
    import numpy

    command = ["convert", "-", "-filter", "Catrom", "-resize", f"{SIDE}x{SIDE}^", "-gravity",
               "center", "-extent", f"{SIDE}x{SIDE}", "-depth", "8", "-colorspace", "sRGB", "rgb:-"]
    return lambda content: numpy.frombuffer(
        subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout,
        numpy.uint8).reshape(SIDE, SIDE, 3)


SIMD = "torchvision, pillow-simd, bicubic"  # of this environment, as ours is
ONE: dict[str, Callable[[], One]] = {
    "ours": ours,
    "torchvision, stock Pillow, bicubic": torchvision_pillow,
    "torchvision, stock Pillow, bilinear": lambda: torchvision_pillow("BILINEAR"),
    SIMD: lambda: torchvision_pillow(simd=True),
    "libjpeg-turbo, decoding only": libjpeg_turbo,
    "torchvision, tensors": torchvision_tensors,
    "OpenCV, area": opencv,
    "pyvips thumbnail": pyvips,
    "ImageMagick": imagemagick,
}
STORED = "ours, to shard and moments"


def stored(files: Sequence[Path]) -> None:
    """Do all that a worker of `alexnet resize` does to these pictures, from their files to a shard
    and its sums."""
    from pipeline.config.stages import code_digest
    from pipeline.data.pixels import decoder
    from pipeline.data.shard_worker import Shard, make_shard
    from pipeline.data.sources.catalogue import Picture
    from pipeline.system.project import CODE

    pictures = tuple(Picture(file.name, 0, file, 0, file.stat().st_size) for file in files)
    with tempfile.TemporaryDirectory() as folder:
        make_shard(Shard("train", 0, pictures, folder, "/", decoder()["fingerprint"],
                         code_digest("resize", CODE)))


def used() -> float:
    """Seconds of processor time that this process and its children have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    if sys.argv[1:] == ["--help"]:
        print(__doc__)
        return
    name, folder, *side = sys.argv[1:]
    sys.path[:0] = side
    files = [file.absolute() for file in sorted(Path(folder).iterdir())]
    pictures = [file.read_bytes() for file in files]
    if name == "ImageMagick":
        pictures = pictures[:FEW]
    one = ONE[name]() if name != STORED else None
    if one:
        one(pictures[0])
    else:
        stored(files[:1])  # whatever is done once in a process
    print("ready", flush=True)
    for line in sys.stdin:
        before = used()
        if line.startswith("save "):
            import numpy

            assert one is not None
            numpy.save(line.split(maxsplit=1)[1].strip(),
                       numpy.stack([one(content) for content in pictures]))
        else:
            start, step = map(int, line.split())
            if one is None:
                stored(files[start::step])
            else:
                for content in pictures[start::step]:
                    one(content)
        print(used() - before, flush=True)


if __name__ == "__main__":
    main()
