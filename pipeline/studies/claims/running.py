"""Runs what claims need, for `alexnet claims run`: DVC experiments, each kept in
experiments/results when it ends.

What is kept on the same pictures, by the same configuration and arithmetic, is not run again, so an
interrupted command goes on where it stopped, and claims share the runs of the configurations that
they share. In MLflow all of them are children of one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.config.paths import PREDICTIONS, WEIGHTS, WORK
from pipeline.records import environment, mlflow_connection, mlflow_store, recording
from pipeline.studies import experiments, run_sets
from pipeline.studies.claims import cost
from pipeline.studies.claims import evidence as evidences
from pipeline.studies.claims.ledger import Book, Claim
from pipeline.studies.claims.results import Evidence, Results
from pipeline.studies.ensemble import ensemble
from pipeline.studies.gate.golden import environment_here
from pipeline.studies.run_sets import Run
from pipeline.system.dvc import cache_folder, cached_file, file_in
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.system.terminal import duration, say

PARTS = WORK / "claims"  # weights to start from
NewRun = tuple[Run, dict[str, str]]  # and the environment that it was made in
Part = tuple[str, int]  # a configuration and a seed


@dataclass
class Work:
    """The runs that a command makes.

    Attributes:
        results: of the scale, with the data of the book.
        claims: that it is for.
        seeds: at most.
        again: whether what is kept is run anew, too, on all of the seeds.
        hours: within which every run is expected to end that is begun; None: as many as it takes.
        done: what it has run.
    """

    results: Results
    claims: Sequence[Claim]
    seeds: Sequence[int]
    again: bool = False
    hours: float | None = None
    done: list[Part] = field(default_factory=list)

    @property
    def book(self) -> Book:
        """The claims and their configurations."""
        return self.results.book

    @property
    def evidence(self) -> Evidence:
        """The runs that those of this command belong to."""
        return self.results.wanted()

    def missing(self) -> list[Part]:
        """Return the runs that come next; when they are there, verdicts may need more.

        Every claim comes to the fewest seeds that decide anything, in the order of the claims; then
        the one that fewest seeds more are likely to decide. A kept run that another is made of
        comes before that one where this clone does not have what it left.
        """
        if self.again:
            every = [part for claim in self.claims for name in claim.configurations()
                     for seed in self.seeds
                     for part in evidences.with_parts(name, seed, self.book.configurations)]
            return [part for part in dict.fromkeys(every) if part not in self.done]
        ordered = sorted(self.claims,
                         key=lambda claim: evidences.seeds_to_go(claim, self.evidence))
        return self._with_lost(part for claim in ordered for part in evidences.next_needed(
            claim, self.evidence, self.seeds, self.book.configurations))

    def at_most(self) -> list[Part]:
        """Return all runs that the command may come to, if no verdict is final before."""
        if self.again:
            return self.missing()
        return self._with_lost(part for claim in self.claims for part in evidences.at_most(
            claim, self.evidence, self.seeds, self.book.configurations))

    def _with_lost(self, parts: Iterable[Part]) -> list[Part]:
        """Return runs to make, and before each what is kept of it and has to be made again."""
        return list(dict.fromkeys(each for part in parts for each in (
            *(made_of for made_of in evidences.with_parts(*part, self.book.configurations)[:-1]
              if self.is_kept(made_of) and not self._is_at_hand(made_of)), part)))

    def is_kept(self, part: Part) -> bool:
        """Return whether the run is among those that count."""
        return part[1] in self.evidence.runs(part[0])

    def _is_at_hand(self, part: Part) -> bool:
        """Return whether DVC's cache has what a kept run left; an ensemble leaves nothing there."""
        record = self.evidence.runs(part[0])[part[1]].record
        return all(file_in(self._cache, record[file.name]).is_file()
                   for file in (WEIGHTS, PREDICTIONS) if file.name in record)

    @cached_property
    def _cache(self) -> Path:
        return cache_folder()

    def kept(self) -> Iterator[str]:
        """Yield, for each configuration, which stored runs count and which do not, and why."""
        for name in dict.fromkeys(name for claim in self.claims
                                  for name in claim.configurations()):
            if runs := self.evidence.stored(name):
                key = next(iter(runs.values())).key
                made_in = sorted({run_sets.environment_key(stored.run_set.environment)
                                  for stored in runs.values()})
                use = "run anew" if self.again else "kept, not run again"
                yield (f"{name}: seeds {_listed(runs)} on {key}, made in {', '.join(made_in)}: "
                       f"{use}")
            aside: dict[str, list[int]] = {}
            for stored in self.evidence.set_aside(name):
                aside.setdefault(str(stored.key), []).append(stored.run.seed)
            pictures, arithmetic = self.results.expected(name)
            wanted = "an unknown number of" if pictures is None else f"{pictures:,}"
            yield from (f"{name}: seeds {_listed(seeds)} on {key}: not counted with these runs, "
                        f"which have {wanted} pictures in all and {arithmetic} arithmetic"
                        for key, seeds in aside.items())


