"""Records of trainings that never were: what a forger can plant, and honest records beside them.

A `Workshop` trains tiny nets in this process and writes their records as `alexnet export` does.
IN_RECORDS are what a forger changes in one; where he is `thorough`, he computes the chain anew and
has every digest fit. IN_TRAININGS are trainings that were interfered with, so that all that comes
after follows from it and the chain is whole by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alexnet.digest import combined, digest_of, tensor_digest
from alexnet.trace import link_digest, loss_chain
from alexnet.weights import part_of_column, weights_of
from pipeline.config import parameters as parameter_files
from pipeline.config.parameters import Parameters
from pipeline.config.paths import PREDICTIONS, TRACE, WEIGHTS
from pipeline.records import environment, exchange, kept_runs
from pipeline.records.kept_runs import Facts
from pipeline.records.record_files import FILES
from pipeline.stages import evaluate
from pipeline.studies.rerun import audit, consistency
from pipeline.studies.rerun.restoration import restored
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.files import sha256_of
from pipeline.system.journal import Journal
from pipeline.training import checkpoints, launcher
from pipeline.training.execution import prepare, resolve
from pipeline.training.run import train
from pipeline.training.run_folder import learning_table

TINY = {"resize.side": 32, "network.architecture": "cifar", "network.width": 0.125,
        "dataset.sample.train_images": 80, "dataset.sample.val_images": 20, "train.batch": 8,
        "train.epochs": 6, "train.validate_every": 2, "train.trace_every": 2,
        "execution.keep_every": 6, "execution.checkpoint_every": 2}


@dataclass
class Draft:
    """The parts of a record that a forger works on.

    Attributes:
        folder: of the record.
        facts, parameters: of record.json and parameters.json.
        trace, curve: their entries and rows.
        states: weights and momentum of each kept checkpoint, by step, and what else it remembers.
        weights: the final ones.
        at: chooses where.
        thorough: whether the forger has everything follow from what he changes.
    """

    folder: Path
    facts: Facts
    parameters: dict[str, Any]
    trace: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    states: dict[int, tuple[dict[str, Tensor], dict[str, Any]]]
    weights: dict[str, Tensor]
    at: random.Random
    thorough: bool = False

    def entry(self) -> dict[str, Any]:
        """An entry in the middle, at no checkpoint, so that the entry is all there is of it."""
        return self.at.choice([entry for entry in self.trace[2:-2]
                               if entry["step"] not in self.states])

    def kept(self) -> int:
        """The step of a kept checkpoint in the middle."""
        return self.at.choice(sorted(self.states)[1:-1])

    def set_digests(self, step: int, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """Have the entry of this step name these tensors."""
        entry = next(entry for entry in self.trace if entry["step"] == step)
        columns: dict[str, list[int]] = {}
        for full in entry[kind]["tensors"]:
            name, _, column = full.rpartition("/")
            columns.setdefault(name, []).append(int(column))
        digests = {f"{name}/{column}": tensor_digest(part_of_column(
            tensors[name], column, len(tensors[name]) // len(columns[name])))
            for name in columns for column in columns[name]}
        entry[kind] = {"digest": combined(digests),
                       "tensors": {name: digests[name][:16] for name in sorted(digests)}}

    def chain(self) -> None:
        """Compute the chain anew, as the forger who is thorough does."""
        before: dict[str, Any] | None = None
        for entry in self.trace:
            if before is not None:
                entry["previous"] = link_digest(before)
            if entry["step"] - (before["step"] if before else 0) == 1:
                entry["losses"] = loss_chain("", float.fromhex(entry["loss"]))
            if entry["step"] in self.states:
                self.states[entry["step"]][1]["previous"] = link_digest(entry)
            before = entry

    def write(self) -> None:
        """Write the record, with the digests that its files now have; if the forger is thorough,
        with a whole chain."""
        if self.thorough:
            self.chain()
        (self.folder / "trace.jsonl").write_text(
            "".join(json.dumps(entry) + "\n" for entry in self.trace))
        (self.folder / "learning.csv").write_bytes(learning_table(self.curve))
        (self.folder / "parameters.json").write_text(json.dumps(self.parameters))
        save_file(self.weights, self.folder / "model.safetensors",
                  {"digest": digest_of(self.weights)})
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        for step, (state, memory) in self.states.items():
            checkpoints.save(self.folder / "checkpoints", step, state, memory,
                             [Journal(self.folder / "none.jsonl")], recent=None)
        digests = {FILES[file.name]: sha256_of(file) for file in self.folder.iterdir()
                   if file.name in FILES}
        tags = {name: value for name, value in self.facts.tags.items()
                if name != "evaluate.files"}
        tags |= {"files": json.dumps(digests), "weights_digest": digest_of(self.weights),
                 "trace_digest": digests[TRACE.as_posix()]}
        points = [{name: float(value) for name, value in row.items()} for row in self.curve]
        exchange.write_record(self.folder, replace(self.facts, tags=tags, curve=points))


class Workshop:
    """A project with tiny data, in which trainings, records and audits are made in this process.

    Args:
        project: a folder with data/ and params.yaml, which is the current one.
        base: an exported record of it, whose facts, code and environment the others take over.
    """

    def __init__(self, project: Path, base: Path) -> None:
        self.project, self.base, self.files = project, kept_runs.read_folder(base), base
        self.scratch = project / "work" / "workshop"

    def train(self, name: str, seed: int, changes: Mapping[int, Change] | None = None) -> Draft:
        """Train and evaluate a net; after some of the updates the folder in which the training
        works, and its parameters, are interfered with."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        honest = resolve(parameter_files.load(self.project / "params.yaml", [
            f"train.seed={seed}", "execution.placement=one", "execution.device=cpu",
            "execution.threads=1"]))
        now = honest
        with quiet():
            for step, change in sorted((changes or {}).items()):
                train(now, folder, prepare(now), step)
                now = change(folder, honest)
            train(now, folder, prepare(now))
        return self._recorded(folder, honest)

    def _recorded(self, folder: Path, parameters: Parameters) -> Draft:
        record = folder / "record"
        record.mkdir()
        for file in ("code.tar.gz", "environment.json"):
            shutil.copy(self.files / file, record)
        metrics = evaluation(folder / "model.safetensors", parameters, self.project)
        shutil.move(self.project / "work/evaluation" / PREDICTIONS, record)
        return Draft(record, replace(self.base.facts, metrics=metrics),
                     parameters.model_dump(mode="json"), lines(folder / "trace.jsonl"),
                     lines(folder / "learning.jsonl"),
                     {step: (state, memory) for step, state, memory in map(
                         checkpoints.read, (folder / checkpoints.KEPT_FOLDER).glob("*"))},
                     load_file(folder / "model.safetensors"), random.Random(0))

    def audited(self, record: Path, **how: Any) -> audit.AuditResult:
        """What an audit of a record finds."""
        with quiet():
            return audit.audit(str(record), **how)


    def differing(self, folder: Path, intervals: Sequence[tuple[int, int]]) -> list[bool]:
        """Which of these intervals of a record differ when each is trained again by itself."""
        kept = kept_runs.read_folder(folder)
        record = consistency.AuditedRecord(
            kept, kept.trace(), kept.curve(),
            parameter_files.check(kept.json("parameters.json")), kept.kept_steps())
        with quiet(), restored(kept, anyway=False, trusted=False) as run:
            return [audit._difference(record, run, *interval) is not None
                    for interval in intervals]


