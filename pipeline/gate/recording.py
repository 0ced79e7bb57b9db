"""`alexnet golden record --seeds`: each run a DVC experiment, kept when it ends, so that nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import configuration, environment, experiments, samples
from pipeline.gate import golden
from pipeline.parameters import Parameters
from pipeline.paths import WORK
from pipeline.progress import progress
from pipeline.samples import Run, Sample

KEPT = WORK / "golden"


def runs_of(parameters: Parameters, seeds: Sequence[int]) -> list[Run]:
    """A run for each seed; those that an interrupted command made of the same code, here, are not made again."""
    here = golden.environment_here(parameters)
    configured = configuration.configuration(parameters)
    sample = Sample(golden.name_of(parameters), configured, configuration.digest(configured), here, [])
    file = KEPT / sample.name / f"{samples.environment_key(here)}.json"
    code = environment.code_digest()
    made = [run for run in (samples.read(file).runs if file.exists() else ()) if run.record["code_digest"] == code]
    with experiments.one_at_a_time(), progress("golden", len(seeds), "runs") as advance:
        for seed in seeds:
            if seed not in [run.seed for run in made]:
                train = parameters.train.model_copy(update={"seed": seed})
                experiment = experiments.performed(f"{sample.name}-seed-{seed}",
                                                   parameters.model_copy(update={"train": train}))
                made.append(samples.run_of(experiment.read, seed, experiment.record(), with_trace=True))
                sample.runs[:] = made
                samples.write(sample, KEPT)
            advance(1, f"seed {seed}")
    return [run for run in made if run.seed in seeds]
