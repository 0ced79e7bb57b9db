"""Estimates what a run of the pipeline will take here: from stored runs, or from some timed
updates."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from pipeline.config.parameters import Parameters
from pipeline.studies import run_sets
from pipeline.studies.claims.results import Results

UPDATES = 3  # timed, after one that is not
FORWARD = 1 / 3  # of an update's time: the backward pass is two forward passes
OVERHEAD = 30.0  # seconds of a run besides: DVC, the start of processes, the records


def seconds(results: Results, name: str, parameters: Parameters,
            environment: dict[str, str]) -> float:
    """Return the seconds of one run of the configuration, without the preparation of its data: the
    median of those kept on the same pictures in this environment, or an estimate for one
    process."""
    here = run_sets.environment_key(environment)
    known = [stored.run.record["seconds"] for stored in results.wanted().stored(name).values()
             if run_sets.environment_key(stored.run_set.environment) == here
             and stored.run.record.get("seconds", 0) > OVERHEAD]
    if known:
        return float(median(known))  # one that ran beside other work says little
    scale = results.book.scales[results.scale]
    train, val = scale.images
    if parameters.dataset.source == "sample":
        train, val = parameters.dataset.sample.train_images, parameters.dataset.sample.val_images
    settings = parameters.train
    like = (parameters.network, parameters.resize.side, settings.batch, settings.micro_batches,
            scale.classes)
    if like not in _timed:
        _timed[like] = _update(parameters, scale.classes)
    image = _timed[like] / settings.batch
    from alexnet.testing import views_of

    table = parameters.layer_table(scale.classes)
    views = len(set(views_of(table.stored - table.crop, table.views)))
    tested = val * (settings.epochs / settings.validate_every + views)
    return OVERHEAD + image * (train * settings.epochs + FORWARD * tested)


_timed: dict[Any, float] = {}  # seconds of an update, by what decides them, nearly


def _update(read: Parameters, classes: int) -> float:
    """Return the seconds of an update of the configured net, on noise, by one process."""
    import torch

    from alexnet.augmentation import Statistics, Views
    from alexnet.inputs import side_read
    from alexnet.network import Network
    from alexnet.placement import Placement
    from alexnet.plan import Plan
    from alexnet.training import Training
    from pipeline.training.execution import prepare, resolve

    settings, table, recipe = read.train, read.layer_table(classes), read.effective_recipe()
    device = prepare(resolve(read))
    place = Placement(table.columns, tuple(range(table.columns)), device=device)
    statistics = Statistics(torch.full((table.stored, table.stored, 3), 128.0),
                            torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))

    def crops(seen: Views) -> torch.Tensor:
        side = side_read(recipe, table)
        return torch.randint(0, 256, (len(seen.images), side, side, 3), dtype=torch.uint8)

    training = Training(Network(table, recipe, settings.seed, place), recipe,
                        Plan(settings.seed, 1000, settings.batch, settings.micro_batches),
                        torch.zeros(settings.batch, dtype=torch.int64), statistics, crops)
    training.advance()
    start = time.perf_counter()
    for _ in range(UPDATES):
        training.advance()
    float(training.loss if training.loss is not None else 0)  # waits for a GPU
    return (time.perf_counter() - start) / UPDATES
