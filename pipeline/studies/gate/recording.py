"""Runs the seeds of `alexnet golden record --seeds`, each as a DVC experiment that is kept when it
ends, so that nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import identity
from pipeline.config.parameters import Parameters
from pipeline.config.paths import WORK
from pipeline.records import environment
from pipeline.studies import experiments, run_sets
from pipeline.studies.gate import golden
from pipeline.studies.run_sets import Run, RunSet
from pipeline.system.terminal import progress

KEPT = WORK / "golden"


def runs_of(parameters: Parameters, seeds: Sequence[int]) -> list[Run]:
    """Return a run for each seed; those that an interrupted command made of the same code, here,
    are not made again."""
    here = golden.environment_here(parameters)
    configured = identity.configuration(parameters)
    run_set = RunSet(golden.name_of(parameters), configured, identity.digest(configured), here, [])
    file = KEPT / run_set.name / f"{run_sets.environment_key(here)}.json"
    code = environment.code_digest()
    made = [run for run in (run_sets.read(file).runs if file.exists() else ())
            if run.record["code_digest"] == code]
    with experiments.one_at_a_time(), progress("golden", len(seeds), "runs") as advance:
        for seed in seeds:
            if seed not in [run.seed for run in made]:
                train = parameters.train.model_copy(update={"seed": seed})
                experiment = experiments.run_experiment(f"{run_set.name}-seed-{seed}",
                                                   parameters.model_copy(update={"train": train}))
                made.append(run_sets.run_of(experiment.read, seed, experiment.record(),
                                            with_trace=True))
                run_set.runs[:] = made
                run_sets.write(run_set, KEPT)
            advance(1, f"seed {seed}")
    return [run for run in made if run.seed in seeds]
