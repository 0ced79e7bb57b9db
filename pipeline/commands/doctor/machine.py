"""Is the machine large enough? Disk and memory against what the configured run takes, and shared
memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.commands.doctor.finding import Finding, ok, size, skipped
from pipeline.config.describe import PUBLISHED_CLASSES
from pipeline.config.parameters import Parameters
from pipeline.config.paths import CHECKPOINTS, STORE
from pipeline.system.errors import UserError

FLOAT = 4  # bytes
CHECKPOINTS_KEPT = 3  # two, and the one that is being written; each holds weights and velocities
# weights, velocities, gradients; copies of the three for the trace, one of them for a checkpoint
COPIES_OF_WEIGHTS = 7
COPIES_OF_OUTPUTS = 4  # of a layer: itself, what the normalisation keeps, and their gradients
SHARE_STORED = 0.9  # of a data set's pictures: a store that has so many is taken to be its own
PROCESS = 0.4e9  # bytes of Python, PyTorch and its libraries
# bytes that NCCL wants for a pair of GPUs; containers have 64 MB in all by default
SHARED_BY_NCCL = 64_000_000


def disk(parameters: Parameters) -> Finding:
    """Check that there is room for the download, the image store and the checkpoints, each where it
    will lie."""
    from pipeline.data.sources import fetching

    try:
        plan = fetching.plan(parameters.dataset)
    except UserError as error:
        return Finding("fails", str(error), "correct dataset.location, or make the folder")
    side, encoding = parameters.resize.side, parameters.store.encoding
    weights = parameters_of(parameters)
    stored = _stored() >= SHARE_STORED * plan.images > 0
    needs = {plan.folder: plan.download, STORE: 0 if stored else plan.store(side, encoding),
             CHECKPOINTS: weights * FLOAT * (2 * CHECKPOINTS_KEPT + 1)}
    for folder in needs:
        there = _nearest(folder)
        if not os.access(there, os.W_OK):
            return Finding("fails", f"{there}: cannot be written to",
                           "give yourself the right to it")
    short = short_of(needs)
    if short:
        return Finding("fails", "; ".join(short), "make room; or name another disk with "
                                                  "dataset.location, make data a link to one, set "
                                                  "store.encoding to jpeg")
    from pipeline.data.disk import free

    return ok(f"about {size(sum(needs.values()))} still to be written, {size(free(STORE))} free")


def _stored() -> int:
    """Return how many images the store here has; it may be of another data set."""
    try:
        return sum(json.loads((STORE / "store.json")
                              .read_text(encoding="utf-8"))["images"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def short_of(needs: Mapping[Path, float]) -> list[str]:
    """Return a line for each file system that has less room than is needed; needs on the same one
    add up."""
    from pipeline.data.disk import free

    together: dict[int, list[Path]] = {}
    for folder in needs:
        together.setdefault(_nearest(folder).stat().st_dev, []).append(folder)
    short = []
    for folders in together.values():
        needed, there = sum(needs[folder] for folder in folders), free(folders[0])
        if needed > there:
            short.append(f"{' and '.join(str(folder) for folder in folders if needs[folder])}: "
                         f"{size(needed)} needed, {size(there)} free")
    return short


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def parameters_of(parameters: Parameters) -> int:
    """Return the number of weights and biases of the configured network."""
    return int(parameters.layer_table(_classes(parameters)).parameters)


def _classes(parameters: Parameters) -> int:
    return parameters.dataset.data_set.classes or PUBLISHED_CLASSES


def needed_memory(parameters: Parameters) -> float:
    """Return about how many bytes all training processes take together, estimated from the sizes of
    the layers."""
    from alexnet.layers import Convolution

    table = parameters.layer_table(_classes(parameters))
    outputs = 0
    for shape in table.shapes():
        maps = shape.layer.outputs * table.held_by(shape.layer)
        outputs += maps * (shape.side**2 if isinstance(shape.layer, Convolution) else 1)
    micro_batch = parameters.train.batch // parameters.train.micro_batches
    crops = micro_batch * table.crop**2 * 3 * FLOAT * 2  # this batch and the next
    processes = parameters.execution.replicas * (2 if parameters.execution.placement != "one"
                                                 else 1)
    return processes * PROCESS + parameters.execution.replicas * (
        table.parameters * FLOAT * COPIES_OF_WEIGHTS
        + micro_batch * outputs * FLOAT * COPIES_OF_OUTPUTS + crops)


def memory(parameters: Parameters) -> Finding:
    """Compare what the training takes with what is free here, or in this container."""
    needed, free = needed_memory(parameters), free_memory()
    detail = f"the training takes about {size(needed)}, {size(free)} are free"
    if parameters.execution.device == "cuda":
        return skipped("execution.device is cuda, and the training's memory the GPU's; "
                       f"{size(free)} are free here")
    if needed > free:
        return Finding("fails", detail, "raise train.micro_batches (it decides bits), lower "
                                      "train.batch or network.width, or end other programs")
    return ok(detail)


def free_memory() -> float:
    """Return the free bytes, within the container's limit where there is one."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for limit, used in (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
                        ("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                         "/sys/fs/cgroup/memory/memory.usage_in_bytes")):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return max(free, 0.0)


def shared_memory(parameters: Parameters,
                  folder: Path = Path("/dev/shm")) -> Finding:  # noqa: S108  (only asked)
    """Check the shared memory that processes need for their locks, and NCCL for what GPUs
    exchange."""
    if sys.platform != "linux":
        return skipped("not a folder on this system")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("fails", f"{folder}: not there, or cannot be written to", "mount it: mount "
                       f"-t tmpfs -o size=1g tmpfs {folder}; in a container: --shm-size=1g")
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        return Finding("fails", f"{folder}: no lock can be made ({error.strerror})",
                       "make room there, or mount it anew: --shm-size=1g for a container")
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    from pipeline.commands.doctor.software import nvidia_gpus

    if nvidia_gpus() > 1 and free < SHARED_BY_NCCL:
        return Finding("fails",
                       f"{folder}: {size(free)} free, and NCCL needs {size(SHARED_BY_NCCL)}",
                       "--shm-size=1g for a container")
    return ok(f"{folder}: {size(free)} free")
