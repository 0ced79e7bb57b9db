"""One training step of the full net, against the same net in stock PyTorch layers, and torchvision's for scale.

    python -m benchmarks.step [--json] [--batch N] [--width W] [--rounds N]

A step is crops in, weights updated. "stock" has the same layers, shapes and mathematics (the `source` recipe) made of
Conv2d with groups, LocalResponseNorm, an unfold of AvgPool2d for the spatial normalisation, Dropout and SGD. All in
float32 on the CPU, as many threads in all for each contender as there are cores: ours as one process with all of them,
and as two processes, one column each, with half of them each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.augmentation import Statistics, Views
from alexnet.crossing import placement_here
from alexnet.layers import CROP, STORED
from alexnet.network import Network, architecture
from alexnet.recipe import recipe
from alexnet.training import Plan, Training
from benchmarks.harness import interleaved, ratio, report
from pipeline.processes import keep_freed_memory

RECIPE = recipe("source")
CLASSES = 1000


class SpatialNorm(nn.Module):
    """x / (1 + 4e-5 sum of squares over 5 x 5) ** 0.75 of stock functions."""

    def forward(self, x: Tensor) -> Tensor:
        squares: Tensor = F.avg_pool2d(x.square(), 5, 1, 2) * 25
        return x / (1 + 0.001 / 25 * squares) ** 0.75


class Both(nn.Module):
    """Normalisation of each column by itself."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(half) for half in x.chunk(2, dim=1)], dim=1)


def stock(width: float) -> nn.Module:
    """The paper's net as one would write it from torch.nn."""
    def units(n: int) -> int:
        return max(1, round(n / 2 * width)) * 2

    c1, c2, c3, c5, fc = (units(n) for n in (96, 256, 384, 256, 4096))
    norm = Both(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0))
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, c1, 11, 4), norm, pool, nn.ReLU(True),
        nn.Conv2d(c1, c2, 5, padding=2, groups=2), nn.ReLU(True), norm, SpatialNorm(), pool,
        nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(True), nn.Conv2d(c3, c3, 3, padding=1, groups=2), nn.ReLU(True),
        nn.Conv2d(c3, c5, 3, padding=1, groups=2), pool, nn.ReLU(True), nn.Flatten(),
        nn.Linear(c5 * 36, fc), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(fc, fc), nn.ReLU(True), nn.Dropout(0.5),
        nn.Linear(fc, CLASSES))


def stock_step(network: nn.Module, batch: int) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=0.0005)
    images = (torch.rand(batch, 3, CROP, CROP) - 0.5) * 120
    labels = torch.arange(batch) % CLASSES

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return step


def our_training(batch: int, width: float, split: bool) -> Training:
    """Ours, from uint8 crops in memory; `advance` is a step."""
    pictures = torch.randint(0, 256, (batch, CROP, CROP, 3), dtype=torch.uint8)

    def crops(views: Views) -> Tensor:
        return pictures[: len(views.images)]

    network = Network(architecture("two-column", RECIPE, CLASSES, width), RECIPE, 1,
                      placement_here(2, split, torch.device("cpu")))
    statistics_ = Statistics(torch.full((STORED, STORED, 3), 120.0), torch.tensor([14830.0, 1376.0, 389.0]).double(),
                             torch.eye(3).double())
    return Training(network, RECIPE, Plan(1, 10**6, batch, 1), torch.arange(batch) % CLASSES, statistics_, crops)


def two_processes(batch: int, width: float, threads: int) -> Callable[[], float]:
    """Seconds of a step of two processes, which say them themselves: starting them does not count."""
    def step() -> float:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                   "benchmarks.step", "--worker", "--batch", str(batch), "--width", str(width)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
                              env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"})
        return float(done.stdout.split()[-1])
    return step


def worker(batch: int, width: float) -> None:
    dist.init_process_group("gloo")
    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    step = our_training(batch, width, split=True).advance
    step()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    if dist.get_rank() == 0:
        print(statistics.median(seconds))
    dist.destroy_process_group()


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=64, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--worker", "is_worker", is_flag=True, hidden=True)
def main(as_json: bool, batch: int, width: float, rounds: int, is_worker: bool) -> None:
    if is_worker:
        worker(batch, width)
        return
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    from pipeline.vision import models

    contenders = {"ours, one process": our_training(batch, width, split=False).advance,
                  "stock layers": stock_step(stock(width), batch),
                  "torchvision alexnet": stock_step(models.alexnet(), batch)}
    seconds: dict[str, list[float]] = {name: [] for name in (*contenders, "ours, two processes")}
    apart = two_processes(batch, width, max(1, cores // 2))
    for _ in range(rounds):
        for name, times in interleaved(contenders, 1).items():
            seconds[name] += times
        seconds["ours, two processes"].append(apart())
    rows: list[dict[str, Any]] = [
        {"what": name, "s a step": statistics.median(times), "images/s": batch / statistics.median(times)}
        for name, times in seconds.items()]
    ratios = {f"stock layers / {name}": ratio(seconds["stock layers"], seconds[name])
              for name in seconds if name.startswith("ours")}
    report(rows, ratios, cores, as_json)


if __name__ == "__main__":
    main()
