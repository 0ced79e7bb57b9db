"""Runs a recorded training again and compares the two: `rerun()` returns a `RerunResult`.

Code, parameters and data are restored in work/reruns, never in the user's own files; the training
runs there, in processes of its own, with the recorded threads and variables. Its trace is then
compared with the recorded one, bit for bit. It is tracked as a run of the stage `rerun`. A rerun
that was killed goes on when it is asked for again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.paths import LEARNING, STORE, TRACE, WORK
from pipeline.data.store import Store
from pipeline.records import code_archive, environment, kept_runs, live_curves, recording
from pipeline.records.differences import (
    Comparison,
    Difference,
    Pairs,
    compared,
    deciding,
    of_curves,
)
from pipeline.records.kept_runs import KeptRun
from pipeline.records.record import Record, environment_tags, now, process_tags
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, exclusive_lock, sha256_of, write_json
from pipeline.system.journal import read_finished
from pipeline.system.project import home_folder
from pipeline.system.terminal import say
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training import launcher
from pipeline.training.run_folder import learning_table

RERUNS = WORK / "reruns"


@dataclass(frozen=True)
class RerunResult:
    """The verdict and what it rests on."""

    verdict: Verdict
    run: str  # the id of the recorded run
    traced: int  # steps in its trace
    comparison: Comparison = field(default_factory=lambda: Comparison(0, 0, None))
    rerun: str | None = None  # the id of the new run
    # what can change bits and differs: recorded, here
    environment: Pairs = field(default_factory=dict)
    reasons: tuple[str, ...] = ()  # why they are not compared

    def as_json(self) -> dict[str, Any]:
        """As `alexnet rerun --json` prints it."""
        return {"verdict": self.verdict, **self.comparison.as_json(), "traced_steps": self.traced,
                "run": self.run, "rerun": self.rerun, "environment": self.environment,
                "reasons": list(self.reasons)}


def rerun(name: str, steps: int | None = None, anyway: bool = False,
          trusted: bool = False) -> RerunResult:
    """Run it again and compare.

    Args:
        name: of the run, as `records.find` takes it.
        steps: only the beginning: up to the last traced step among so many.
        anyway: even where the environment differs in what can change bits.
        trusted: even where the code is neither the one here nor from this store.

    Raises:
        UserError: there is no such run, its record lacks what a rerun needs, its code is a
            stranger's, or the training failed.
    """
    kept = kept_runs.find(name)
    trace = kept.trace()
    until = max((entry["step"] for entry in trace if steps is None or entry["step"] <= steps),
                default=0)
    curve = [row for row in kept.curve() if int(row["step"]) <= until]
    digests = recorded_data.wanted(kept.facts.tags)
    recorded = kept.environment()
    if kept.foreign and not trusted and kept.tag("code_digest") != environment.code_digest():
        raise UserError(f"run {kept.name} was made elsewhere, by code that is not the code here. "
                        "To rerun it is to run that code, which may do all that you may. "
                        f"`alexnet diff latest {name}` names the files that differ; they are in "
                        f"{kept.file(code_archive.ARCHIVE)}. If you trust it, give the command "
                        "again with --trust")
    with exclusive_lock(home_folder() / RERUNS / "lock", "another `alexnet rerun`"):
        code = (home_folder() / RERUNS / kept.name / "code").resolve()
        code_archive.restored(kept.file(code_archive.ARCHIVE), code, kept.tag("code_digest"))
        restored = RestoredCode(code, kept.facts.tags.get("interface"))
        variables = restored.environment(_variables(recorded))
        here = restored.fingerprint(variables)
        device = kept.facts.tags.get("device", "cpu")
        differing = deciding(recorded, here, device)
        reasons = [f"{field}: {was} when it was recorded, {now} here"
                   for field, (was, now) in differing.items()]
        if "code_changed" in kept.facts.tags:
            reasons.append("its source files changed while it ran, so its record does not say "
                           "which code it was")
        refused = RerunResult(NOT_COMPARED, kept.facts.run_id, len(trace), environment=differing,
                          reasons=tuple(reasons))
        if reasons and not anyway:
            return refused
        data = (home_folder() / RERUNS / f"data-{_short(digests)}").resolve()
        try:
            parameters = _parameters(kept, here)
            linked = recorded_data.restored(digests, data, restored, parameters, variables)
        except UserError as error:
            return RerunResult(NOT_COMPARED, kept.facts.run_id, len(trace), reasons=(str(error),))
        with recording.recorded_as(_record(kept, code, here, parameters), code) as record:
            training = code.parent / f"training-{_short(here)}"
            training.mkdir(parents=True, exist_ok=True)
            with live_curves.shown(record, training):
                _train(parameters, training, until, data, variables, restored)
            outcome = _compared(kept, trace, curve, until, training, data, record, differing)
            record.finish({"verdict": outcome.verdict, "steps_compared": outcome.comparison.steps,
                           "trace_digest": sha256_of(training / "trace.jsonl")})
        if kept.in_store:
            kept_runs.set_tags(kept, {"rerun_verdict": outcome.verdict}
                           | ({"rerun_by": outcome.rerun} if outcome.rerun else {}))
        shutil.rmtree(code.parent)
        if linked:
            shutil.rmtree(data)
        else:
            say(f"rerun: the data are left in {data}, for the next rerun; delete them as you like")
        return outcome


def _compared(kept: KeptRun, trace: list[dict[str, Any]], curve: list[dict[str, str]], until: int,
              training: Path, data: Path, record: Record, differing: Pairs) -> RerunResult:
    """Compare what the training left with the record, and take it into the rerun's own."""
    lines, retraced = _retraced(training)
    record.add_artifact(training / "trace.jsonl", TRACE.as_posix())
    if lines:
        with atomic_write(training / "learning.csv") as stream:
            stream.write(learning_table(lines))
        record.add_artifact(training / "learning.csv", LEARNING.as_posix())
        record.log_curve(lines)
    record.log_curve(live_curves.traced(entry) for entry in retraced)
    comparison = compared(trace, retraced, until)
    first = comparison.first
    other = of_curves(curve, _text(lines)) or _of_weights(kept, training, until, record)
    if other and (first is None or other.step < first.step):
        comparison = Comparison(comparison.steps, comparison.last, other)
    verdict, reasons = (DIFFERS if comparison.first else IDENTICAL), list[str]()
    if comparison.first:
        try:
            # equal traces prove that the pixels were the same; other ones do not
            Store(data / STORE).verify()
        except UserError as error:
            verdict, reasons = NOT_COMPARED, [str(error)]
    return RerunResult(verdict, kept.facts.run_id, len(trace), comparison, record.run_id, differing,
                   tuple(reasons))


