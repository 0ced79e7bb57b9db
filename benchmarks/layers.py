"""Each learned layer of one column, forward and both ways back: portable arithmetic against
PyTorch's own kernels, and how near both come to the limit.

    python -m benchmarks.layers [--json] [--batch N] [--width W] [--rounds N] [--threads N]

`fraction of the limit` is the multiply-adds of a direction, over what the same threads do in the
same time when they do nothing but fused multiply-adds in registers, measured in the same run. The
picture has no gradient, so conv1 has no `inputs`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from typing import Any

import click
import torch
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.arithmetic.portable import Portable
from alexnet.layers import Convolution, Shape
from benchmarks.harness import fma_rate, interleaved, ratio, report
from benchmarks.pictures import CLASSES
from benchmarks.step import RECIPE
from pipeline.system.processes import keep_freed_memory


def directions(shape: Shape, own: Arithmetic, batch: int) -> dict[str, Callable[[], Any]]:
    """Return what computes the layer's outputs, and its gradients of inputs and of parameters."""
    operator = own.operator(shape.layer)
    weight, bias = torch.randn(shape.weight), torch.randn(shape.bias)
    if isinstance(shape.layer, Convolution):
        x = _maps(batch, shape.inputs, shape.input_side)
        gradient = _maps(batch, shape.layer.outputs, shape.side)
    else:
        x = torch.randn(batch, shape.inputs * shape.input_side**2)
        gradient = torch.randn(batch, shape.layer.outputs)

    def parameters() -> Any:
        # PyTorch's graph is gone after this, so each has one of its own
        return operator.parameter_gradients(saved.pop(), gradient)

    saved: list[Any] = []
    kept = operator.forward(x, weight, bias)[1]
    return {"forward": lambda: operator.forward(x, weight, bias),
            "inputs": lambda: operator.input_gradient(kept, gradient),
            "save": lambda: saved.append(operator.forward(x, weight, bias)[1]),
            "parameters": parameters}


def _maps(batch: int, channels: int, side: int) -> Tensor:
    return torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=128, show_default=True)
@click.option("--width", default=1.0, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=0, help="In all.  [default: one for each core]")
def main(as_json: bool, batch: int, width: float, rounds: int, threads: int) -> None:
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    rate = fma_rate(threads)
    portable, rows, ratios = Portable(), list[dict[str, Any]](), dict[str, float]()
    for shape in architecture("two-column", RECIPE, CLASSES, width).shapes():
        both = {"portable": directions(shape, portable, batch),
                "native": directions(shape, NATIVE, batch)}
        seconds = interleaved({f"{name} {direction}": compute
                               for direction in both["portable"]
                               for name, of_one in both.items()
                               for compute in [of_one[direction]]}, rounds)
        for direction in ("forward", "inputs", "parameters"):
            if shape.layer.name == "conv1" and direction == "inputs":
                continue
            times = {name: seconds[f"{name} {direction}"] for name in both}
            medians = {name: statistics.median(taken) for name, taken in times.items()}
            work = 2 * shape.macs * batch
            rows.append({"layer": f"{shape.layer.name} {direction}"}
                        | {f"{name}, ms": 1000 * taken for name, taken in medians.items()}
                        | {f"{name}, fraction of the limit": work / taken / rate
                           for name, taken in medians.items()})
            ratios[f"native / portable, {shape.layer.name} {direction}"] = ratio(
                times["native"], times["portable"])
    report(rows, ratios, threads, as_json)


if __name__ == "__main__":
    main()
