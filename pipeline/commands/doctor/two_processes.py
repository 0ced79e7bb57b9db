"""What each of two processes does for `alexnet doctor`: exchange with the other, and take tiny
training steps.

`python -m pipeline.commands.doctor.two_processes FOLDER`, once a rank. FOLDER has parameters.json,
and gets `exchange-RANK.json` as soon as the exchange has been made, and from rank 0 `traces.json`:
the entries of the trace of two updates, computed twice in one process and, where the device allows
it, once as two processes with one column each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.architectures import ARCHITECTURES
from alexnet.augmentation import Statistics, Views
from alexnet.draws import integers, words
from alexnet.messages import swap
from alexnet.network import Network
from alexnet.placement import placement_here
from alexnet.plan import Plan
from alexnet.training import Training
from pipeline.config.parameters import Parameters, check
from pipeline.system.files import write_json

SECONDS = 90  # that one process waits for the other
STEPS, IMAGES, CLASSES, BATCH, WIDTH = 2, 4, 10, 2, 1 / 16
EXCHANGED = 1 << 20  # numbers of four bytes: 4 MiB each way


def main(folder: Path) -> None:
    """Write the files that the module's description names."""
    from pipeline.training.execution import prepare

    parameters = _settled(check(json.loads((folder / "parameters.json").read_text()),
                                folder / "parameters.json"))
    rank, on_gpu = int(os.environ["RANK"]), parameters.execution.device == "cuda"
    pair = on_gpu and torch.cuda.device_count() > 1
    if pair or rank == 0 or not on_gpu:  # one GPU is for one process
        device = prepare(parameters)
    together = torch.device("cuda", rank) if pair else torch.device("cpu")
    dist.init_process_group("nccl" if pair else "gloo", timeout=timedelta(seconds=SECONDS))
    write_json(folder / f"exchange-{rank}.json", exchanged(rank, together))
    traces = {}
    if ARCHITECTURES[parameters.architecture].columns == 2 and (pair or not on_gpu):
        traces["two processes"] = trace(parameters, together, split=True)
    dist.destroy_process_group()
    if rank == 0:
        traces |= {name: trace(parameters, device, split=False)
                   for name in ("one process", "the same again")}
        write_json(folder / "traces.json", traces)


def _settled(parameters: Parameters) -> Parameters:
    """Return the parameters with the device that the stage `train` takes, and one thread."""
    execution = parameters.execution
    device = (execution.device if execution.device != "auto"
              else "cuda" if torch.cuda.is_available() else "cpu")
    return parameters.model_copy(
        update={"execution": execution.model_copy(update={"device": device, "threads": 1})})


def exchanged(rank: int, device: torch.device) -> dict[str, Any]:
    """Swap numbers with the other process, and check each of them."""
    mine = torch.arange(EXCHANGED, dtype=torch.int32, device=device) + rank
    swap(mine, 1 - rank)  # the first meeting, which sets connections up
    begin = time.perf_counter()
    theirs = swap(mine, 1 - rank)
    right = bool(torch.equal(theirs, mine - rank + (1 - rank)))  # waits for the device, too
    return {"backend": dist.get_backend(), "right": right, "seconds": time.perf_counter() - begin,
            "bytes": mine.nbytes}


def trace(parameters: Parameters, device: torch.device, split: bool) -> list[dict[str, Any]]:
    """Return the trace of the configured net and recipe, 1/16 as wide, on pictures of noise."""
    from pipeline.training.loading import arithmetic

    network_section = parameters.network.model_copy(update={"width": WIDTH})
    table = parameters.model_copy(update={"network": network_section}).layer_table(CLASSES)
    recipe = parameters.effective_recipe()
    network = Network(table, recipe, 7, placement_here(table.columns, split, device),
                      parameters.train.precision, arithmetic(parameters.train.arithmetic))
    pictures = noise((IMAGES, table.stored, table.stored, 3))

    def crops(seen: Views) -> Tensor:
        cut = []
        for image, top, left, flip in zip(seen.images, seen.tops, seen.lefts, seen.flips,
                                          strict=True):
            crop = pictures[image, top: top + table.crop, left: left + table.crop]
            cut.append(crop.flip(1) if flip else crop)
        return torch.stack(cut)

    statistics = Statistics(pictures.float().mean(0),
                            torch.tensor([4000.0, 300.0, 50.0], dtype=torch.float64),
                            torch.eye(3, dtype=torch.float64))
    training = Training(network, recipe, Plan(seed=7, steps=STEPS, batch=BATCH, micro_batches=1),
                        torch.arange(IMAGES) % CLASSES, statistics, crops)
    steps = []
    for _ in range(STEPS):
        training.advance(traced=True)
        steps.append(training.trace().entry())
    training.finish()
    return steps


def noise(shape: tuple[int, ...]) -> Tensor:
    """Return uint8 of this shape, the same every time."""
    count = int(torch.tensor(shape).prod())
    return integers(words(2012, "doctor", 0, torch.arange(-(-count // 4))),
                    256).flatten()[:count].view(shape).to(torch.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
