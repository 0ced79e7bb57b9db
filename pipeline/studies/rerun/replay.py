"""Runs a recorded training again and compares the two: `rerun()` returns a `RerunResult`.

What the training was made from is restored elsewhere (`restoration`), and trained there. Its trace
is then compared with the recorded one, bit for bit. It is tracked as a run of the stage `rerun`. A
rerun that was killed goes on when it is asked for again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.paths import LEARNING, TRACE
from pipeline.records import code_archive, kept_runs, live_curves, recording
from pipeline.records.differences import (
    DATA,
    Comparison,
    Difference,
    Pairs,
    compare_traces,
    curve_difference,
)
from pipeline.records.kept_runs import KeptRun
from pipeline.records.record import Record, environment_tags, now, process_tags
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.recorded_parameters import processes_of
from pipeline.studies.rerun.restoration import (
    RERUNS,
    NotComparable,
    Restored,
    as_text,
    recomputed,
    restored,
)
from pipeline.system.files import atomic_write, sha256_of
from pipeline.system.project import CODE, home_folder
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training.run_folder import learning_table


@dataclass(frozen=True)
class RerunResult:
    """The verdict and what it rests on.

    Attributes:
        verdict: of the comparison.
        run: the id of the recorded run.
        traced: steps in its trace.
        comparison: how many of them were compared, and the first difference.
        rerun: the id of the new run; None where nothing was trained.
        environment: what can change bits and differs: recorded, here.
        reasons: why they were not compared.
    """

    verdict: Verdict
    run: str
    traced: int
    comparison: Comparison = field(default_factory=lambda: Comparison(0, 0, None))
    rerun: str | None = None
    environment: Pairs = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet rerun --json` prints."""
        return {"verdict": self.verdict, **self.comparison.as_json(), "traced_steps": self.traced,
                "run": self.run, "rerun": self.rerun, "environment": self.environment,
                "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Recorded:
    """The parts of a record that are compared, up to the last step that is rerun.

    Attributes:
        kept: the record.
        trace: its entries, all of them.
        until: the last step to rerun.
        curve: rows of its learning curve, to that step.
    """

    kept: KeptRun
    trace: list[dict[str, Any]]
    until: int
    curve: list[dict[str, str]]

    def not_compared(self, *reasons: str, environment: Pairs | None = None) -> RerunResult:
        """Return the result for a run that could not be run again."""
        return RerunResult(NOT_COMPARED, self.kept.facts.run_id, len(self.trace),
                           environment=environment or {}, reasons=reasons)


def rerun(name: str, steps: int | None = None, anyway: bool = False,
          trusted: bool = False) -> RerunResult:
    """Run a recorded training again and compare.

    Args:
        name: of the run, as `kept_runs.find` takes it.
        steps: only the beginning: up to the last traced step among so many.
        anyway: even where the environment differs in what can change bits.
        trusted: whether the user trusts whoever made the record.

    Raises:
        UserError: there is no such run, its record lacks what a rerun needs or is damaged, its code
            is a stranger's, or the training failed.
    """
    kept = kept_runs.find(name)
    trace = kept.trace()
    until = max((entry["step"] for entry in trace if steps is None or entry["step"] <= steps),
                default=0)
    recorded = Recorded(kept, trace, until,
                        [row for row in kept.curve() if int(row["step"]) <= until])
    try:
        with restored(kept, anyway, trusted) as run:
            return _rerun(recorded, run)
    except NotComparable as error:
        return recorded.not_compared(*error.reasons, environment=error.environment)


def _rerun(recorded: Recorded, run: Restored) -> RerunResult:
    kept, training = recorded.kept, run.training
    training.mkdir(parents=True, exist_ok=True)
    with recording.recorded_as(_record(run), run.code.folder) as record:
        with live_curves.follow_curves(record, training):
            run.train(training, recorded.until)
        result = _compared(recorded, training, run.data, record, run.differing)
        record.finish({"verdict": result.verdict, "steps_compared": result.comparison.steps,
                       "trace_digest": sha256_of(training / "trace.jsonl")})
    if kept.in_store:
        kept_runs.set_tags(kept, {"rerun_verdict": result.verdict}
                           | ({"rerun_by": result.rerun} if result.rerun else {}))
    return result


def _compared(recorded: Recorded, training: Path, data: Path, record: Record,
              differing: Pairs) -> RerunResult:
    """Compare what the training left with the record, and take it into the rerun's own record."""
    lines, retraced = recomputed(training)
    record.add_artifact(training / "trace.jsonl", TRACE.as_posix())
    if lines:
        with atomic_write(training / "learning.csv") as stream:
            stream.write(learning_table(lines))
        record.add_artifact(training / "learning.csv", LEARNING.as_posix())
        record.log_curve(lines)
    record.log_curve(live_curves.curve_point(entry) for entry in retraced)
    comparison = compare_traces(recorded.trace, retraced, recorded.until)
    first = comparison.first
    other = (curve_difference(recorded.curve, as_text(lines))
             or _weights_difference(recorded, training, record))
    if other and (first is None or other.step < first.step):
        comparison = Comparison(comparison.steps, comparison.last, other)
    verdict, reasons = (DIFFERS if comparison.first else IDENTICAL), tuple[str, ...]()
    # equal traces prove that the pixels were the same; other ones do not
    if comparison.first and (damaged := recorded_data.damage(data)):
        verdict, reasons = NOT_COMPARED, (damaged,)
    return RerunResult(verdict, recorded.kept.facts.run_id, len(recorded.trace), comparison,
                       record.run_id, differing, reasons)


def _weights_difference(recorded: Recorded, training: Path, record: Record) -> Difference | None:
    """Compare the published weights, if the rerun came so far as to have some."""
    from safetensors import safe_open

    if not (training / "model.safetensors").exists():
        return None
    with safe_open(training / "model.safetensors", framework="numpy") as opened:
        digest = opened.metadata()["digest"]
    record.finish({"weights_digest": digest})
    was = recorded.kept.facts.tags.get("weights_digest", digest)
    return (None if was == digest
            else Difference(recorded.until, "metrics", "weights_digest", values=(was, digest)))


def _record(run: Restored) -> Record:
    kept, execution = run.kept, run.parameters["execution"]
    same = {name: value for name, value in kept.facts.tags.items()
            if name in ("code_digest", "git_commit", "git_dirty", "interface", "arithmetic", *DATA)}
    tags = same | {
        "stage": "rerun", "rerun_of": kept.facts.run_id, "processes": str(processes_of(execution)),
        **{name: str(execution[name]) for name in ("placement", "replicas", "device", "threads")},
        **environment_tags(run.fingerprint), **process_tags()}
    record = Record("rerun", now(), kept.facts.params, tags,
                    {"environment.json": json.dumps(run.fingerprint, indent=2),
                     "parameters.json": json.dumps(run.parameters, indent=2)})
    archive = kept.file(code_archive.ARCHIVE)
    if run.code.folder == CODE:  # which ran, and the stranger's archive did not
        archive = home_folder() / RERUNS / kept.name / code_archive.ARCHIVE
        with atomic_write(archive) as stream:
            stream.write(code_archive.pack_code())
    record.add_artifact(archive, code_archive.ARCHIVE)
    return record
