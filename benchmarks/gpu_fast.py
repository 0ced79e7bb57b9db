"""The phase `fast` of `benchmarks.gpu`: images/s of a training, and where its time goes.

In the order of what is worth most, as long as time is left: each precision at the paper's batch and
at 1024, stock layers beside them, what determinism costs, pictures from a file, the kernels that
take the time, the tiles of portable arithmetic.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Statistics, Views, copy_crop
from alexnet.layers import CROP, STORED
from alexnet.network import Network, Precision
from alexnet.placement import Placement
from alexnet.plan import Plan
from alexnet.recipe import recipe
from alexnet.training import Training
from benchmarks.gpu_part import each, emit, seconds_left, synchronize
from benchmarks.harness import training_macs
from benchmarks.stock import WEIRD_MACS, one_weird_trick, stock, stock_step

IMAGENET_EPOCHS = 90 * 1_281_167  # images
CLASSES, STORE = 1000, 2048  # classes; pictures in the file
AIMS = {("portable", 128): 6.0, ("tf32", 128): 2.0, ("bf16", 128): 2.0, ("tf32", 1024): 1.0,
        ("bf16", 1024): 1.0}  # hours for 90 epochs
speeds: dict[tuple[str, int], float] = {}  # images/s that were measured


def sizes(device: torch.device) -> tuple[float, tuple[int, ...]]:
    """Width of the net, and batches."""
    return (1.0, (128, 1024)) if device.type == "cuda" else (1 / 32, (4,))


def set_precision(precision: str) -> Precision:
    """Set PyTorch's products of float32, and return the network's precision."""
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return "bf16" if precision == "bf16" else "fp32"


def our_training(device: torch.device, precision: str, batch: int,
                 store: np.ndarray[Any, Any] | None = None) -> Training:
    """A training on crops in memory, always the same, or on a store of whole images."""
    width, _ = sizes(device)
    own, kind = recipe("source"), set_precision(precision)
    arithmetic = Portable(gpu=device.type == "cuda") if precision == "portable" else NATIVE
    table = architecture("two-column", own, CLASSES, width)
    same = torch.randint(0, 256, (batch, CROP, CROP, 3), dtype=torch.uint8)

    def crops(views: Views) -> Tensor:
        if store is None:
            return same[: len(views.images)]
        cut = np.empty((len(views.images), CROP, CROP, 3), np.uint8)
        for crop, (image, top, left, flip) in zip(cut, np.stack(
                [views.images, views.tops, views.lefts, views.flips], axis=1).tolist(),
                strict=True):
            copy_crop(crop, store[image], top, left, flip)
        return torch.from_numpy(cut)

    colours = Statistics(torch.full((STORED, STORED, 3), 120.25),
                         torch.tensor([14830.0, 1376.0, 389.0]).double(), torch.eye(3).double())
    labels = torch.arange(batch if store is None else len(store)) % CLASSES
    network = Network(table, own, 1, Placement(device=device), kind, arithmetic)
    return Training(network, own, Plan(1, 10**6, batch, 1), labels, colours, crops)


def images_a_second(step: Callable[[], object], batch: int, device: torch.device) -> float:
    """Of a step, the median of rounds of several steps each, after a warm-up."""
    few = 5 if device.type == "cuda" else 1
    for _ in range(few):
        step()
    rounds = []
    for _ in range(3):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(few):
            step()
        synchronize(device)
        rounds.append((time.perf_counter() - start) / few)
    return batch / statistics.median(rounds)


def peaks(device: torch.device) -> dict[str, float]:
    """Rates of large matrices, in operations a second, by precision, and of memory, in bytes."""
    size = 8192 if device.type == "cuda" else 256
    found = {}
    for precision, dtype in (("fp32", torch.float32), ("tf32", torch.float32),
                             ("bf16", torch.bfloat16)):
        set_precision(precision)
        a = torch.ones(size, size, dtype=dtype, device=device)
        found[precision] = images_a_second(lambda a=a: a @ a, 1, device) * 2.0 * size**3  # type: ignore[misc]
    block = torch.zeros(1 << 28 if device.type == "cuda" else 1 << 16, device=device)
    other = torch.empty_like(block)
    found["memory"] = images_a_second(lambda: other.copy_(block), 1, device) * 2 * 4 * len(block)
    return found


def speed(device: torch.device) -> None:
    """Measure every precision at every batch."""
    _, batches = sizes(device)
    rates = peaks(device)
    for name, value in rates.items():
        emit(f"the limit: {name}", **{"GB/s" if name == "memory" else "TFLOP/s":
                                      value / (1e9 if name == "memory" else 1e12)})
    kinds = ("tf32", "bf16", "fp32", "portable") if device.type == "cuda" else ("fp32", "portable")
    for batch in batches:
        for precision in kinds:
            if seconds_left() < 15:
                return
            training = our_training(device, precision, batch)
            speeds[precision, batch] = value = images_a_second(training.advance, batch, device)
            training.finish()
            work = 2.0 * training_macs(training.network.table) * value
            hours, aim = IMAGENET_EPOCHS / value / 3600, AIMS.get((precision, batch))
            limit = rates["fp32" if precision == "portable" else precision]
            emit(f"ours, {precision}, batch {batch}",
                 **{"images/s": value, "hours for 90 epochs": hours, "aim": aim,
                    "fraction of the limit": work / limit})
            del training
            if device.type == "cuda":
                torch.cuda.empty_cache()


def beside_stock(device: torch.device) -> None:
    """Measure the same net of stock layers, and torchvision's, at the same precision."""
    width, batches = sizes(device)
    kinds = ("tf32", "bf16") if device.type == "cuda" else ("fp32",)
    macs = architecture("two-column", recipe("source"), CLASSES, width).macs
    for batch in batches:
        for precision in kinds:
            if seconds_left() < 15:
                return
            set_precision(precision)
            torch.set_deterministic_debug_mode("default")  # the stock normalisation is not
            nets = {"stock layers": (stock(width), macs)}
            if device.type == "cuda":
                nets["torchvision's alexnet"] = (one_weird_trick(), WEIRD_MACS)
            for name, (network, own_macs) in nets.items():
                step = stock_step(network.to(device), batch, device=device,
                                  bf16=precision == "bf16")
                value = images_a_second(step, batch, device)
                emit(f"{name}, {precision}, batch {batch}", **{"images/s": value})
                if (precision, batch) in speeds:
                    emit(f"ours / {name}, a multiply-add, {precision}, batch {batch}",
                         ratio=speeds[precision, batch] * macs / (value * own_macs))
            torch.set_deterministic_debug_mode("error")


