"""Runs of narrow nets on pictures that are made of integers, the same everywhere; the weights that
two updates leave have their digests in `runs.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic.eigen import components
from alexnet.arithmetic.native import Arithmetic
from alexnet.arithmetic.table import integers
from alexnet.augmentation import Statistics, Views
from alexnet.digest import digest_of
from alexnet.inputs import side_read
from alexnet.network import Network
from alexnet.plan import Plan
from alexnet.recipe import recipe
from alexnet.training import Training

IMAGES = 12
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # arguments of architecture, of recipe
    "source": ({"name": "two-column"}, {}),
    "paper": ({"name": "two-column"}, {"name": "paper", "colour_noise": "eigenvalue-unit"}),
    "half": ({"name": "half", "pooling": "separate"}, {"mean_window": "crop", "order": "epoch"}),
    "undivided": ({"name": "undivided", "dropout": False}, {"noise_division": False}),
    "conv6": ({"name": "conv6", "without": "conv4"}, {"dropout_scaling": "train"}),
    "tanh": ({"name": "two-column", "neuron": "tanh", "without": "fc7"}, {"crops": "centre"}),
    "no norm": ({"name": "two-column", "normalization": False}, {"images_per_crop": 1}),
    "schedules": ({"name": "half"}, {"schedule": "dexp", "momentum_at_drop": "rescaled"}),
    "cifar": ({"name": "cifar"}, {"colour_noise": "none"}),
    "cifar-18pct": ({"name": "cifar-18pct"}, {"colour_noise": "none", "crops": "whole"}),
    "caffe": ({"name": "two-column"}, {"name": "caffe"}),
    "caffenet": ({"name": "two-column"}, {"name": "caffenet"}),
    "torchvision": ({"name": "one-weird-trick"}, {"name": "torchvision"}),
    "one-weird-trick": ({"name": "one-weird-trick"}, {"name": "one-weird-trick"}),
    "dropout before": ({"name": "two-column"}, {"dropout_place": "before"}),
}
DIGESTS = json.loads(Path(__file__).with_name("runs.json").read_text(encoding="utf-8"))


def training(case: str, arithmetic: Arithmetic, micro_batches: int = 2, steps: int = 4) -> Training:
    """A run of a narrow net on pictures that are made of integers, the same everywhere."""
    of_table, of_recipe = CASES[case]
    chosen = recipe(**of_recipe)
    table = architecture(recipe=chosen, classes=5, width=1 / 32, **of_table)
    coarse = integers(1, 256, IMAGES, table.stored // 8, table.stored // 8, 3)
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2) * 3 + integers(2, 256, IMAGES, table.stored,
                                                                      table.stored, 3)
    pictures = torch.from_numpy((fine // 4).astype(np.uint8))
    pixels = fine.reshape(-1, 3)[::101] // 4 - 127
    covariance = (pixels.T @ pixels / len(pixels)).tolist()
    eigenvalues, vectors = components(covariance)
    mean = (fine // 4).sum(0) / IMAGES
    statistics = Statistics(torch.from_numpy(mean.astype(np.float32)),
                            torch.tensor(eigenvalues, dtype=torch.float64),
                            torch.tensor(vectors, dtype=torch.float64))

    side = side_read(chosen, table)

    def crops(views: Views) -> Tensor:
        found = []
        for image, top, left, flip in zip(views.images, views.tops, views.lefts, views.flips,
                                          strict=True):
            crop = pictures[image, top: top + side, left: left + side]
            found.append(crop.flip(1) if flip else crop)
        return torch.stack(found)

    network = Network(table, chosen, 3, arithmetic=arithmetic)
    return Training(network, chosen, Plan(3, steps, 4, micro_batches), torch.arange(IMAGES) % 5,
                    statistics, crops)


def advanced(case: str, arithmetic: Arithmetic, updates: int = 2, **more: int) -> Training:
    run = training(case, arithmetic, **more)
    for _ in range(updates):
        run.advance()
    run.finish()
    return run


def digest(run: Training) -> str:
    state = run.state()
    assert state
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    return digest_of(state)