Change = Callable[[Path, Parameters], Parameters]


def with_parameters(*overrides: str) -> Change:
    """A change of what the training goes on with, that its record does not tell."""
    def change(folder: Path, honest: Parameters) -> Parameters:
        values = honest.model_dump(mode="json")
        for override in overrides:
            key, _, value = override.partition("=")
            section, _, name = key.partition(".")
            values[section][name] = json.loads(value)
        return parameter_files.check(values)
    return change


def with_state(alter: Callable[[dict[str, Tensor]], None]) -> Change:
    """A change of the weights or the momentum that the training goes on with."""
    def change(folder: Path, honest: Parameters) -> Parameters:
        newest = checkpoints.newest(folder)
        assert newest
        step, state, memory = newest
        alter(state)
        journals = [Journal(folder / name, mark) for name, mark in memory["lines"].items()]
        checkpoints.save(folder, step, state, memory, journals)
        return honest
    return change


def one_ulp(state: dict[str, Tensor]) -> None:
    """Move one weight by one unit in its last place."""
    weight = state["weights/conv1.weight"].view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))


def no_momentum(state: dict[str, Tensor]) -> None:
    """Go on without momentum, as a restore does that has forgotten it."""
    for name, tensor in state.items():
        if name.startswith("momentum/"):
            tensor.zero_()


def smaller_weights(state: dict[str, Tensor]) -> None:
    """Go on with weights that are a hundredth smaller."""
    for name, tensor in state.items():
        if name.startswith("weights/"):
            tensor.mul_(0.99)


def changed_digest(digest: str) -> str:
    """Another digest."""
    return digest[::-1]


# --- what is changed in a record; each gets another honest record to take from ---

def loss(draft: Draft, other: Draft) -> None:
    entry = draft.entry()
    entry["loss"] = (float.fromhex(entry["loss"]) * 0.9).hex()