def estimate(work: Work, parts: Sequence[Part]) -> dict[str, tuple[int, float]]:
    """Return how many runs of each configuration these are, and the seconds of one."""
    counts: dict[str, int] = {}
    for name, _ in parts:
        counts[name] = counts.get(name, 0) + 1
    costs = {}
    for name, count in counts.items():
        seconds = 1.0
        if not work.book.configurations[name].ensemble:
            parameters = work.book.parameters(work.results.scale, name, seed=1)
            seconds = cost.seconds(work.results, name, parameters, environment_here(parameters))
        costs[name] = (count, seconds)
    return costs


def run_missing(work: Work, make: Callable[[Work, str, int], NewRun]) -> Iterator[Part]:
    """Make what is missing and keep each run as it ends; yield its configuration and seed."""
    started = time.monotonic()
    while parts := work.missing():
        name, seed = parts[0]
        if work.hours is not None:
            [(_, seconds)] = estimate(work, [parts[0]]).values()
            left = 3600 * work.hours - (time.monotonic() - started)
            if seconds > left:
                say(f"claims: {duration(max(left, 0))} are left of {work.hours:g} hours, and "
                    f"{name}, seed {seed}, would take {duration(seconds)}; the same command, "
                    f"given again, goes on with it and {len(parts) - 1} more")
                return
        say(f"claims: run {len(work.done) + 1}: {name}, seed {seed}")
        kept = not work.again and work.is_kept((name, seed))
        run, where = make(work, name, seed)
        if kept:  # made for what it left; what is kept stays
            if (name, seed) in work.missing():
                raise UserError(f"{name}, seed {seed}: made again, it has other bits than the run "
                                "that is kept, so nothing can be made of that one here; `alexnet "
                                "claims verify` compares the two, --again runs all seeds anew")
            work.done.append((name, seed))
            yield name, seed
            continue
        file = work.results.add(name, run, where, run_sets.given_command())
        say(f"claims: kept in {file}")
        work.done.append((name, seed))
        if not work.again and seed not in work.evidence.runs(name):
            raise UserError(f"{name}, seed {seed}: its run has other pictures or another "
                            "arithmetic than were expected of the data set; it is kept, and the "
                            "others are not begun")
        yield name, seed


def run(work: Work, draw: Callable[[Claim, Evidence], Sequence[Path]]) -> None:
    """Run everything that the claims need, and record it as one run of MLflow's.

    Args:
        work: the claims and the seeds.
        draw: draws the figures of a claim; returns their files.

    Raises:
        UserError: a run failed; what has ended is kept.
    """
    scale, names = work.results.scale, ", ".join(claim.name for claim in work.claims)
    base = work.book.parameters(scale, next(iter(work.book.configurations)), work.seeds[0])
    with experiments.one_at_a_time(), recording.recorded("claims", base) as record:
        record.tags |= {"claims": names, "scale": scale,
                        "mlflow.runName": f"claims {scale}: {names}"[:250]}
        children = Children(record.run_id)
        children.adopt(_experiment(scale, *part) for part in _there(work))
        for part in run_missing(work, _made):
            children.adopt([_experiment(scale, *part)])
        for claim in work.claims:
            row = evidences.row(claim, work.evidence)
            if row.ours is not None:
                record.metrics[claim.name] = row.ours
            record.tags[f"verdict.{claim.name}"] = row.words
            for file in draw(claim, work.evidence):
                say(f"claims: {file}")
                record.add_artifact(file)


def _made(work: Work, name: str, seed: int) -> NewRun:
    """Run the pipeline once, or combine an ensemble of such runs; what others are made of is found
    again by its digest in DVC's cache."""
    if work.book.configurations[name].ensemble:
        return _together(work, name, seed)
    return run_configuration(work.results, name, seed, work.again,
                             _experiment(work.results.scale, name, seed))


