"""Goldens: the sets of runs in golden/ that the gate compares with, and how they are added or
replaced.

A golden changes by `record()` alone, and never silently: the file says by which command, with which
seeds, and, where runs that were there have been replaced, for what reason. The change is reviewed
as any other of the repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alexnet.arithmetic import NUMBER
from pipeline.config import identity
from pipeline.config.parameters import Parameters
from pipeline.config.paths import WEIGHTS, metrics_of
from pipeline.config.stages import BY_NAME, MEASURED
from pipeline.records import environment
from pipeline.studies import run_sets
from pipeline.studies.run_sets import Run, RunSet
from pipeline.system.errors import UserError
from pipeline.system.files import read_json
from pipeline.system.importing import first_import

FOLDER = Path("golden")


def environment_here(parameters: Parameters) -> dict[str, str]:
    """Return the fingerprint, how a training is executed here, and the number of the arithmetic
    where it is portable."""
    from pipeline.training.execution import resolve

    execution = resolve(parameters).execution
    return environment.fingerprint() | {"device": execution.device,
                                        "threads": str(execution.threads),
                                        "deterministic": str(execution.deterministic).lower(),
                                        **arithmetic_of(parameters)}


def arithmetic_of(parameters: Parameters) -> dict[str, str]:
    """Return {"arithmetic": number of its definition} where it is portable, else nothing."""
    return ({run_sets.ARITHMETIC: str(NUMBER)} if parameters.train.arithmetic == "portable"
            else {})


def run_here(parameters: Parameters) -> Run:
    """Return the run that `dvc repro` left in this folder.

    Raises:
        UserError: it is not there, not whole, or of other parameters than these; or the weights are
            not those that the metrics name.
    """
    with first_import("torch"):
        from alexnet.digest import digest_of
        from pipeline.training.loading import read_weights

    metrics = {stage: read_json(metrics_of(stage), stage) for stage in MEASURED}
    train = metrics["train"]
    wanted = identity.digest(identity.configuration(parameters, BY_NAME["train"].sections))
    if (train.get("configuration_digest"), train.get("seed")) != (wanted, parameters.train.seed):
        raise UserError(f"{metrics_of('train')}: of other parameters than params.yaml has; run "
                        "`dvc repro`")
    if metrics["evaluate"].get("weights_digest") != train["weights_digest"]:
        raise UserError(f"{metrics_of('evaluate')}: not of the weights that {metrics_of('train')} "
                        "names; run `dvc repro`")
    weights = read_weights(WEIGHTS, "make it with `dvc repro`")
    if digest_of(weights) != train["weights_digest"]:
        raise UserError(f"{WEIGHTS}: not the weights that {metrics_of('train')} names; run "
                        "`dvc repro`")

    def read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; make it with `dvc repro`") from None

    return run_sets.run_of(read, parameters.train.seed, record_here(), with_trace=True)


def record_here() -> dict[str, Any]:
    """Return where a run is from, as far as the project's folder says."""
    git = environment.git_state()
    return {"git_commit": git.commit, "git_dirty": git.dirty,
            "code_digest": environment.code_digest()}


def name_of(parameters: Parameters, folder: Path = FOLDER) -> str:
    """Return the name of a configuration's folder: that of its golden, or a new one like
    "sample-1f2e3d4c"."""
    stored = of_configuration(parameters, folder)
    digest = identity.digest(identity.configuration(parameters))
    return stored[0].name if stored else f"{parameters.dataset.source}-{digest[:8]}"


def of_configuration(parameters: Parameters, folder: Path = FOLDER) -> list[RunSet]:
    """Return the goldens of this configuration, one for each environment."""
    here = identity.configuration(parameters)
    return [run_set for run_set in run_sets.in_folder(folder)
            if identity.fits(run_set.configuration, here)]


def nearest(parameters: Parameters, folder: Path = FOLDER) -> str:
    """Return words on the golden whose configuration differs least, for a message that there is
    none."""
    here = identity.configuration(parameters)
    candidates = [(identity.differing(run_set.configuration, here), run_set)
                  for run_set in run_sets.in_folder(folder)]
    if not candidates:
        return f"{folder} is empty"
    names, run_set = min(candidates, key=lambda pair: len(pair[0]))
    shown = [f"{name} ({identity.value_of(run_set.configuration, name)}, here "
             f"{identity.value_of(here, name)})" for name in names[:5]]
    return (f"the nearest, {run_set.file}, differs in "
            f"{', '.join(shown)}{', ...' * (len(names) > 5)}")


def record(parameters: Parameters, runs: Sequence[Run], folder: Path = FOLDER,
           reason: str | None = None) -> Path:
    """Add these runs to the golden of the configuration and of this environment, or replace its
    runs.

    A run that is there already is proved to be the same. With a `reason` the stored runs of the
    same seeds give way, and so does every other, since one golden has one code's runs: record all
    its seeds.

    Raises:
        UserError: a stored run of the same seed differs and no reason is given; a number that is
            not finite.
    """
    here = environment_here(parameters)
    configured = identity.configuration(parameters)
    run_set = RunSet(name_of(parameters, folder), configured, identity.digest(configured), here,
                    list(runs))
    file = folder / run_set.name / f"{run_sets.environment_key(here)}.json"
    stored = run_sets.read(file) if file.exists() else None
    for run in runs:
        for name, value in run_sets.spread([run]).items():
            if not abs(value["mean"]) < float("inf"):
                raise UserError(f"seed {run.seed}: {name} is {value['mean']}: a run that diverged "
                                "makes no golden")
    kept: list[Run] = []
    if stored and not reason:
        for run in runs:
            before = stored.run_of(run.seed)
            parts = before and difference(before, run)
            if parts:
                raise UserError(f"{file}: seed {run.seed} is stored with another {parts}. If the "
                                "change is meant, replace all its runs: "
                                "`alexnet golden record --seeds ... --replace --reason '...'`")
        kept = [run for run in stored.runs if run.seed not in run_set.seeds]
    entry = {"command": run_sets.given_command(), "seeds": sorted(run_set.seeds)}
    history = [*(stored.history if stored else []), entry | ({"reason": reason} if reason else {})]
    return run_sets.write(replace(run_set, runs=[*kept, *runs], history=history), folder)


def difference(stored: Run, new: Run) -> str | None:
    """Return what first differs between two runs of one seed, as "train.trace, from step 50:
    gradients"; None where nothing does."""
    for stage in MEASURED:
        if stage == "train" and (parts := run_sets.first_difference(stored.trace, new.trace)):
            return f"train.trace, from {parts}"
        mine, other = stored.metrics.get(stage, {}), new.metrics.get(stage, {})
        for name in [*mine, *(name for name in other if name not in mine)]:
            if mine.get(name) != other.get(name):
                return f"{stage}.{name} ({mine.get(name)}, now {other.get(name)})"
    return None
