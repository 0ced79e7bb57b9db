"""Audits a recorded training without repeating all of it: `audit()` returns an `AuditResult`.

What a record says of itself is held together first, which needs neither data nor code: the chain of
its trace, the kept checkpoints, the final weights, the learning curve, the initial weights of the
seed. Then intervals between kept checkpoints are trained again elsewhere (`restoration`) and
compared with the trace to the bit, and the final weights are evaluated again.
"""

from __future__ import annotations

import itertools
import random
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from alexnet.digest import digest_of
from pipeline.config import parameters
from pipeline.config.crops import suffix
from pipeline.config.paths import PREDICTIONS, WEIGHTS
from pipeline.data.predictions import Predictions
from pipeline.records import kept_runs
from pipeline.records.differences import Difference, compare_traces, curve_difference
from pipeline.records.kept_runs import KeptRun
from pipeline.records.record_files import recorded_files
from pipeline.studies.ensemble import SETS, errors_of
from pipeline.studies.rerun import consistency, recorded_data
from pipeline.studies.rerun.consistency import AuditedRecord, Check
from pipeline.studies.rerun.restoration import (
    NotComparable,
    Restored,
    as_text,
    recomputed,
    restored,
)
from pipeline.system.errors import UserError
from pipeline.system.files import copy_file, sha256_of
from pipeline.system.journal import Journal
from pipeline.system.processes import run_child
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training import checkpoints
from pipeline.training.loading import read_weights
from pipeline.training.run_folder import FINISHED

HOLDS, FAILS = "holds", "fails"
EVALUATION = "evaluation"


@dataclass(frozen=True)
class Interval:
    """The updates after step `first`, to step `last`, and what became of them."""

    first: int
    last: int
    verdict: Verdict
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet audit --json` prints of it."""
        return {"from": self.first, "to": self.last, "verdict": self.verdict,
                "detail": self.detail}


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        run: the id of the recorded run.
        steps: updates of the training.
        checks: what was held together besides intervals.
        intervals: those that were chosen, by rising step.
        first_difference: of an interval that was trained again; None where none differs.
        seed: of the choice, if there was one.
    """

    run: str
    steps: int
    checks: tuple[Check, ...]
    intervals: tuple[Interval, ...]
    first_difference: Difference | None
    seed: int | None

    @property
    def verdict(self) -> str:
        """Return `fails` where anything differs, `holds` where the chain is whole and every chosen
        interval is equal, else `not compared`."""
        proved = {check.verdict for check in self.checks if check.required}
        proved |= {interval.verdict for interval in self.intervals}
        if DIFFERS in proved | {check.verdict for check in self.checks}:
            return FAILS
        return HOLDS if proved == {IDENTICAL} else NOT_COMPARED

    @property
    def recomputed(self) -> int:
        """Return how many updates of the chosen intervals were compared."""
        return sum(each.last - each.first for each in self.intervals
                   if each.verdict != NOT_COMPARED)

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet audit --json` prints."""
        first = self.first_difference
        return {"verdict": self.verdict, "run": self.run, "steps": self.steps, "seed": self.seed,
                "steps_recomputed": self.recomputed,
                "checks": [{"check": each.check, "verdict": each.verdict, "detail": each.detail}
                           for each in self.checks],
                "intervals": [interval.as_json() for interval in self.intervals],
                "first_difference": asdict(first) if first else None}


def audit(name: str, start: int | None = None, steps: int = 50, count: int | None = None,
          seed: int | None = None, anyway: bool = False, trusted: bool = False) -> AuditResult:
    """Audit a recorded training.

    Args:
        name: of the run, as `kept_runs.find` takes it.
        start: train again only from the last kept checkpoint up to this step,
        steps: to the first traced step so many after `start`.
        count: train again only so many intervals between kept checkpoints, chosen at random, and
            the one that ends with the final weights; by default all.
        seed: of the choice; by default one that nobody can foresee.
        anyway: even where the environment differs in what can change bits.
        trusted: whether the user trusts whoever made the record.

    Raises:
        UserError: there is no such run, its record is not that of a training or is damaged, its
            code is a stranger's, or a training process failed.
    """
    kept = kept_runs.find(name)
    kept.check_files()
    try:
        checked = parameters.check(kept.json("parameters.json"))
    except UserError as error:
        raise UserError(f"run {kept.name}: its parameters.json is refused: {error}") from None
    record = AuditedRecord(kept, kept.trace(), kept.curve(), checked, kept.kept_steps())
    checks = consistency.checks(record)
    if count is not None and seed is None:
        seed = secrets.randbelow(2**32)
    chosen = _chosen(record, start, steps, count, seed)
    first, last = None, record.trace[-1]["step"]
    reason = "the record contradicts itself" \
        if any(check.verdict == DIFFERS for check in checks) else ""
    intervals = list[Interval]()
    if not reason:
        try:
            with restored(kept, anyway, trusted) as run:
                intervals, first = _retrained(record, run, chosen)
                checks.append(_evaluated(kept, run, intervals))
                if DIFFERS in (*(each.verdict for each in intervals), checks[-1].verdict):
                    reason = _doubt(run)
        except NotComparable as error:
            reason = str(error)
    if reason:
        intervals, first = [Interval(*pair, NOT_COMPARED, reason) for pair in chosen], None
        checks = [check for check in checks if check.check != EVALUATION]
    result = AuditResult(kept.facts.run_id, last, tuple(checks), tuple(intervals), first, seed)
    if kept.in_store:
        kept_runs.set_tags(kept, {"audit_verdict": result.verdict})
    return result


def _doubt(run: Restored) -> str:
    """Return why a difference need not be the record's, "" if nothing says so."""
    if run.differing:
        return "it differs here, where the environment is another: " + "; ".join(
            f"{name}: {was} -> {here}" for name, (was, here) in run.differing.items())
    return recorded_data.damage(run.data) or ""