def run_configuration(results: Results, name: str, seed: int, again: bool,
                      experiment_name: str) -> NewRun:
    """Run the pipeline by a configuration, as a DVC experiment of this name."""
    start = results.book.configurations[name].start_from
    weights = _weights(results, start, seed) if start else None
    parameters = results.book.parameters(results.scale, name, seed, weights)
    experiment = experiments.run_experiment(experiment_name, parameters, again)
    record = experiment.record() | {file.name: experiment.md5(file)
                                    for file in (WEIGHTS, PREDICTIONS)}
    return (run_sets.run_of(experiment.read, seed, record, with_trace=False),
            environment_here(parameters))


def _weights(results: Results, name: str, seed: int) -> str:
    """Copy the trained weights of a run to where an experiment, in its own folder, finds them."""
    target = PARTS / f"{results.scale}-{name}-{seed}.safetensors"
    with atomic_write(target) as stream:
        stream.write(_cached(results.wanted(), name, seed, WEIGHTS).read_bytes())
    return str(target.resolve())


def _cached(evidence: Evidence, name: str, seed: int, file: Path) -> Path:
    """Return what a kept run left, from DVC's cache."""
    record = evidence.runs(name)[seed].record
    if file.name not in record:
        raise UserError(f"{name}, seed {seed}: was kept without {file.name}; run it with --again")
    return cached_file(record[file.name], file)


def _together(work: Work, name: str, seed: int) -> NewRun:
    """Return the errors of an ensemble, and, with `_member`, the means of its members' own."""
    parts = evidences.members(work.book.configurations[name], seed)
    links = [_linked(_cached(work.evidence, *part, PREDICTIONS), number)
             for number, part in enumerate(parts)]
    errors = ensemble([str(link) for link in links])
    members = errors.pop("members")
    means = {f"{metric}_member": sum(member[metric] for member in members) / len(parts)
             for metric in errors}
    for link in links:
        link.unlink()
    record = {"members": [_experiment(work.results.scale, *part) for part in parts],
              "code_digest": environment.code_digest()}
    first = work.evidence.runs(parts[0][0])[parts[0][1]]
    parameters = work.book.parameters(work.results.scale, *parts[0])
    return (Run(seed, {"resize": first.metrics["resize"], "evaluate": errors | means},
                record=record), environment_here(parameters))


def _linked(file: Path, number: int) -> Path:
    """Return a link that ends as predictions do: files of DVC's cache have no name."""
    PARTS.mkdir(parents=True, exist_ok=True)
    link = PARTS / f"{number}{PREDICTIONS.suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())
    return link


def _experiment(scale: str, name: str, seed: int) -> str:
    """Return the name of a run's experiment, as `dvc exp show` lists it."""
    return f"{scale}-{name}-seed-{seed}"


def _there(work: Work) -> Iterator[Part]:
    """Yield the runs that the claims rest on and that are kept already."""
    for name in dict.fromkeys(name for claim in work.claims for name in claim.configurations()):
        for seed in work.seeds:
            for part, number in evidences.with_parts(name, seed, work.book.configurations):
                if number in work.evidence.runs(part):
                    yield part, number


class Children:
    """Shows trainings under a run of MLflow's; does nothing where there is no such run."""

    def __init__(self, parent: str | None) -> None:
        self.parent = parent

    def adopt(self, names: Iterable[str]) -> None:
        """Nest the newest training of each of these DVC experiments."""
        if self.parent and not mlflow_connection.attempt("trainings are not nested",
                                                    lambda: self._adopt(names)):
            self.parent = None

    def _adopt(self, names: Iterable[str]) -> None:
        store = mlflow_store.MlflowStore()
        for name in names:
            for run in store.find(f"tags.stage = 'train' and tags.dvc_experiment = '{name}'"):
                store.nest(run.info.run_id, str(self.parent))


def check_runnable(claims: Sequence[Claim], scale: str) -> None:
    """Raise UserError when a claim cannot be run at the scale."""
    for claim in claims:
        if claim.measure is None:
            raise UserError(f"{claim.name}: takes {claim.takes}")
        if not claim.configurations():
            raise UserError(f"{claim.name}: is about the net itself; `alexnet claims` has it")
        if scale not in claim.scales:
            raise UserError(f"{claim.name}: can be run at the scales {', '.join(claim.scales)}, "
                            f"not at {scale}")


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
