"""CIFAR-10: 50,000 + 10,000 pictures of 32 x 32 pixels in ten classes (Krizhevsky 2009), from its
binary version.

The other version, for Python, holds pickles, which can run anything when they are read; this one
holds bytes. A record of a batch is the label and the red, the green and the blue plane, each of
1,024 bytes, row by row. Each becomes a PPM file of the same pixels in cifar10.tar. Batches 1 to 5
are the training set, the test batch is the validation set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import public
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.planning import Plan, RemoteFile
from pipeline.data.sources.repack import in_compressed_tar
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress

TERMS = ("CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html) comes without a licence; its "
         "author asks those who use it to cite Learning Multiple Layers of Features from Tiny "
         "Images (Krizhevsky 2009).")
ARCHIVE = RemoteFile("cifar-10-binary.tar.gz",
                     "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170_052_171,
                     "c32a1d4ab5d03f1284b67883e8d87530")
TAR, TAR_BYTES = "cifar10.tar", 245_760_000 + 10_240
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES = [Class(name, name) for name in NAMES]
BATCHES = {f"data_batch_{number}.bin": "train"
           for number in range(1, 6)} | {"test_batch.bin": "val"}
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
HEADER = b"P6\n32 32\n255\n"
IMAGES = 60_000


def plan(dataset: DatasetSection) -> Plan:
    """Return what `fetch` would download and repack."""
    return public.plan(dataset, ARCHIVE, TAR, TAR_BYTES, IMAGES)


def fetch(dataset: DatasetSection) -> Contents:
    """Put the data set in place; raise UserError when the archive is not the right one, or cannot
    be fetched."""
    return public.fetch(dataset, ARCHIVE, TAR, TAR_BYTES, CLASSES, _pictures)


def _pictures(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield paths, train/cat/data_batch_1_00029.ppm, and contents, in the order of the batches."""
    with archive.open("rb") as stream, progress(f"repacking {archive.name}", IMAGES,
                                                "pictures") as advance:
        for path, content in in_compressed_tar(stream, str(archive)):
            name = path.rpartition("/")[2]
            if name not in BATCHES:
                continue
            for index, (label, picture) in enumerate(_records(content, f"{archive}: {path}")):
                stem = f"{name.removesuffix('.bin')}_{index:05}"
                yield f"{BATCHES[name]}/{NAMES[label]}/{stem}.ppm", HEADER + picture
                advance(1)


def _records(content: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield label and pixels, RGB, row by row, of each record."""
    if len(content) % RECORD:
        raise UserError(f"{where}: {len(content)} bytes are no whole number of records of "
                        f"{RECORD}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if len(records) and records[:, 0].max() >= len(NAMES):
        raise UserError(f"{where}: a label is not among 0..{len(NAMES) - 1}; fetch it again")
    for record in records:
        planes = record[1:].reshape(3, SIDE, SIDE)
        yield int(record[0]), planes.transpose(1, 2, 0).tobytes()
