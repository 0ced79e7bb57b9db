"""Pictures a second from the store to updated weights, against the step alone, whose pictures are
in memory already.

    python -m benchmarks.train [--json] [--batch N] [--width W] [--rounds N] [--device cuda
    --precision tf32]

Both are the same training in the same run, taking turns: one process with all threads, and two
processes, one column and half the threads each. "end to end" reads each picture from a store on
disk, crops, flips, centres and colours it, and is never to be below 0.95 of "step alone". On a GPU:
one process, and what 90 epochs of ImageNet would take.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist

from alexnet.network import Precision
from benchmarks.harness import interleaved, matrix_rate, ratio, report, training_macs
from benchmarks.pictures import store_of
from benchmarks.step import our_training, seconds_of, two_processes, working_as_one_of_two
from pipeline.data.store import Store
from pipeline.system.processes import keep_freed_memory

IMAGENET_EPOCHS = 90 * 1_281_167  # images
NAMES = ("end to end", "step alone")


def finished(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The step, its work on the device done."""
    def run() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return run


def worker(batch: int, width: float, rounds: int, folder: Path) -> None:
    with working_as_one_of_two():
        trainings = [our_training(batch, width, True, images)
                     for images in (Store(folder).split("train"), None)]
        seconds = seconds_of({name: training.advance
                              for name, training in zip(NAMES, trainings, strict=True)}, rounds)
        for training in trainings:
            training.finish()
        if dist.get_rank() == 0:
            print(json.dumps(seconds))


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=128, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--images", default=2048, show_default=True)
@click.option("--device", "device_name", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16"]), default="fp32",
              show_default=True)
@click.option("--worker", "folder", type=click.Path(path_type=Path), hidden=True)
def main(as_json: bool, batch: int, width: float, rounds: int, images: int, device_name: str,
         precision: Precision, folder: Path | None) -> None:
    if folder:
        worker(batch, width, rounds, folder)
        return
    keep_freed_memory()
    device, threads = torch.device(device_name), len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    with tempfile.TemporaryDirectory() as made:
        store = store_of(Path(made) / "store", images)
        trainings = [our_training(batch, width, False, source, device, precision)
                     for source in (store.split("train"), None)]
        found = {"one process": interleaved(
            {name: finished(training.advance, device)
             for name, training in zip(NAMES, trainings, strict=True)},
            rounds)}
        table = trainings[0].network.table
        del trainings
        if threads >= 2 and device.type == "cpu":
            found["two processes"] = two_processes(
                "benchmarks.train", store.path, {"batch": batch, "width": width, "rounds": rounds},
                threads // 2)
    rate = matrix_rate(device)
    rows: list[dict[str, Any]] = []
    for place, seconds in found.items():
        for name, times in seconds.items():
            speed = batch / statistics.median(times)
            rows.append({"what": f"{place}, {name}",
                         "s a step": statistics.median(times), "images/s": speed,
                         "fraction of the matrix rate": 2 * training_macs(table) * speed / rate,
                         "hours for 90 epochs of ImageNet": IMAGENET_EPOCHS / speed / 3600})
    report(rows,
           {f"{place}: end to end / step alone": ratio(seconds["step alone"], seconds["end to end"])
            for place, seconds in found.items()}, threads, as_json)


if __name__ == "__main__":
    main()
