"""LRN and the spatial normalisation, forward and backward, against torch.nn.LocalResponseNorm.

    python -m benchmarks.normalization [--json] [--threads N] [--batch N]

Shapes are those of the paper's layers 1 and 2, in one column.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import click
import torch
from torch import Tensor

from alexnet.normalization import lrn, spatial_norm
from benchmarks.harness import interleaved, ratio, report

SHAPES = {"layer 1": (48, 55, 55), "layer 2": (128, 27, 27)}


def forward_and_backward(norm: Callable[[Tensor], Tensor], x: Tensor,
                         gradient: Tensor) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        norm(x).backward(gradient)
    return run


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--threads", default=1, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(as_json: bool, threads: int, batch: int, rounds: int) -> None:
    torch.set_num_threads(threads)
    stock = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    rows, ratios = [], {}
    for layer, shape in SHAPES.items():
        generator = torch.Generator().manual_seed(1)
        x = (torch.randn(batch, *shape, generator=generator) * 30).requires_grad_()
        gradient = torch.randn(batch, *shape, generator=generator)
        norms: dict[str, Callable[[Tensor], Tensor]] = {"torch.nn.LocalResponseNorm": stock,
                                                        "lrn": lrn, "spatial_norm": spatial_norm}
        contenders = {name: forward_and_backward(norm, x, gradient) for name, norm in norms.items()}
        seconds = interleaved(contenders, rounds)
        for name, times in seconds.items():
            rows.append({"layer": layer, "what": name, "ms": 1000 * statistics.median(times)})
        for name in ("lrn", "spatial_norm"):
            ratios[f"{layer}: stock LRN / {name}"] = ratio(seconds["torch.nn.LocalResponseNorm"],
                                                           seconds[name])
    report(rows, ratios, threads, as_json)


if __name__ == "__main__":
    main()
