"""`alexnet claims run`: the runs that claims need, as DVC experiments, each kept in
experiments/results when it ends.

What is kept is not run again, so an interrupted command goes on where it stopped, and claims share
the runs of the configurations that they share. In MLflow all of them are children of one run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.config.paths import PREDICTIONS, WEIGHTS, WORK
from pipeline.records import environment, mlflow_store, recording
from pipeline.studies import experiments, run_sets
from pipeline.studies.claims import cost, evidence
from pipeline.studies.claims.ledger import Book, Claim, Results
from pipeline.studies.ensemble import ensemble
from pipeline.studies.gate.golden import environment_here
from pipeline.studies.run_sets import Run
from pipeline.system.dvc import cached_file
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.system.terminal import say

PARTS = WORK / "claims"  # weights to start from
Made = tuple[Run, dict[str, str]]  # and the environment that it was made in


def missing(book: Book, results: Results, claims: Sequence[Claim],
            seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Runs that the claims still need. A claim on epochs tells which others it needs when its first
    runs are there."""
    return list(dict.fromkeys(one for claim in claims for one
                              in evidence.needed(claim, results, seeds, book.configurations)))


def estimate(book: Book, results: Results,
             wanted: Sequence[tuple[str, int]]) -> dict[str, tuple[int, float]]:
    """How many runs of each configuration, and the seconds of one."""
    counts: dict[str, int] = {}
    for name, _ in wanted:
        counts[name] = counts.get(name, 0) + 1
    found = {}
    for name, count in counts.items():
        if book.configurations[name].ensemble:
            found[name] = (count, 1.0)
            continue
        parameters = book.parameters(results.scale, name, seed=1)
        found[name] = (count, cost.seconds(results, name, parameters, environment_here(parameters)))
    return found


def made(book: Book, results: Results, claims: Sequence[Claim], seeds: Sequence[int],
         make: Callable[[Book, Results, str, int], Made]) -> Iterator[tuple[str, int]]:
    """Makes what is missing, and keeps each run as it ends; yields its configuration and seed."""
    done = 0
    while wanted := missing(book, results, claims, seeds):
        name, seed = wanted[0]
        say(f"claims: run {done + 1} of {done + len(wanted)}: {name}, seed {seed}")
        kept, where = make(book, results, name, seed)
        say("claims: kept in "
            f"{results.add(name, kept, where, shlex.join(['alexnet', *sys.argv[1:]]))}")
        done += 1
        yield name, seed


def run(book: Book, results: Results, claims: Sequence[Claim], seeds: Sequence[int],
        draw: Callable[[Claim, Results], Sequence[Path]]) -> None:
    """Run everything that the claims need, and record it as one run of MLflow's.

    Args:
        book: the claims and their configurations.
        results: the scale, and where runs are kept.
        claims: which of them.
        seeds: of each configuration.
        draw: draws the figures of a claim; returns their files.

    Raises:
        UserError: a run failed; what has ended is kept.
    """
    base = book.parameters(results.scale, next(iter(book.configurations)), seeds[0])
    with experiments.one_at_a_time(), recording.recorded("claims", base) as record:
        record.tags |= {"claims": ", ".join(claim.name for claim in claims), "scale": results.scale,
                        "mlflow.runName": f"claims {results.scale}: "
                                          f"{', '.join(claim.name for claim in claims)}"[:250]}
        children = Children(record.run_id)
        children.adopt(_of(results, name, seed)
                       for name, seed in _all(book, results, claims, seeds))
        for name, seed in made(book, results, claims, seeds, _made):
            children.adopt([_of(results, name, seed)])
        for claim in claims:
            row = evidence.row(claim, results)
            if row.ours is not None:
                record.metrics[claim.name] = row.ours
            record.tags[f"verdict.{claim.name}"] = row.verdict
            for file in draw(claim, results):
                say(f"claims: {file}")
                record.add_artifact(file)


