"""What every stage has in common: the guard on the environment, its metrics file, its record in MLflow.

A stage is a module of `pipeline.stages` with `run(parameters) -> metrics`, a flat dictionary.
"""

from __future__ import annotations

import importlib

from pipeline import environment, tracking
from pipeline.files import write_json
from pipeline.parameters import Parameters
from pipeline.paths import metrics_of


def run(name: str, parameters: Parameters) -> None:
    """Run the stage; leave metrics/<stage>.json; record both.

    Raises:
        UserError: whatever a user can mend.
    """
    environment.check()
    module = importlib.import_module(f"pipeline.stages.{name}")
    with tracking.recorded(name, parameters) as record:
        metrics = module.run(parameters)
        write_json(metrics_of(name), metrics)
        record.finish(metrics)