def _chosen(record: AuditedRecord, start: int | None, steps: int, count: int | None,
            seed: int | None) -> list[tuple[int, int]]:
    """Return the intervals to train again, (first, last), by rising step."""
    traced = [entry["step"] for entry in record.trace]
    bounds = [0, *(step for step in record.steps if 0 < step < traced[-1]), traced[-1]]
    if start is not None:
        first = max(bound for bound in bounds[:-1] if bound <= start or bound == 0)
        return [(first, min((step for step in traced if step >= min(start + steps, traced[-1])),
                            default=traced[-1]))]
    pairs = list(itertools.pairwise(bounds))
    if count is None or count >= len(pairs):
        return pairs
    return sorted([*random.Random(seed).sample(pairs[:-1], count), pairs[-1]])


def _retrained(record: AuditedRecord, run: Restored, chosen: Sequence[tuple[int, int]],
               ) -> tuple[list[Interval], Difference | None]:
    """Train the chosen intervals again, neighbours at a stretch, up to the first that differs."""
    intervals: list[Interval] = []
    difference: Difference | None = None
    for stretch in _stretches(chosen):
        if difference is None:
            difference = _difference(record, run, stretch[0][0], stretch[-1][1])
        for first, last in stretch:
            if difference is None or last < difference.step:
                intervals.append(Interval(first, last, IDENTICAL))
            elif first < max(difference.step, 1):
                intervals.append(Interval(first, last, DIFFERS, str(difference)))
            else:
                intervals.append(Interval(first, last, NOT_COMPARED,
                                          "comes after the first difference"))
    return intervals, difference


