"""What every stage has in common: the guard on the environment, its metrics file, its record in
MLflow.

A stage is a module of `pipeline.stages` with `run(parameters) -> metrics`, a flat dictionary, and
perhaps `ARTIFACTS`, the files and folders that its record holds, `tags(parameters)`, of its record,
known when it starts, and `join(parameters)`, what a process does that torchrun started beside the
first: it takes part and leaves nothing. The run of `train` takes, too, what surrounds the training.
"""

from __future__ import annotations

import csv
import functools
import importlib
import json
import os
from pathlib import Path

from pipeline.config.parameters import Parameters
from pipeline.config.paths import LEARNING, PROVENANCE, TRACE, WORK, metrics_of
from pipeline.records import environment, live_curves, provenance, recording
from pipeline.system.dvc import check_experiment
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock, write_json
from pipeline.system.importing import first_import
from pipeline.training.launcher import world_size


def run(name: str, parameters: Parameters) -> None:
    """Run the stage; leave metrics/<stage>.json; record both.

    Raises:
        UserError: whatever a user can mend.
    """
    environment.check()
    check_experiment()
    # Threads that wait in a loop for work would fight with other processes for the cores; read when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if world_size() > 1 and os.environ["RANK"] != "0":
        _join(name, parameters)
        return
    # takes the digest of the code before any of it is loaded
    with (exclusive_lock(WORK / "locks" / name, f"another `alexnet {name}`"),
          recording.recorded(name, parameters) as record):
        with first_import(f"pipeline.stages.{name}"):
            module = importlib.import_module(f"pipeline.stages.{name}")
        if hasattr(module, "tags"):
            record.tags |= module.tags(parameters)
        follow = ([functools.partial(live_curves.follow_curves, record)] if name == "train" else [])
        metrics = module.run(parameters, *follow)
        write_json(metrics_of(name), metrics)
        record.finish(metrics)
        if name == "train":
            provenance.write(record.tags, record.texts, metrics, parameters)
            record.add_artifact(PROVENANCE)
            record.log_curve(_points(LEARNING))
            with TRACE.open(encoding="utf-8") as stream:
                record.log_curve(live_curves.curve_point(json.loads(line)) for line in stream)
        for path in getattr(module, "ARTIFACTS", ()):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                record.add_artifact(file)


def _join(name: str, parameters: Parameters) -> None:
    module = importlib.import_module(f"pipeline.stages.{name}")
    if not hasattr(module, "join"):
        raise UserError(f"{name} is not started with torchrun: it needs one process, "
                        f"`alexnet {name}`")
    module.join(parameters)


def _points(table: Path) -> list[dict[str, float]]:
    """Return the rows of a learning curve, without empty cells."""
    with table.open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(stream)]
