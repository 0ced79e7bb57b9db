"""Ten-crop testing, per crop, against a bare forward pass of the same net and arithmetic, with the
same threads.

    python -m benchmarks.evaluate [--json] [--images N] [--width W] [--rounds N]

"ten crops" reads each picture once from a store, as the stage `evaluate` does, cuts and centres its
ten crops, and gives the softmax outputs. "forward" is the network alone, in testing and without
gradients, on inputs that are in memory.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from alexnet.arithmetic.portable import Portable
from alexnet.layers import CROP
from alexnet.testing import probabilities
from benchmarks.harness import interleaved, ratio, report
from benchmarks.pictures import STATISTICS, store_of
from benchmarks.step import our_training
from pipeline.system.processes import keep_freed_memory
from pipeline.training.loading import image_reader


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--images", default=64, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(as_json: bool, images: int, width: float, rounds: int) -> None:
    keep_freed_memory()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    own = Portable()
    network = our_training(images, width, split=False, own=own).network.eval()
    inputs = torch.randn(images, 3, CROP, CROP).contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as made:
        read = image_reader(store_of(Path(made) / "store", images).split("train"))

        def ten_crops() -> Tensor:
            return probabilities(network, read(slice(0, images)), STATISTICS.mean, CROP, own)

        def forward() -> Tensor:
            with torch.no_grad():
                return network(inputs)  # type: ignore[no-any-return]

        seconds = interleaved({"ten crops, from the store": ten_crops,
                               "forward": forward}, rounds)
    per_crop = {"ten crops, from the store": [s / (10 * images)
                                              for s in seconds["ten crops, from the store"]],
                "forward": [s / images for s in seconds["forward"]]}
    rows: list[dict[str, Any]] = [{"what": name, "ms a crop": 1000 * statistics.median(times),
                                   "crops/s": 1 / statistics.median(times)}
                                  for name, times in per_crop.items()]
    report(rows, {"forward / ten crops, per crop":
                  ratio(per_crop["forward"], per_crop["ten crops, from the store"])},
           threads, as_json)


if __name__ == "__main__":
    main()
