"""Images a second in training by the recipe of each port, at full width, side by side.

    python -m benchmarks.ports [--json] [--batch N] [--rounds N] [--threads N] [--device cpu|cuda]

A step is stored images in, weights updated, in native arithmetic and one process, so that crops
(torchvision's are resized) and colour noise count. All take turns, and a ratio is the median of the
rounds' own. `alexnet ports` shows the figures of one machine, which are kept by

    python -m benchmarks.ports --json > experiments/ports-speed.json

on a machine that does nothing else.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from typing import Any

import click
import torch

from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Views
from alexnet.inputs import side_read
from alexnet.network import Network
from alexnet.placement import Placement
from alexnet.plan import Plan
from alexnet.recipe import NAMES, Name, recipe
from alexnet.training import Training
from benchmarks.harness import interleaved, ratio, report
from benchmarks.pictures import CLASSES, STATISTICS
from pipeline.config.parameters import architecture_of
from pipeline.system.processes import keep_freed_memory


def training_of(name: Name, batch: int, width: float, device: torch.device,
                own: Arithmetic) -> Training:
    """A training by this recipe, from uint8 images in memory, always the same."""
    chosen = recipe(name)
    table = architecture(architecture_of("auto", name), chosen, CLASSES, width)
    side = side_read(chosen, table)
    pictures = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)

    def same(views: Views) -> torch.Tensor:
        return pictures[: len(views.images)]

    place = Placement(table.columns, tuple(range(table.columns)), device=device)
    network = Network(table, chosen, 1, place, arithmetic=own)
    return Training(network, chosen, Plan(1, 10**6, batch, 1), torch.arange(batch) % CLASSES,
                    STATISTICS, same)


def stepper(training: Training) -> Callable[[], None]:
    """One step, to its end."""
    def step() -> None:
        training.advance()
        assert training.loss is not None
        float(training.loss)  # waits for a GPU
    return step


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=128, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=0, help="[default: one for each core]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def main(as_json: bool, batch: int, width: float, rounds: int, threads: int, device: str) -> None:
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    own = NATIVE if device == "cuda" else Portable()
    trainings = {name: training_of(name, batch, width, torch.device(device), own)
                 for name in NAMES}
    seconds = interleaved({name: stepper(training) for name, training in trainings.items()},
                          rounds)
    for training in trainings.values():
        training.finish()
    rows: list[dict[str, Any]] = [
        {"recipe": name, "s": statistics.median(times),
         "images/s": batch / statistics.median(times), "batch": batch, "arithmetic": own.name}
        for name, times in seconds.items()]
    ratios = {f"source / {name}": ratio(seconds["source"], times)
              for name, times in seconds.items() if name != "source"}
    report(rows, ratios, threads, as_json)


if __name__ == "__main__":
    main()
