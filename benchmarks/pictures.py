"""Pictures for the benchmarks: a store of them, and what the stages `mean` and `pca` would say of
it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alexnet.augmentation import Statistics
from pipeline.data.moments import Moments
from pipeline.data.pixels import SIDE, decoder
from pipeline.data.shards import Encoding, shard_file, shard_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.store import SHARD_IMAGES, Store, StoredImage, StoredShard, publish_description

CLASSES = 1000
# Facts of ImageNet's colours on the 0..255 scale: variances of the principal components
STATISTICS = Statistics(torch.full((SIDE, SIDE, 3), 120.25),
                        torch.tensor([14830.0, 1376.0, 389.0]).double(), torch.eye(3).double())


def picture(number: int) -> NDArray[np.uint8]:
    """uint8 [256, 256, 3]: coarse colours with a little grain; as a JPEG at quality 95 some 40
    KB."""
    drawn = np.random.default_rng(number)
    coarse = Image.fromarray(drawn.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = drawn.integers(-12, 13, (SIDE, SIDE, 1))
    pixels = np.clip(np.asarray(coarse, np.int16) + grain, 0, 255)
    return np.asarray(pixels, np.uint8)


def store_of(folder: Path, count: int, encoding: Encoding = "raw") -> Store:
    """A store of so many training images and as few validation images as can be; pictures repeat
    after 256."""
    drawn = [picture(number) for number in range(min(count, 256))]
    folder.mkdir(parents=True)
    shards = []
    for split, images in (("train", count), ("val", 1)):
        for number, start in enumerate(range(0, images, SHARD_IMAGES)):
            rows = []
            with shard_writer(folder / shard_file(split, number, encoding),
                               encoding=encoding) as writer:
                for index in range(start, min(start + SHARD_IMAGES, images)):
                    writer.add(drawn[index % len(drawn)], index % CLASSES)
                    rows.append(StoredImage(f"{split}{index}", f"{index:064x}", index % CLASSES,
                                    writer.place))
            shards.append(StoredShard(split, number, writer.digest.hexdigest(), rows))
    classes = [Class(f"n{number:08}", f"class {number}") for number in range(CLASSES)]
    publish_description(folder, classes, iter(shards), Moments.zero(), [], {"decoder": decoder()},
                        encoding)
    return Store(folder)