def _made(book: Book, results: Results, name: str, seed: int) -> Made:
    """One run of the pipeline, or an ensemble of such runs; what of it others are made of is found
    again by its digest in DVC's cache."""
    if book.configurations[name].ensemble:
        return _together(book, results, name, seed)
    start = book.configurations[name].start_from
    weights = _weights(results, start, seed) if start else None
    parameters = book.parameters(results.scale, name, seed, weights)
    experiment = experiments.performed(_of(results, name, seed), parameters)
    record = experiment.record() | {file.name: experiment.md5(file)
                                    for file in (WEIGHTS, PREDICTIONS)}
    return (run_sets.run_of(experiment.read, seed, record, with_trace=False),
            environment_here(parameters))


def _weights(results: Results, name: str, seed: int) -> str:
    """The trained weights of a run, in a file of its own: the folder of an experiment does not have
    it."""
    run = results.runs(name)[seed]
    target = PARTS / f"{results.scale}-{name}-{seed}.safetensors"
    with atomic_write(target) as stream:
        stream.write(cached_file(run.record[WEIGHTS.name], WEIGHTS).read_bytes())
    return str(target.resolve())


def _together(book: Book, results: Results, name: str, seed: int) -> Made:
    """The errors of an ensemble, and, with `_member`, the mean of its members' own."""
    one = book.configurations[name]
    parts = evidence.members(one, seed)
    files = [str(cached_file(results.runs(member)[number].record[PREDICTIONS.name],
                             PREDICTIONS)) for member, number in parts]
    links = [_named(file, number) for number, file in enumerate(files)]
    told = ensemble([str(link) for link in links])
    means = {f"{metric}_member": sum(member[metric] for member in told["members"]) / len(parts)
             for metric in told if metric != "members"}
    for link in links:
        link.unlink()
    record = {"members": [_of(results, *part) for part in parts],
              "code_digest": environment.code_digest()}
    metrics = {metric: value for metric, value in told.items() if metric != "members"} | means
    first = book.parameters(results.scale, parts[0][0], parts[0][1])
    return Run(seed, {"evaluate": metrics}, record=record), environment_here(first)


def _named(file: str, number: int) -> Path:
    """A link that ends as predictions do: files of DVC's cache have no name."""
    PARTS.mkdir(parents=True, exist_ok=True)
    link = PARTS / f"{number}{PREDICTIONS.suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(file).resolve())
    return link


def _of(results: Results, name: str, seed: int) -> str:
    """The experiment of a run, as `dvc exp show` lists it."""
    return f"{results.scale}-{name}-seed-{seed}"


def _all(book: Book, results: Results, claims: Sequence[Claim],
         seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    for name in dict.fromkeys(name for claim in claims for name in claim.configurations()):
        for seed in seeds:
            for part, number in evidence.with_parts(name, seed, book.configurations):
                if number in results.runs(part):
                    yield part, number


class Children:
    """Shows trainings under a run of MLflow's; does nothing where there is no such run."""

    def __init__(self, parent: str | None) -> None:
        self.parent = parent

    def adopt(self, names: Iterable[str]) -> None:
        """Nest the newest training of each of these DVC experiments."""
        if self.parent and not mlflow_store.attempt("claims", lambda: self._adopt(names)):
            self.parent = None

    def _adopt(self, names: Iterable[str]) -> None:
        store = mlflow_store.MlflowStore()
        for name in names:
            for run in store.find(f"tags.stage = 'train' and tags.dvc_experiment = '{name}'"):
                store.nest(run.info.run_id, str(self.parent))


def cleared(claims: Sequence[Claim], scale: str) -> None:
    """Raises UserError when a claim cannot be run at the scale."""
    for claim in claims:
        if claim.measure is None:
            raise UserError(f"{claim.name}: takes {claim.takes}")
        if scale not in claim.scales:
            raise UserError(f"{claim.name}: can be run at the scales {', '.join(claim.scales)}, "
                            f"not at {scale}")