def determinism(device: torch.device) -> None:
    """Measure what it costs."""
    batch = sizes(device)[1][0]
    precision = "tf32" if device.type == "cuda" else "fp32"
    if (precision, batch) not in speeds:
        return
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = True
    try:
        training = our_training(device, precision, batch)
        value = images_a_second(training.advance, batch, device)
        training.finish()
    finally:
        torch.backends.cudnn.benchmark = False
        torch.set_deterministic_debug_mode("error")
    emit(f"free to choose algorithms / deterministic, {precision}, batch {batch}",
         ratio=value / speeds[precision, batch], **{"images/s": value})


def from_a_file(device: torch.device) -> None:
    """Measure with crops of pictures in a file."""
    count = STORE if device.type == "cuda" else 16
    precision = "bf16" if device.type == "cuda" else "fp32"
    batch = sizes(device)[1][0]
    if (precision, batch) not in speeds:
        return
    with tempfile.TemporaryDirectory() as folder:
        drawn = np.random.default_rng(1).integers(0, 256, (count, STORED, STORED, 3), np.uint8)
        np.save(Path(folder) / "store.npy", drawn)
        training = our_training(device, precision, batch,
                                np.load(Path(folder) / "store.npy", mmap_mode="r"))
        value = images_a_second(training.advance, batch, device)
        training.finish()
    emit(f"from a file / from memory, {precision}, batch {batch}",
         ratio=value / speeds[precision, batch], **{"images/s": value})