def losses(draft: Draft, other: Draft) -> None:
    entry = draft.entry()
    entry["losses"] = changed_digest(entry["losses"])


def images(draft: Draft, other: Draft) -> None:
    entry = draft.entry()
    entry["images"] = changed_digest(entry["images"])


def gradients(draft: Draft, other: Draft) -> None:
    entry = draft.entry()
    entry["gradients"] = other.trace[draft.trace.index(entry)]["gradients"]


def weights(draft: Draft, other: Draft) -> None:
    entry = draft.entry()
    entry["weights"] = other.trace[draft.trace.index(entry)]["weights"]


def entries_of_another_run(draft: Draft, other: Draft) -> None:
    place = draft.trace.index(draft.entry())
    draft.trace[place: place + 1] = [dict(other.trace[place])]


def entry_left_out(draft: Draft, other: Draft) -> None:
    draft.trace.remove(draft.entry())


def checkpoint(draft: Draft, other: Draft) -> None:
    """And where he is thorough, the entry of the trace says so, too."""
    step = draft.kept()
    state, _ = draft.states[step]
    one_ulp(state)
    if draft.thorough:
        draft.set_digests(step, "weights", weights_of(state))


def final_weights(draft: Draft, other: Draft) -> None:
    draft.weights = other.weights
    if draft.thorough:
        draft.set_digests(draft.trace[-1]["step"], "weights", draft.weights)


def curve_point(draft: Draft, other: Draft) -> None:
    point = draft.at.choice(draft.curve)
    point["validation_error"] = point["validation_error"] / 2 - 0.05


def curve_of_another_run(draft: Draft, other: Draft) -> None:
    draft.curve = other.curve


def errors(draft: Draft, other: Draft) -> None:
    draft.facts.metrics["top1_error"] -= 0.05


def seed(draft: Draft, other: Draft) -> None:
    draft.parameters["train"]["seed"] += 1


def rate(draft: Draft, other: Draft) -> None:
    draft.parameters["recipe"]["weight_lr"] = 0.002


IN_RECORDS: dict[str, Callable[[Draft, Draft], None]] = {
    "a loss": loss, "the losses between": losses, "the images of a batch": images,
    "gradients": gradients, "weights": weights,
    "an entry of another run": entries_of_another_run, "an entry left out": entry_left_out,
    "a checkpoint, by one ulp": checkpoint, "final weights of another run": final_weights,
    "a point of the curve": curve_point, "the curve of another run": curve_of_another_run,
    "an error": errors, "another seed": seed, "another learning rate": rate}
# trainings that were interfered with after an update: their chains are whole, whoever made them
IN_TRAININGS: dict[str, tuple[Change, Change | None]] = {
    "one weight moved by one ulp": (with_state(one_ulp), None),
    "momentum forgotten": (with_state(no_momentum), None),
    "weights made smaller": (with_state(smaller_weights), None),
    "two updates at another rate": (with_parameters("recipe.weight_lr=0.003"), with_parameters()),
    "two updates of centre crops": (
        with_parameters('recipe.crops="centre"'), with_parameters()),
    "two updates of another seed": (with_parameters("train.seed=99"), with_parameters())}


def lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON."""
    return [json.loads(line) for line in file.read_text().splitlines()]


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Have this be the current folder within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is said on the way."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def evaluation(model: Path, parameters: Parameters, project: Path) -> dict[str, float]:
    """Evaluate weights in work/evaluation of the project; return the metrics that are numbers."""
    folder = project / "work/evaluation"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / WEIGHTS).parent.mkdir(parents=True)
    shutil.copy(model, folder / WEIGHTS)
    (folder / "data").symlink_to(project / "data")
    with in_folder(folder), quiet():
        metrics = evaluate.run(parameters)
    return {name: float(value) for name, value in metrics.items()
            if isinstance(value, int | float)}


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Have audits train and evaluate in this process: the same work, without seconds of start."""
    fingerprint = environment.fingerprint()

    def launch(folder: Path, processes: int, variables: Mapping[str, str], stop: int | None = None,
               here: Path | None = None, command: object = None) -> int:
        assert here
        parameters = parameter_files.check(json.loads((folder / "parameters.json").read_text()))
        with in_folder(here):
            train(parameters, folder, prepare(parameters), stop)
        return 0

    def run_stage(command: object, variables: object, folder: Path, output: object = None) -> int:
        with in_folder(folder):
            evaluate.run(parameter_files.load())
        return 0

    with (mock.patch.object(launcher, "launch", launch),
          mock.patch.object(audit, "run_child", run_stage),
          mock.patch.object(RestoredCode, "fingerprint", return_value=fingerprint)):
        yield


def copy_files(record: Path, to: Path) -> None:
    """Copy a record's folder in place of what is there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(record, to)