def _stretches(chosen: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return the intervals, those that follow on each other together."""
    stretches: list[list[tuple[int, int]]] = []
    for pair in chosen:
        if stretches and stretches[-1][-1][1] == pair[0]:
            stretches[-1].append(pair)
        else:
            stretches.append([pair])
    return stretches


def _difference(record: AuditedRecord, run: Restored, first: int, last: int) -> Difference | None:
    """Train from step `first` to `last`; return the first difference from the record."""
    training = run.folder / f"interval-{first}"
    shutil.rmtree(training, ignore_errors=True)  # of an audit that was killed
    if first:
        state, memory = consistency.checkpoint_of(record, first)
        journals = [Journal(training / name) for name in ("trace.jsonl", "learning.jsonl")]
        checkpoints.save(training, first, state, memory, journals)
    run.train(training, last)
    points, entries = recomputed(training)
    # where a checkpoint was passed over, the training began anew
    points, entries = ([line for line in lines if line["step"] > first]
                       for lines in (points, entries))
    recorded = [entry for entry in record.trace if first < entry["step"] <= last]
    differences = [compare_traces(recorded, entries).first,
                   curve_difference([row for row in record.curve
                                     if first < int(row["step"]) <= last], as_text(points)),
                   _first_link(recorded, entries) if first == 0 else None,
                   _final_weights(record, training)]
    return min((each for each in differences if each), key=lambda each: each.step, default=None)


def _first_link(recorded: Sequence[Mapping[str, Any]],
                entries: Sequence[Mapping[str, Any]]) -> Difference | None:
    """Compare the digests of the initial weights and momentum, if both have a chain."""
    links = [trace[0].get("previous") for trace in (recorded, entries)]
    if None in links or links[0] == links[1]:
        return None
    return Difference(0, "metrics", "the initial weights", values=(links[0], links[1]))


def _final_weights(record: AuditedRecord, training: Path) -> Difference | None:
    """Compare the digest of the final weights, if the training came so far."""
    if not (training / FINISHED).exists():
        return None
    digests = (record.kept.tag("weights_digest"),
               digest_of(read_weights(training / FINISHED, "give the command again")))
    return None if digests[0] == digests[1] else Difference(record.trace[-1]["step"], "metrics",
                                                            "weights_digest", values=digests)


def _evaluated(kept: KeptRun, run: Restored, intervals: Sequence[Interval]) -> Check:
    """Evaluate the final weights again, and compare predictions and errors with the recorded."""
    stored = {name: value for name, value in kept.facts.metrics.items() if name in (
        "top1_error", "top5_error") or name.startswith(("top1_error_", "top5_error_"))}
    last = next((run.folder / f"interval-{stretch[0][0]}" / FINISHED for stretch in
                 _stretches((each.first, each.last) for each in intervals)[-1:]), None)
    weights = kept.fetch("model.safetensors") or (last if last and last.exists() else None)
    if not stored or weights is None:
        return Check(EVALUATION, NOT_COMPARED, "the record has no errors" if weights else
                     "the record has no weights (alexnet export --weights)")
    folder = run.folder / "evaluation"
    shutil.rmtree(folder, ignore_errors=True)
    copy_file(weights, folder / WEIGHTS)
    (folder / "data").symlink_to(run.data / "data")
    (folder / "params.yaml").write_text(yaml.safe_dump(run.parameters, sort_keys=False))
    if run_child(run.code.stage("evaluate"), run.variables, folder, output=2):
        return Check(EVALUATION, NOT_COMPARED, "the stage evaluate failed, for the reason above")
    predictions = Predictions.load(folder / PREDICTIONS, "give the command again")
    errors = errors_of({name: getattr(predictions, name) for name in SETS}, predictions.labels,
                       suffix(len(predictions.each_crop)))
    for name, value in stored.items():
        if errors.get(name) != value:
            return _differing(kept, run, f"{name} is {errors.get(name)}, and the record says "
                                         f"{value}")
    recorded = recorded_files(kept.facts.tags).get(PREDICTIONS.name)
    if recorded and recorded != sha256_of(folder / PREDICTIONS):
        return _differing(kept, run, "the errors are equal, and the predictions are other ones")
    more = " and the predictions" * bool(recorded)
    return Check(EVALUATION, IDENTICAL, f"{', '.join(stored)}{more}")


def _differing(kept: KeptRun, run: Restored, detail: str) -> Check:
    """Return what a difference means: an evaluation by native arithmetic uses all cores, on whose
    number its last bits may depend."""
    cores = [facts.get("cores") for facts in (kept.environment(), run.fingerprint)]
    if run.parameters["train"].get("arithmetic", "native") == "native" and cores[0] != cores[1]:
        return Check(EVALUATION, NOT_COMPARED, f"{detail}; by native arithmetic on {cores[1]} "
                                                 f"cores, and then on {cores[0]}")
    return Check(EVALUATION, DIFFERS, detail)
