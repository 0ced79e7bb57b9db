"""How far the gradients of the full net are from float64's, layer by layer: portable arithmetic
beside PyTorch's own kernels.

    python -m benchmarks.accuracy [--json] [--batch N] [--width W] [--seeds N]

The reference is the same net by PyTorch's kernels in float64, from the same weights and inputs,
with dropout. An error is the root of the squared distance of a gradient from the reference, over
the reference's own length. Where two values of a pooling window, or an input of a ReLU and 0, are
closer than rounding, float32 may choose the other one, and every gradient before that is off by a
thousandth. Such seeds are counted, and the median is over the others.
"""

from __future__ import annotations

import math
import os
import statistics
from collections import defaultdict
from typing import Any

import click
import torch
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.arithmetic.portable import Portable
from alexnet.layers import CROP
from alexnet.network import Network
from benchmarks.harness import report
from benchmarks.pictures import CLASSES
from benchmarks.step import RECIPE

OTHERWISE = 2e-5  # an error above it is that of a choice, below it that of rounding


def gradients(own: Arithmetic, dtype: torch.dtype, seed: int, width: float,
              images: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a first update by the names of the parameters, float64; of both
    columns, one after the other."""
    network = Network(architecture("two-column", RECIPE, CLASSES, width), RECIPE, seed,
                      arithmetic=own).to(dtype)
    labels = torch.arange(len(images)) * 37 % CLASSES
    loss, _ = own.loss(network(images.to(dtype)), labels, len(images))
    loss.backward()
    parts = defaultdict(list)
    for name, _, parameter in network.named_columns():
        assert parameter.grad is not None
        parts[name].append(parameter.grad.double().flatten())
    return {name: torch.cat(columns) for name, columns in parts.items()}


def errors(found: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, float]:
    """Return the relative distance of each gradient from the reference."""
    return {name: float((found[name] - exact).norm() / exact.norm())
            for name, exact in reference.items()}


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=4, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--seeds", default=9, show_default=True)
def main(as_json: bool, batch: int, width: float, seeds: int) -> None:
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    portable = Portable()
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"portable": [], "native": []})
    for seed in range(1, seeds + 1):
        torch.manual_seed(seed)
        images = (torch.rand(batch, 3, CROP, CROP) - 0.5) * 240
        reference = gradients(NATIVE, torch.float64, seed, width, images)
        for name, own in (("portable", portable), ("native", NATIVE)):
            for parameter, error in errors(gradients(own, torch.float32, seed, width, images),
                                           reference).items():
                seen[parameter][name].append(error)
    rows: list[dict[str, Any]] = []
    for parameter, both in seen.items():
        near = {name: [error for error in of_one if error < OTHERWISE]
                for name, of_one in both.items()}
        rows.append({"gradient of": parameter}
                    | {name: statistics.median(of_one or [math.nan])
                       for name, of_one in near.items()}
                    | {f"{name}, chose otherwise": seeds - len(of_one)
                       for name, of_one in near.items()})
    ratios = {f"native / portable, {row['gradient of']}": row["native"] / row["portable"]
              for row in rows}
    report(rows, ratios, threads, as_json)


if __name__ == "__main__":
    main()
