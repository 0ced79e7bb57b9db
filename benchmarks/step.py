"""One training step of the full net, against the same net as a competent user would have it in
PyTorch, and torchvision's for scale.

    python -m benchmarks.step [--json] [--batch N] [--width W] [--rounds N] [--threads N]
                              [--compiled]

A step is crops in, weights updated. "stock layers" has the same layers, shapes and mathematics (the
`source` recipe) made of Conv2d with groups, LocalResponseNorm, an unfold of AvgPool2d for the
spatial normalisation, Dropout and SGD; "tuned" has its maps with the channels last, and
normalisations by a reciprocal square root; "compiled" is that under torch.compile, if asked for.
All in float32 on the CPU but "native, bf16", as many threads in all for each contender as there are
cores: ours as one process with all of them, and as two processes, one column each, with half of
them each. With one thread, the two processes are left out. "ours" is portable
arithmetic, "native" the same by PyTorch's kernels.

The breakdown is of one step under PyTorch's profiler, on the first process. `fraction of the limit`
is the multiply-adds of a step (forward, gradients of weights and of inputs, not of the picture),
over what the same threads do in the same time when they do nothing but fused multiply-adds in
registers, measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import click
import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Views
from alexnet.layers import CROP
from alexnet.network import Network, Precision
from alexnet.placement import placement_here
from alexnet.plan import Plan
from alexnet.recipe import recipe
from alexnet.training import Training
from benchmarks.harness import fma_rate, interleaved, ratio, report, training_macs
from benchmarks.pictures import CLASSES, STATISTICS
from benchmarks.stock import stock, stock_step, tuned
from pipeline.data.split import Split
from pipeline.system.processes import keep_freed_memory
from pipeline.training.loading import crop_reader

RECIPE = recipe("source")
CPU = torch.device("cpu")


def our_training(batch: int, width: float, split: bool, images: Split | None = None,
                 device: torch.device = CPU, precision: Precision = "fp32",
                 own: Arithmetic = NATIVE) -> Training:
    """Ours, from uint8 crops in memory, always the same, or from a store; `advance` is a step."""
    pictures = torch.randint(0, 256, (batch, CROP, CROP, 3), dtype=torch.uint8)

    def same_crops(views: Views) -> Tensor:
        return pictures[: len(views.images)]

    network = Network(architecture("two-column", RECIPE, CLASSES, width), RECIPE, 1,
                      placement_here(2, split, device), precision, own)
    labels = torch.arange(batch) % CLASSES if images is None else torch.from_numpy(images.labels)
    return Training(network, RECIPE, Plan(1, 10**6, batch, 1), labels, STATISTICS,
                    same_crops if images is None else crop_reader(images, CROP),
                    None if images is None else lambda expected: images.expect(expected.numpy()))


def two_processes(module: str, folder: Path, options: Mapping[str, Any],
                  threads: int) -> dict[str, Any]:
    """What `python -m MODULE --worker FOLDER` prints as JSON, started as two processes with so many
    threads each."""
    told = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", module, "--worker", str(folder), *told]
    done = subprocess.run(command, capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[1], env=os.environ
                          | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def working_as_one_of_two() -> Iterator[None]:
    """Within a process that `two_processes` started."""
    dist.init_process_group("gloo")
    keep_freed_memory()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    yield
    dist.destroy_process_group()


def seconds_of(steps: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """`interleaved`, with all processes beginning each step together."""
    return interleaved({name: _together(step) for name, step in steps.items()}, rounds)


def _together(step: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        dist.barrier()
        step()
    return run


PARTS = {  # of a step, by the profiler's names
         "matrix work": ("_Layer", "_LayerBackward"),
         "normalisation": ("_Normalize", "_NormalizeBackward"),
         "pooling": ("_MaxPool", "_MaxPoolBackward"),
         "update": ("update",), "input": ("input",), "communication": ("communication",)}


def breakdown(training: Training) -> dict[str, float]:
    """Seconds of each part of a step; `input` is what the step waits for it."""
    from torch.profiler import ProfilerActivity, profile, record_function

    from alexnet import messages, optimizer
    from alexnet import training as training_module

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            with record_function(name):
                return function(*args, **kwargs)
        return recorded

    update, wait, take = optimizer.update, messages._wait, training.inputs.take
    setattr(training_module, "update", named("update", update))  # noqa: B010
    setattr(messages, "_wait", named("communication", wait))  # noqa: B010
    setattr(training.inputs, "take", named("input", take))  # noqa: B010
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            start = time.perf_counter()
            training.advance()
            whole = time.perf_counter() - start
    finally:
        setattr(training_module, "update", update)  # noqa: B010
        setattr(messages, "_wait", wait)  # noqa: B010
        setattr(training.inputs, "take", take)  # noqa: B010
    totals = {event.key: event.cpu_time_total / 1e6 for event in profiled.key_averages()}
    parts = {part: sum(totals.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    return parts | {"the rest": whole - sum(parts.values()), "a step, profiled": whole}


def worker(batch: int, width: float, rounds: int) -> None:
    with working_as_one_of_two():
        training = our_training(batch, width, split=True, own=Portable())
        seconds = seconds_of({"step": training.advance}, rounds)["step"]
        parts = breakdown(training)
        training.finish()
        if dist.get_rank() == 0:
            print(json.dumps({"seconds": seconds, "parts": parts}))


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=128, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=0, help="In all.  [default: one for each core]")
@click.option("--compiled", is_flag=True, help="Also the tuned layers under torch.compile.")
@click.option("--worker", "folder", type=click.Path(path_type=Path), hidden=True)
def main(as_json: bool, batch: int, width: float, rounds: int, threads: int,
         compiled: bool, folder: Path | None) -> None:
    if folder:
        worker(batch, width, rounds)
        return
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    from benchmarks.torchvision_import import models

    training = our_training(batch, width, split=False, own=Portable())
    contenders = {"ours, one process": training.advance,
                  "native, one process": our_training(batch, width, split=False).advance,
                  "native, bf16": our_training(batch, width, split=False,
                                               precision="bf16").advance,
                  "stock layers": stock_step(stock(width), batch),
                  "tuned layers": stock_step(tuned(width), batch, torch.channels_last),
                  "torchvision alexnet": stock_step(models.alexnet(), batch)}
    if compiled:
        compiled_layers = cast(nn.Module, torch.compile(tuned(width)))
        contenders["compiled layers"] = stock_step(compiled_layers, batch, torch.channels_last)
    seconds = interleaved(contenders, rounds)
    parts = {"one process": breakdown(training)}
    rate = fma_rate(threads)
    ratios = {f"{name} / ours, one process": ratio(seconds[name], seconds["ours, one process"])
              for name in contenders if name != "ours, one process"}
    if threads >= 2:
        seconds["ours, two processes"], beside = [], []
        for _ in range(2):  # beside the stock layers again, since the machine may have changed
            found = two_processes("benchmarks.step", Path(),
                                  {"batch": batch, "width": width, "rounds": rounds}, threads // 2)
            seconds["ours, two processes"] += found["seconds"]
            beside += interleaved({"stock layers": contenders["stock layers"]},
                                  rounds)["stock layers"]
        parts["two processes"] = found["parts"]
        ratios["stock layers / ours, two processes"] = ratio(beside, seconds["ours, two processes"])
    # of a step, in floating-point operations
    work = 2 * training_macs(training.network.table) * batch
    rows: list[dict[str, Any]] = [
        {"what": name, "s": statistics.median(times), "images/s": batch / statistics.median(times),
         "fraction of the limit": work / statistics.median(times) / rate
         if name.startswith(("ours", "native, one")) else None} for name, times in seconds.items()]
    rows += [{"what": f"{place}: {part}", "s": took,
              "images/s": None, "fraction of the limit": None}
             for place, broken in parts.items() for part, took in broken.items()]
    rows.append({"what": f"multiply-adds in registers, {rate / 1e9:.0f} GFLOP/s, would take", "s":
                 work / rate, "images/s": batch * rate / work, "fraction of the limit": 1.0})
    report(rows, ratios, threads, as_json)


if __name__ == "__main__":
    main()
