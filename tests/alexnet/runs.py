"""Small training runs on random pictures, under any placement, for the tests of equal bits."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from alexnet.architectures import Name, architecture
from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.native import Name as ArithmeticName
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Statistics, Views
from alexnet.inputs import side_read
from alexnet.layers import STORED
from alexnet.network import Network, Precision
from alexnet.placement import placement_here
from alexnet.plan import Plan
from alexnet.recipe import Name as RecipeName
from alexnet.recipe import recipe
from alexnet.training import Training
from tests.loaded import forked

IMAGES = 24
CLASSES = 10
READ: list[int] = []  # the images that this process read


@dataclass(frozen=True)
class Run:
    """A run of a few updates."""

    steps: int = 3
    stop: int = 3  # updates to do before leaving the state
    trace_every: int = 1  # updates; of those between, the losses are kept
    recipe: RecipeName = "source"
    switches: dict[str, Any] = field(default_factory=dict)
    architecture: Name = "two-column"
    width: float = 0.0625
    classes: int = CLASSES
    batch: int = 8
    micro_batches: int = 2
    split: bool = False
    threads: int = 1
    precision: Precision = "fp32"
    arithmetic: ArithmeticName = "native"


@cache
def pictures() -> Tensor:
    """uint8 [24, 256, 256, 3]: noise over smooth colours, the same every time."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(IMAGES, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, STORED, mode="bilinear").movedim(1, -1)
    noise = torch.rand(IMAGES, STORED, STORED, 3, generator=generator)
    return ((0.8 * smooth + 0.2 * noise) * 255).to(torch.uint8)


def statistics(images: Tensor) -> Statistics:
    pixels = images.reshape(-1, 3).double()
    values, vectors = torch.linalg.eigh(torch.cov(pixels[::97].T))
    return Statistics(images.float().mean(0), values.flip(0), vectors.flip(1))


def training(run: Run) -> Training:
    """The run's state before its first update, on this process."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # PyTorch's sums of pixels depend on it
    images = pictures()
    of_images = statistics(images)
    torch.set_num_threads(run.threads)
    chosen = recipe(run.recipe, **run.switches)
    table = architecture(run.architecture, chosen, run.classes, run.width)
    placement = placement_here(table.columns, run.split, torch.device("cpu"))
    arithmetic = NATIVE if run.arithmetic == "native" else Portable()
    network = Network(table, chosen, 7, placement, run.precision, arithmetic)

    side = side_read(chosen, table)

    def crops(seen: Views) -> Tensor:
        READ.extend(seen.images.tolist())
        cropped = []
        for image, top, left, flip in zip(seen.images, seen.tops, seen.lefts, seen.flips,
                                          strict=True):
            crop = images[image, top: top + side, left: left + side]
            cropped.append(crop.flip(1) if flip else crop)
        return torch.stack(cropped)

    labels = torch.arange(IMAGES) % run.classes
    plan = Plan(seed=7, steps=run.steps, batch=run.batch, micro_batches=run.micro_batches)
    return Training(network, chosen, plan, labels, of_images, crops)


def perform(run: Run, folder: Path, resume: Path | None = None) -> None:
    """Do the run and leave `state.safetensors` and `traces.json`."""
    trained = training(run)
    if resume:
        last = json.loads((resume / "traces.json").read_text())[-1]
        trained.load(int(last["step"]), load_file(resume / "state.safetensors"))
    traces = []
    while trained.step < run.stop:
        traced = (trained.step + 1) % run.trace_every == 0
        trained.advance(traced)
        traces.append(_entry(trained, traced))
    trained.finish()
    rank = dist.get_rank() if dist.is_initialized() else 0
    (folder / f"read-{rank}.json").write_text(json.dumps(READ))
    _leave(trained, traces, folder)


def _entry(trained: Training, traced: bool) -> dict[str, Any]:
    if traced:
        return trained.trace().entry()
    return {"step": trained.step,
            "loss": None if trained.loss is None else float(trained.loss).hex()}


def _leave(trained: Training, traces: list[Any], folder: Path) -> None:
    state = trained.state() if trained.placement.replica == 0 else None
    if state is not None:
        save_file(state, folder / "state.safetensors")
        (folder / "traces.json").write_text(json.dumps(traces))


def launch(run: Run, folder: Path, processes: int,
           resume: Path | None = None) -> tuple[dict[str, Tensor], list[Any]]:
    """The run on this many processes: its final state, and a trace entry for each update."""
    folder.mkdir(parents=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    # What PyTorch's launcher tells its processes; itself it would only cost time.
    variables = {} if processes == 1 else {
        "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [forked(_process, run, folder, resume, variables | {"RANK": str(rank)})
               for rank in range(processes)]
    try:
        while any(process.exitcode is None for process in started):
            if any(process.exitcode for process in started):
                break
            time.sleep(0.02)
    finally:
        for process in started:
            process.kill()
            process.join()
    assert all(process.exitcode == 0 for process in started), [
        (process.exitcode, (folder / f"{rank}.log").read_text())
        for rank, process in enumerate(started)]
    return load_file(folder / "state.safetensors"), json.loads((folder / "traces.json").read_text())


def _process(run: Run, folder: Path, resume: Path | None, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    log = os.open(folder / f"{variables['RANK']}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "WORLD_SIZE" in variables:
        dist.init_process_group("gloo")
    perform(run, folder, resume)
    if dist.is_initialized():
        dist.destroy_process_group()
