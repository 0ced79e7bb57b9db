"""Runs a recorded training again and compares the two: `rerun()` returns a `RerunResult`.

Code, parameters and data are restored in work/reruns, never in the user's own files; the training
runs there, in processes of its own, as this project executes trainings. Its trace is then compared
with the recorded one, bit for bit. It is tracked as a run of the stage `rerun`. A rerun that was
killed goes on when it is asked for again.

A record from elsewhere is a stranger's word. Its code is not run unless the user trusts it: where
it has the digest of the code here, the code here runs. `recorded_parameters` says what else of it
is obeyed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.paths import LEARNING, TRACE, WORK
from pipeline.records import code_archive, environment, kept_runs, live_curves, recording
from pipeline.records.differences import (
    DATA,
    Comparison,
    Difference,
    Pairs,
    compare_traces,
    curve_difference,
    deciding_differences,
)
from pipeline.records.kept_runs import KeptRun
from pipeline.records.record import Record, environment_tags, now, process_tags
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.recorded_parameters import (
    processes_of,
    recorded_parameters,
    variables,
)
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, exclusive_lock, sha256_of, write_json
from pipeline.system.journal import read_finished
from pipeline.system.project import CODE, home_folder
from pipeline.system.terminal import say
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training import launcher
from pipeline.training.run_folder import learning_table

RERUNS = WORK / "reruns"


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
    digests = recorded_data.recorded_digests(kept.facts.tags)
    made_on = kept.environment()
    recorded_variables = variables(made_on)
    own_code = kept.foreign and not trusted
    if own_code and kept.tag("code_digest") != environment.code_digest():
        raise UserError(f"run {kept.name} was made elsewhere, by code that is not the code here. "
                        "To rerun it is to run that code, which may do all that you may. "
                        f"`alexnet diff latest {name}` names the files that differ; they are in "
                        f"{kept.file(code_archive.ARCHIVE)}. If you trust it, give the command "
                        "again with --trust")
    kept.check_files()
    with exclusive_lock(home_folder() / RERUNS / "lock", "another `alexnet rerun`"):
        folder = (home_folder() / RERUNS / kept.name).resolve()
        code = RestoredCode(CODE) if own_code else _restored_code(kept, folder / "code")
        child_variables = code.environment(recorded_variables)
        here = code.fingerprint(child_variables)
        differing = ({} if _is_portable(kept) else
                     deciding_differences(made_on, here, kept.facts.tags.get("device", "cpu")))
        reasons = [f"{field}: {was} when it was recorded, {now} here"
                   for field, (was, now) in differing.items()]
        if "code_changed" in kept.facts.tags:
            reasons.append("its source files changed while it ran, so its record does not say "
                           "which code it was")
        if reasons and not anyway:
            return recorded.not_compared(*reasons, environment=differing)
        data = folder.with_name(f"data-{_short(digests)}")
        try:
            parameters = recorded_parameters(kept, trusted=not own_code)
            linked = recorded_data.restore(digests, data, code, parameters, child_variables,
                                           from_source=not own_code)
        except UserError as error:
            return recorded.not_compared(str(error))
        training = folder / f"training-{_short(here | {'code': kept.tag('code_digest')})}"
        training.mkdir(parents=True, exist_ok=True)
        with recording.recorded_as(_record(kept, code, here, parameters), code.folder) as record:
            with live_curves.follow_curves(record, training):
                _train(parameters, training, until, data, child_variables, code)
            result = _compared(recorded, training, data, record, differing)
            record.finish({"verdict": result.verdict, "steps_compared": result.comparison.steps,
                           "trace_digest": sha256_of(training / "trace.jsonl")})
        if kept.in_store:
            kept_runs.set_tags(kept, {"rerun_verdict": result.verdict}
                           | ({"rerun_by": result.rerun} if result.rerun else {}))
        shutil.rmtree(folder)
        if linked:
            shutil.rmtree(data)
        elif data.exists():
            say(f"rerun: the data are left in {data}, for the next rerun; delete them as you like")
        return result


def _is_portable(kept: KeptRun) -> bool:
    """Return whether the run was computed by portable arithmetic, whose bits no machine decides."""
    parameters = kept.json("parameters.json")
    train = parameters.get("train") if isinstance(parameters, dict) else None
    return isinstance(train, dict) and train.get("arithmetic") == "portable"


def _restored_code(kept: KeptRun, folder: Path) -> RestoredCode:
    code_archive.unpack_code(kept.file(code_archive.ARCHIVE), folder, kept.tag("code_digest"))
    return RestoredCode(folder, kept.facts.tags.get("interface"))


def _compared(recorded: Recorded, training: Path, data: Path, record: Record,
              differing: Pairs) -> RerunResult:
    """Compare what the training left with the record, and take it into the rerun's own record."""
    lines, retraced = _retraced(training)
    record.add_artifact(training / "trace.jsonl", TRACE.as_posix())
    if lines:
        with atomic_write(training / "learning.csv") as stream:
            stream.write(learning_table(lines))
        record.add_artifact(training / "learning.csv", LEARNING.as_posix())
        record.log_curve(lines)
    record.log_curve(live_curves.curve_point(entry) for entry in retraced)
    comparison = compare_traces(recorded.trace, retraced, recorded.until)
    first = comparison.first
    other = (curve_difference(recorded.curve, _as_text(lines))
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


def _record(kept: KeptRun, code: RestoredCode, here: Mapping[str, str],
            parameters: Mapping[str, Any]) -> Record:
    execution = parameters["execution"]
    same = {name: value for name, value in kept.facts.tags.items()
            if name in ("code_digest", "git_commit", "git_dirty", "interface", "arithmetic", *DATA)}
    tags = same | {
        "stage": "rerun", "rerun_of": kept.facts.run_id, "processes": str(processes_of(execution)),
        **{name: str(execution[name]) for name in ("placement", "replicas", "device", "threads")},
        **environment_tags(here), **process_tags()}
    record = Record("rerun", now(), kept.facts.params, tags,
                    {"environment.json": json.dumps(dict(here), indent=2),
                     "parameters.json": json.dumps(parameters, indent=2)})
    archive = kept.file(code_archive.ARCHIVE)
    if code.folder == CODE:  # which ran, and the stranger's archive did not
        archive = home_folder() / RERUNS / kept.name / code_archive.ARCHIVE
        with atomic_write(archive) as stream:
            stream.write(code_archive.pack_code())
    record.add_artifact(archive, code_archive.ARCHIVE)
    return record


def _train(parameters: Mapping[str, Any], training: Path, until: int, data: Path,
           child_variables: Mapping[str, str], code: RestoredCode) -> None:
    execution = parameters["execution"]
    processes = processes_of(execution)
    write_json(training / "parameters.json", parameters)
    say(f"rerun: to step {until}, on {execution['device']}, {processes} "
        f"process{'es' * (processes > 1)}")
    more = {"OMP_NUM_THREADS": str(execution["threads"])} if processes > 1 else {}
    status = launcher.launch(training, processes, {**child_variables, **more}, until, data,
                             code.train())
    if status:
        raise UserError(f"rerun: {launcher.describe_exit(status)}. The same command goes on from "
                        "the last checkpoint")


def _as_text(points: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(learning_table(points).decode().splitlines())) if points else []


def _retraced(training: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the learning curve and the trace as they were written: what has rotted since would
    count as a difference."""
    try:
        learned, trace = read_finished(training, "learning.jsonl", "trace.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{training}: what the rerun has written there is damaged ({error}); "
                        "remove it, and the same command trains again") from None
    return _parsed(learned), _parsed(trace)


def _parsed(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.decode().splitlines()]


def _short(facts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:12]
