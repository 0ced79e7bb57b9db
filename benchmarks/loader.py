"""From stored pictures to training batches on one core, against torchvision v2 transforms in a
DataLoader.

    python -m benchmarks.loader [--json] [--images N] [--batch N] [--rounds N] [--folder DIR]

A batch of ours: random crop and flip of each image, the mean image's window, colour noise, float32,
channels last, the draws included. "uint8 crops only" stops where a GPU would take over. The
DataLoader crops, flips, converts to float32 and normalises by channel (RandomCrop,
RandomHorizontalFlip, ToDtype, Normalize): less work than ours. It has no workers, so every
contender has one core. "copy of the crops" is the limit. Images are taken in random order, each
with a crop of its own (recipe `paper`), or in stored order, 32 with the same (recipe `source`, the
row so named).

"cold" rows read a store that is not in memory: its files are written out and dropped from the page
cache (fsync, posix_fadvise DONTNEED, with no mapping left), and the column `MB read` is what the
process then read from the disk (/proc/self/io). In random order, with the disk told four batches
ahead, and without.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alexnet.augmentation import Order, colour_offsets, draw_views, training_input
from alexnet.layers import CROP
from alexnet.recipe import Recipe, recipe
from benchmarks.harness import interleaved, ratio, report
from benchmarks.pictures import STATISTICS, picture, store_of
from pipeline.data.split import Split
from pipeline.data.store import Store
from pipeline.system.processes import keep_freed_memory
from pipeline.training.loading import crop_reader

SEED = 1
AHEAD = 4  # batches


class Ours:
    """Batches of a split, one after another."""

    def __init__(self, split: Split, chosen: Recipe, batch: int) -> None:
        self.split, self.recipe, self.batch, self.number = split, chosen, batch, 0
        self.order, self.crops = Order(chosen, SEED, len(split)), crop_reader(split, CROP)

    def positions(self, number: int) -> Tensor:
        return number * self.batch + torch.arange(self.batch)

    def crops_only(self) -> Tensor:
        self.number += 1
        return self.crops(draw_views(self.recipe, SEED, self.order, self.positions(self.number)))

    def whole(self) -> Tensor:
        self.number += 1
        positions = self.positions(self.number)
        seen = draw_views(self.recipe, SEED, self.order, positions)
        offsets = colour_offsets(self.recipe, SEED, STATISTICS, positions)
        return training_input(self.recipe, self.crops(seen), seen, STATISTICS.mean, offsets)

    def expect(self, number: int) -> None:
        self.split.expect(self.order.images(self.positions(number)).numpy())


def plain_copy(split: Split, batch: int) -> Callable[[], None]:
    """As many crops, copied out of the shards at random places: nothing else."""
    generator, out = np.random.default_rng(1), np.empty((batch, CROP, CROP, 3), np.uint8)

    def copy() -> None:
        places = generator.integers(0, len(split), batch).tolist()
        corners = generator.integers(0, 33, (batch, 2)).tolist()
        for crop, place, (top, left) in zip(out, places, corners, strict=True):
            crop[...] = split.image(place)[top: top + CROP, left: left + CROP]
    return copy


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A data set as one would write it: arrays or JPEGs in memory, and torchvision's transforms."""

    def __init__(self, split: Split, jpeg: list[bytes] | None) -> None:
        from benchmarks.torchvision_import import transforms as v2

        self.split, self.jpeg = split, jpeg
        self.transform = v2.Compose([v2.ToImage(), v2.RandomCrop(CROP), v2.RandomHorizontalFlip(),
                                     v2.ToDtype(torch.float32, scale=True),
                                     v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels: NDArray[np.uint8] | Image.Image = (
            Image.open(io.BytesIO(self.jpeg[index % len(self.jpeg)])).convert("RGB") if self.jpeg
            else np.array(self.split.image(index)))
        return self.transform(pixels), int(self.split.labels[index])


def data_loader(split: Split, batch: int, jpeg: list[bytes] | None) -> Callable[[], Any]:
    loader = torch.utils.data.DataLoader(Pictures(split, jpeg), batch, shuffle=True, drop_last=True)
    batches = iter(loader)

    def take() -> Any:
        nonlocal batches
        try:
            return next(batches)
        except StopIteration:
            batches = iter(loader)
            return next(batches)
    return take


def jpeg_of(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(number)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def dropped(folder: Path) -> None:
    """The store's shards, out of the page cache."""
    for file in folder.glob("*.npy"):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_from_disk() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes"):
            return int(line.split()[1])
    return 0


def cold(folder: Path, batch: int, told: bool) -> tuple[float, int]:
    """Seconds for one pass in random order over a store that is not in memory, and bytes read from
    the disk."""
    dropped(folder)
    before = bytes_from_disk()
    start = time.perf_counter()
    ours = Ours(Store(folder).split("train"), recipe("paper", order="epoch"), batch)
    count = len(ours.split) // batch
    for number in range(count):
        if told:
            for later in range(1 if number else 0, AHEAD + 1) if not number else [AHEAD]:
                if number + later < count:
                    ours.expect(number + later)
        ours.number = number - 1
        ours.whole()
    return time.perf_counter() - start, bytes_from_disk() - before


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--images", default=4096, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path),
              help="Where the store is made; on the disk to be measured.")
def main(as_json: bool, images: int, batch: int, rounds: int, folder: Path | None) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    paper, source = recipe("paper", order="epoch"), recipe("source")
    with tempfile.TemporaryDirectory(dir=folder) as made:
        split = store_of(Path(made) / "store", images).split("train")
        jpeg = [jpeg_of(number) for number in range(256)]
        seconds = interleaved({
            "ours, everything": Ours(split, paper, batch).whole,
            "ours, everything, recipe source": Ours(split, source, batch).whole,
            "ours, uint8 crops only": Ours(split, paper, batch).crops_only,
            "DataLoader from arrays": data_loader(split, batch, None),
            "DataLoader from JPEG": data_loader(split, batch, jpeg),
            "copy of the crops": plain_copy(split, batch)}, rounds)
        rows: list[dict[str, Any]] = [
            {"what": name, "images/s on one core": batch / statistics.median(times), "MB read": 0.0}
            for name, times in seconds.items()]
        del split  # its mappings would keep the files in memory
        passes: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for told in passes:
                took, read = cold(Path(made) / "store", batch, told)
                passes[told].append(took)
                megabytes = read / 1e6
        for told, times in passes.items():
            rows.append({"what": f"cold, {'told ahead' if told else 'not told'}",
                         "images/s on one core": images / statistics.median(times),
                         "MB read": megabytes})
    ratios = {"ours, everything / DataLoader from arrays":
              ratio(seconds["DataLoader from arrays"], seconds["ours, everything"]),
              "ours, everything, recipe source / DataLoader from arrays":
              ratio(seconds["DataLoader from arrays"], seconds["ours, everything, recipe source"]),
              "ours, uint8 crops only / DataLoader from arrays":
              ratio(seconds["DataLoader from arrays"], seconds["ours, uint8 crops only"]),
              "ours, everything / DataLoader from JPEG":
              ratio(seconds["DataLoader from JPEG"], seconds["ours, everything"]),
              "ours, uint8 crops only / copy of the crops":
              ratio(seconds["copy of the crops"], seconds["ours, uint8 crops only"]),
              "cold: told ahead / not told": ratio(passes[False], passes[True])}
    report(rows, ratios, 1, as_json)


if __name__ == "__main__":
    main()