def kernels(device: torch.device) -> None:
    """Name the twelve kernels that take the most time in a step, and the time of all of them."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    batch = sizes(device)[1][0]
    for precision in ("tf32", "portable") if on_gpu else ("fp32",):
        if seconds_left() < 15:
            return
        training = our_training(device, precision, batch)
        for _ in range(3):
            training.advance()
        synchronize(device)
        with profile(activities=[ProfilerActivity.CPU]
                     + ([ProfilerActivity.CUDA] if on_gpu else [])) as profiled:
            training.advance()
            synchronize(device)
        training.finish()
        kind = "CUDA" if on_gpu else "CPU"
        times = sorted(((float(event.self_device_time_total if on_gpu
                               else event.self_cpu_time_total) / 1e3, event.key, event.count)
                        for event in profiled.key_averages() if event.device_type.name == kind),
                       reverse=True)
        whole = sum(spent for spent, _, _ in times)
        emit(f"{precision}: all kernels of a step of {batch}", ms=whole,
             calls=sum(calls for _, _, calls in times),
             **{"ms by the clock": 1e3 * batch / speeds[precision, batch]}
             if (precision, batch) in speeds else {})
        for spent, name, calls in times[:12]:
            emit(f"{precision}: {name[:46]}", ms=spent, calls=calls, share=spent / (whole or 1.0))


def tiles(device: torch.device) -> None:
    """Measure portable arithmetic's products with tiles of other sizes; no bit depends on them."""
    if device.type != "cuda":
        return
    from alexnet.arithmetic.gpu import products_triton as products

    before = products.ROWS, products.COLUMNS, products.DEPTH, products.WARPS
    programs_before = products.PROGRAMS
    x = torch.randn(128, 27, 27, 48, device=device)
    weight = torch.randn(5, 5, 48, 128, device=device)
    try:
        for chosen in ((128, 64, 16, 4), (64, 64, 16, 4), (128, 128, 16, 8), (128, 64, 32, 8),
                       (64, 128, 16, 4), (64, 64, 32, 2)):
            if seconds_left() < 10:
                return
            products.ROWS, products.COLUMNS, products.DEPTH, products.WARPS = chosen
            rate = images_a_second(
                lambda: products.convolution(x, weight, None, 27, 27, 1, 1, 2), 1, device)
            emit(f"conv2 forward in tiles of {chosen}",
                 **{"TFLOP/s": rate * 2 * 128 * 27 * 27 * 1200 * 128 / 1e12})
        products.ROWS, products.COLUMNS, products.DEPTH, products.WARPS = before
        rows = torch.randn(1, 128, 9216, device=device)
        weight = torch.randn(2048, 9216, device=device)
        for programs, depth, warps in ((0, 16, 4), (256, 16, 4), (256, 32, 4), (256, 16, 2)):
            if seconds_left() < 10:
                return
            products.PROGRAMS, products.DEPTH, products.WARPS = programs, depth, warps
            rate = images_a_second(
                lambda: products.product(rows, weight.T[None], None, products.BLOCK), 1, device)
            emit(f"fc6 forward, {programs} programs at least, depth {depth}, {warps} warps",
                 **{"TFLOP/s": rate * 2 * 128 * 9216 * 2048 / 1e12})
    finally:
        products.PROGRAMS = programs_before
        products.ROWS, products.COLUMNS, products.DEPTH, products.WARPS = before


if __name__ == "__main__":
    each({"speed": speed, "beside stock": beside_stock, "determinism": determinism,
          "from a file": from_a_file, "kernels": kernels, "tiles": tiles})
