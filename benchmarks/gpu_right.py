"""The phase `right` of `benchmarks.gpu`: PyTorch's kernels on this device against float64 on the
CPU, and a training's bits against themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from alexnet import normalization
from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.operators import Normalization
from alexnet.layers import CROP
from alexnet.network import Network
from alexnet.optimizer import update
from alexnet.placement import Placement, placement_here
from alexnet.recipe import recipe
from alexnet.schedule import rate
from benchmarks.gpu_part import each, emit, interpreted, set_exact
from benchmarks.gpu_sample import REHEARSAL, SAMPLE, pictures, state_digest, training

# Relative distances of what rounding explains. In gradients it changes a choice in a pooling window
# now and then, 2e-3 to 7e-3 of conv1's (seen on a CPU, by pictures that differ in their last bit);
# the rounding of TF32 moves them by 7e-2.
NEAR = {"logits": 1e-5, "gradients": 1e-2, "an update": 1e-2}
UPDATES = {"cuda": 10, "cpu": 4}


def numbers(device: torch.device) -> None:
    """Compare logits, gradients and an update of the full net, both recipes."""
    full = device.type == "cuda"
    width, classes, batch = (1.0, 1000, 8) if full else (1 / 32, 10, 2)
    images = (torch.rand(batch, 3, CROP, CROP, generator=torch.Generator().manual_seed(1)) - 0.5)
    images = images * 240
    labels = torch.arange(batch) * 37 % classes
    for name in ("source", "paper"):
        own = recipe(name)
        table = architecture("two-column", own, classes, width)
        exact = _first_update(Network(table, own, 1).double(), images.double(), labels)
        here = _first_update(Network(table, own, 1, Placement(device=device)), images.to(device),
                             labels.to(device))
        for what, reference in exact.items():
            furthest, parameter = max(
                (float((here[what][key].double().cpu() - value).norm() / (value.norm() + 1e-30)),
                 key) for key, value in reference.items())
            emit(f"{what} against float64, recipe {name}", furthest=furthest, of=parameter,
                 verdict="agrees" if furthest < NEAR[what] else "differs")


def _first_update(network: Network, images: Tensor,
                  labels: Tensor) -> dict[str, dict[str, Tensor]]:
    """{"logits", "gradients", "an update"}: tensors by name."""
    logits = network(images)
    NATIVE.loss(logits, labels, len(labels))[0].backward()
    gradients, velocities = {}, {}
    for name, column, parameter in network.named_columns():
        assert parameter.grad is not None
        gradients[f"{name}/{column}"] = parameter.grad.clone()
        velocity = torch.zeros_like(parameter)
        update(parameter, velocity, parameter.grad, rate(network.recipe, name, 0.0))
        velocities[f"{name}/{column}"] = velocity  # the weights' change, before it is rounded away
    return {"logits": {"logits": logits.detach()}, "gradients": gradients,
            "an update": velocities}


def kernels(device: torch.device) -> None:
    """Compare the normalisations' Triton kernels with their plain twins."""
    if device.type == "cpu" and not interpreted(device):
        emit("normalisation in Triton", verdict="not compared", detail="there is no Triton")
        return
    from alexnet.arithmetic.gpu import maps_triton

    side = 27 if device.type == "cuda" else 5
    for name, dims, k, scale in (("lrn", (3,), 2.0, 2e-5), ("spatial", (2, 1), 1.0, 4e-5)):
        constants, across = Normalization(5, k, scale), normalization.ACROSS[dims]
        x, g = (torch.randn(4, side, side, 48, generator=torch.Generator().manual_seed(seed))
                .to(device) * 200 for seed in (1, 2))
        y, root = normalization._forward(x, len(x), dims, 5, k, scale)
        own_y, quotient = maps_triton.normalized(x, constants, across)
        dx = normalization._backward(x, root, g, len(x), dims, 5, -1.5 * scale)
        own_dx = maps_triton.normalized_gradient(g, x, quotient, constants, across)
        furthest = max(float((a - b).norm() / b.norm()) for a, b in ((own_y, y), (own_dx, dx)))
        emit(f"normalisation {name} in Triton against its twin", furthest=furthest,
             verdict="agrees" if furthest < 1e-5 else "differs")


def deterministic(device: torch.device) -> None:
    """See that what is not deterministic is refused, and that two runs are equal."""
    if device.type == "cuda":
        try:
            torch.zeros(4, device=device).scatter_reduce_(
                0, torch.zeros(4, dtype=torch.int64, device=device),
                torch.ones(4, device=device), "prod")
            torch.zeros(2, 4, device=device).put_(torch.tensor([0, 0], device=device),
                                                  torch.ones(2, device=device), accumulate=False)
            refused = False
        except RuntimeError as error:
            refused = "deterministic" in str(error)
    else:
        refused = torch.are_deterministic_algorithms_enabled()
    emit("an operation that is not deterministic", verdict="refused" if refused else "differs")
    updates = UPDATES[device.type]
    first, second = (_trained(device, updates) for _ in range(2))
    other = _trained(device, updates - 1)
    assert other != first, "the digest does not see an update"
    emit(f"two runs of {updates} updates", digest=first[:16],
         verdict="identical" if first == second else "differs")


def _chosen(device: torch.device) -> Any:
    return SAMPLE if device.type == "cuda" else REHEARSAL


def _trained(device: torch.device, updates: int) -> str:
    run = training(_chosen(device), pictures(_chosen(device).batch), NATIVE,
                   Placement(device=device))
    for _ in range(updates):
        run.advance()
    run.finish()
    return state_digest(run)


def resumption(device: torch.device) -> None:
    """Go on from a state in another training."""
    images, updates = pictures(_chosen(device).batch), UPDATES[device.type]
    runs = [training(_chosen(device), images, NATIVE, Placement(device=device)) for _ in range(3)]
    for _ in range(updates):
        runs[0].advance()
    for _ in range(updates // 2):
        runs[1].advance()
    state = runs[1].state()
    assert state is not None
    runs[2].load(updates // 2, state)
    for _ in range(updates - updates // 2):
        runs[2].advance()
    for run in runs:
        run.finish()
    digests = [state_digest(run) for run in runs]
    assert digests[1] != digests[0]
    emit(f"{updates} updates, and {updates // 2} resumed", digest=digests[0][:16],
         verdict="identical" if digests[2] == digests[0] else "differs")


def two_processes(device: torch.device) -> None:
    """One column on each of two processes, over gloo, on the same device."""
    images, updates = pictures(_chosen(device).batch), UPDATES[device.type]
    one = _trained(device, updates)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "pictures.npy", images)
        spawn(_one_of_two, (folder, device, updates), nprocs=2)
        two = (Path(folder) / "digest").read_text()
    emit(f"{updates} updates, one process and two over gloo", digest=two[:16],
         verdict="identical" if one == two else "differs")


def _one_of_two(rank: int, folder: str, device: torch.device, updates: int) -> None:
    torch.set_num_threads(1)
    set_exact()
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank,
                            world_size=2)
    images = np.load(Path(folder) / "pictures.npy")
    run = training(_chosen(device), images, NATIVE, placement_here(2, True, device))
    for _ in range(updates):
        run.advance()
    run.finish()
    state = run.state()
    if state is not None:
        from alexnet.digest import digest_of

        (Path(folder) / "digest").write_text(digest_of(state))
    dist.destroy_process_group()


if __name__ == "__main__":
    each({"numbers": numbers, "kernels": kernels, "deterministic": deterministic,
          "resumption": resumption, "two processes": two_processes})
