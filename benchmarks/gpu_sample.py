"""A training whose pictures are drawn where it runs: the sample's, without an image library.

They are the sample's first pictures as they are drawn (pipeline.data.sources.patterns), before they
become JPEGs; their central squares are brought to 256 x 256 by taking the nearest pixels. So they
are not the sample's store, which needs a decoder, and have digests of their own, in
`gpu_digests.json`, which `python -m benchmarks.gpu --record` writes on a CPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic import NUMBER
from alexnet.arithmetic.eigen import components
from alexnet.arithmetic.native import Arithmetic
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Statistics, Views
from alexnet.digest import digest_of
from alexnet.layers import STORED
from alexnet.network import Network
from alexnet.placement import Placement
from alexnet.plan import Plan
from alexnet.recipe import recipe
from alexnet.training import Training
from pipeline.data.sources.patterns import picture

DIGESTS = Path(__file__).with_name("gpu_digests.json")
SEED, CLASSES, STEPS = 2012, 10, 600  # of the sample's pictures; its training's length


@dataclass(frozen=True)
class Sample:
    """A training of the sample.

    Attributes:
        name: under which its digests are stored.
        pictures, batch: how many.
        width: of the net.
        updates: after which its state has a stored digest.
    """

    name: str
    pictures: int
    batch: int
    width: float
    updates: tuple[int, ...]


SAMPLE = Sample("sample", 320, 32, 0.25, (1, 10, 100))
REHEARSAL = Sample("rehearsal", 4, 2, 1 / 32, (1, 4))


def pictures(count: int) -> NDArray[np.uint8]:
    """Return the first pictures of the sample, uint8 [count, 256, 256, 3]."""
    return np.stack([_square(picture(SEED, 0, index, index % CLASSES)) for index in range(count)])


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    nearest = (2 * np.arange(STORED) + 1) * side // (2 * STORED)
    square: NDArray[np.uint8] = pixels[(height - side) // 2 + nearest[:, None],
                                       (width - side) // 2 + nearest]
    return square


def statistics_of(images: NDArray[np.uint8]) -> Statistics:
    """Return the mean image and the colour components of uint8 [n, 256, 256, 3]; integers, and one
    rounding."""
    mean = images.sum(0, dtype=np.int64) / len(images)
    pixels = images.reshape(-1, 3)[::17].astype(np.int64)
    moments = pixels.T @ pixels * len(pixels) - np.outer(pixels.sum(0), pixels.sum(0))
    eigenvalues, vectors = components([[int(x) / len(pixels) ** 2 for x in row]
                                       for row in moments])
    return Statistics(torch.from_numpy(mean.astype(np.float32)),
                      torch.tensor(eigenvalues, dtype=torch.float64),
                      torch.tensor(vectors, dtype=torch.float64))


def training(sample: Sample, images: NDArray[np.uint8], arithmetic: Arithmetic,
             placement: Placement) -> Training:
    """Return a training at its start."""
    own = recipe("source")
    table = architecture("two-column", own, CLASSES, sample.width)

    def crops(views: Views) -> Tensor:
        result = np.empty((len(views.images), table.crop, table.crop, 3), np.uint8)
        for place, (image, top, left, flip) in enumerate(np.stack(
                [views.images, views.tops, views.lefts, views.flips], axis=1).tolist()):
            crop = images[image, top: top + table.crop, left: left + table.crop]
            result[place] = crop[:, ::-1] if flip else crop
        return torch.from_numpy(result)

    return Training(Network(table, own, 1, placement, arithmetic=arithmetic), own,
                    Plan(1, STEPS, sample.batch, 1), torch.arange(len(images)) % CLASSES,
                    statistics_of(images), crops)


def digest_of_pictures(images: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of all pixels, in hexadecimal."""
    return hashlib.sha256(images.tobytes()).hexdigest()


def state_digest(run: Training) -> str:
    """Return one digest of weights and momentum."""
    state = run.state()
    assert state is not None
    return digest_of(state)


def record(samples: Sequence[Sample]) -> None:
    """Train on the CPU, and write the digests."""
    entries: dict[str, Any] = {}
    for sample in samples:
        images = pictures(sample.pictures)
        run = training(sample, images, Portable(), Placement())
        states = {}
        for update in range(1, sample.updates[-1] + 1):
            run.advance()
            if update in sample.updates:
                assert run.loss is not None
                states[str(update)] = {"loss": float(run.loss).hex(), "state": state_digest(run)}
        run.finish()
        entries[sample.name] = {"pictures": digest_of_pictures(images), "updates": states}
    DIGESTS.write_text(json.dumps({"arithmetic": NUMBER, "trainings": entries}, indent=1) + "\n",
                       encoding="utf-8")


def stored(sample: Sample) -> dict[str, Any]:
    """Return {"pictures": digest, "updates": {"10": {"loss", "state"}, ...}} of a sample."""
    content = json.loads(DIGESTS.read_text(encoding="utf-8"))
    assert content["arithmetic"] == NUMBER, f"{DIGESTS.name}: write it again with --record"
    entry: dict[str, Any] = content["trainings"][sample.name]
    return entry