def _of_weights(kept: KeptRun, training: Path, until: int, record: Record) -> Difference | None:
    """Of the published weights, if the rerun came so far as to have some."""
    from safetensors import safe_open

    if not (training / "model.safetensors").exists():
        return None
    with safe_open(training / "model.safetensors", framework="numpy") as opened:
        found = opened.metadata()["digest"]
    record.finish({"weights_digest": found})
    was = kept.facts.tags.get("weights_digest", found)
    return (None if was == found
            else Difference(until, "metrics", "weights_digest", values=(was, found)))


def _parameters(kept: KeptRun, here: Mapping[str, str]) -> dict[str, Any]:
    """The recorded ones, to be executed as they were where this machine can; the bits do not depend
    on that.

    Raises:
        UserError: the weights that were fine-tuned are not where they were; or these are no
            parameters.
    """
    parameters: dict[str, Any] = kept.json("parameters.json")
    tags = kept.facts.tags
    try:
        execution = parameters["execution"]
        execution |= {"placement": tags.get("placement", "one"),
                      "device": tags.get("device", "cpu"),
                      "threads": int(tags.get("threads", execution["threads"])),
                      "replicas": int(tags.get("replicas", "1"))}
        parameters["train"].get("start_from"), parameters["dataset"]["source"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"run {kept.name}: its parameters.json or tags are not those of a training "
                        f"({error!r})") from None
    if (execution["device"] == "cuda"
            and _processes(execution) > len(here.get("gpu", "none").split(", "))):
        execution |= {"placement": "one", "replicas": 1}
    if parameters["train"].get("start_from"):
        file = home_folder() / Path(parameters["train"]["start_from"])
        wanted = tags.get("start_from_digest")
        if not file.exists() or sha256_of(file) != wanted:
            raise UserError(f"{file}: not the weights that the run started from, which have the "
                            f"SHA-256 {wanted}; put them there")
        parameters["train"]["start_from"] = str(file)
    return parameters


def _processes(execution: Mapping[str, Any]) -> int:
    return int(execution["replicas"]) * (2 if execution["placement"] == "two" else 1)


def _variables(recorded: Mapping[str, str]) -> dict[str, str]:
    """Of the rerun's processes: this process's own, and as recorded what can change bits."""
    kept = {name: value
            for name, value in os.environ.items() if name not in environment.BIT_CHANGING_VARIABLES}
    kept |= {name: recorded[f"variable {name}"] for name in environment.BIT_CHANGING_VARIABLES
             if f"variable {name}" in recorded}
    return {"OMP_WAIT_POLICY": "PASSIVE"} | kept


def _record(kept: KeptRun, code: Path, here: Mapping[str, str],
            parameters: Mapping[str, Any]) -> Record:
    execution = parameters["execution"]
    found = dict(here) | {"threads": str(execution["threads"])}
    same = {name: value for name, value in kept.facts.tags.items()
            if name in ("code_digest", "git_commit", "git_dirty", "interface")
            or (name.endswith("_digest") and "." in name)}
    tags = same | {
        "stage": "rerun", "rerun_of": kept.facts.run_id, "processes": str(_processes(execution)),
        **{name: str(execution[name]) for name in ("placement", "replicas", "device", "threads")},
        **environment_tags(found), **process_tags()}
    record = Record("rerun", now(), kept.facts.params, tags,
                    {"environment.json": json.dumps(found, indent=2),
                     "parameters.json": json.dumps(parameters, indent=2)})
    record.add_artifact(kept.file(code_archive.ARCHIVE), code_archive.ARCHIVE)
    return record


def _train(parameters: Mapping[str, Any], training: Path, until: int, data: Path,
           variables: Mapping[str, str], code: RestoredCode) -> None:
    execution = parameters["execution"]
    processes = _processes(execution)
    write_json(training / "parameters.json", parameters)
    say(f"rerun: to step {until}, on {execution['device']}, {processes} "
        f"process{'es' * (processes > 1)}")
    more = {"OMP_NUM_THREADS": str(execution["threads"])} if processes > 1 else {}
    status = launcher.launch(training, processes, {**variables, **more}, until, data, code.train())
    if status:
        raise UserError(f"rerun: {launcher.told(status)}. The same command goes on from the last "
                        "checkpoint")


def _text(lines: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(learning_table(lines).decode().splitlines())) if lines else []


def _retraced(training: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The learning curve and the trace, as they were written: what has rotted since would be told
    as a difference."""
    try:
        learned, trace = read_finished(training, "learning.jsonl", "trace.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{training}: what the rerun has written there is damaged ({error}); "
                        "remove it, and the same command trains again") from None
    return _entries(learned), _entries(trace)


def _entries(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.decode().splitlines()]


def _short(facts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:12]
