"""What the record of a training says of itself, held together without training anything.

`checks()` shows that the chain of the trace is whole, that kept checkpoints and final weights are
those of the trace, that the learning curve is the one that was recorded, and that the trace begins
with the initial weights of the seed. Whoever forges all of them together passes; what he cannot do
is to have the updates between them come out so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from alexnet.digest import combined, digest_of, tensor_digest
from alexnet.network import Network
from alexnet.trace import link_digest, loss_chain
from alexnet.weights import initial_state, part_of_column
from pipeline.config.parameters import Parameters
from pipeline.records.kept_runs import KeptRun
from pipeline.records.record_files import checkpoint_name
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training import checkpoints
from pipeline.training.loading import arithmetic

NO_CHAIN = "this record has no chain"
LINK = ("images", "losses", "previous")  # of every entry that is part of a chain


@dataclass(frozen=True)
class Check:
    """What was held together besides intervals; without a `required` one nothing is proved."""

    check: str
    verdict: Verdict
    detail: str
    required: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class AuditedRecord:
    """A record: its trace, its learning curve, its parameters, the steps of its checkpoints."""

    kept: KeptRun
    trace: list[dict[str, Any]]
    curve: list[dict[str, str]]
    parameters: Parameters
    steps: list[int]

    def entry(self, step: int) -> dict[str, Any] | None:
        """Return the entry of this step; None where the trace has none."""
        return next((entry for entry in self.trace if entry["step"] == step), None)


class Contradiction(Exception):
    """Two parts of a record that contradict each other; the message names them."""


class NotKnown(Exception):
    """The record does not have what a check needs; the message says what."""


def checks(record: AuditedRecord) -> list[Check]:
    """Hold the parts of a record together."""
    chained = "previous" in record.trace[0]
    parts: list[tuple[str, Callable[[AuditedRecord], str], bool]] = [
        ("chain", _chain, chained), ("checkpoints", _checkpoints, bool(record.steps)),
        ("final weights", _final_weights, record.kept.fetch("model.safetensors") is not None),
        ("learning curve", _curve, bool(record.curve)), ("initial weights", _initial, chained)]
    reasons = {"checkpoints": "this record keeps none (execution.keep_every)",
               "final weights": "the record has no weights (alexnet export --weights)",
               "learning curve": "this record has none"}
    return [_check(what, of, record) if there else
            Check(what, NOT_COMPARED, reasons.get(what, NO_CHAIN), what == "chain")
            for what, of, there in parts]


def _check(what: str, of: Callable[[AuditedRecord], str], record: AuditedRecord) -> Check:
    try:
        return Check(what, IDENTICAL, of(record), what == "chain")
    except Contradiction as error:
        return Check(what, DIFFERS, str(error))
    except NotKnown as error:
        return Check(what, NOT_COMPARED, str(error))
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # of a stranger's file
        return Check(what, DIFFERS, f"damaged ({error})")


def _chain(record: AuditedRecord) -> str:
    """Every entry has a link to the one before it, and none of the traced steps is missing."""
    train, count = record.parameters.train, record.kept.facts.tags.get("images.train", "")
    last, due, before = record.trace[-1]["step"], 1, None
    planned = max(1, round(train.epochs * int(count) / train.batch)) if count.isdecimal() else last
    if last > planned or (last < planned and train.stop_below is None):
        raise Contradiction(f"the trace ends at step {last}, and the training has {planned}")
    for entry in record.trace:
        if entry["step"] != due:
            raise Contradiction(f"step {due} is missing, and step {entry['step']} is there")
        due = min((due // train.trace_every + 1) * train.trace_every, last)
        if any(entry.get(name) is None for name in LINK):
            raise Contradiction(f"step {entry['step']}: no link")
        if before and entry["previous"] != link_digest(before):
            raise Contradiction(f"step {entry['step']}: its link is not to the entry of step "
                                f"{before['step']} as it stands")
        if (entry["step"] - (before["step"] if before else 0) == 1
                and entry["losses"] != loss_chain("", float.fromhex(entry["loss"]))):
            raise Contradiction(f"step {entry['step']}: its loss is not the one that was chained")
        before = entry
    return f"{len(record.trace)} entries, to step {last}"


def _checkpoints(record: AuditedRecord) -> str:
    for step in record.steps:
        checkpoint_of(record, step)
    return f"of {len(record.steps)} steps"


def checkpoint_of(record: AuditedRecord, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return state and memory of a kept checkpoint, which are those of the trace.

    Raises:
        Contradiction: they are not.
    """
    entry = record.entry(step)
    try:
        stored, state, memory = checkpoints.read(record.kept.file(checkpoint_name(step)))
        loss_sum = float.fromhex(memory["loss_sum"])
        counts = memory["loss_count"], memory["wrong"]
        if not (math.isfinite(loss_sum) and all(type(count) is int and 0 <= count < 2**53
                                                for count in counts)):
            raise ValueError("its memory is none")
    except checkpoints.BROKEN as error:
        raise Contradiction(f"step {step}: the checkpoint is damaged ({error})") from None
    if stored != step or entry is None:
        raise Contradiction(f"step {step}: the checkpoint is of step {stored}" if entry else
                            f"step {step}: a checkpoint, and no entry in the trace")
    for kind in ("weights", "momentum"):
        _compare(f"step {step}: the checkpoint's {kind}", entry[kind], {
            name.partition("/")[2]: tensor for name, tensor in state.items()
            if name.startswith(f"{kind}/")})
    link = {"previous": link_digest(entry), "losses": ""}
    if any(memory.get(name, value) != value for name, value in link.items()):
        raise Contradiction(f"step {step}: the checkpoint's link is not to the entry of that step")
    return state, {"loss_sum": memory["loss_sum"], "loss_count": counts[0], "wrong": counts[1],
                   **link}


def _compare(what: str, recorded: Mapping[str, Any], merged: Mapping[str, Tensor]) -> None:
    """Hold merged tensors against an entry's digests of their columns."""
    columns: dict[str, list[int]] = {}
    for full in recorded["tensors"]:
        name, _, column = full.rpartition("/")
        columns.setdefault(name, []).append(int(column))
    if columns.keys() != merged.keys():
        raise Contradiction(f"{what} are of other tensors")
    digests = {f"{name}/{column}": tensor_digest(part_of_column(
        merged[name], column, len(merged[name]) // len(columns[name])))
        for name in columns for column in columns[name]}
    first = next((name for name in recorded["tensors"]
                  if digests[name][:16] != recorded["tensors"][name]), "")
    if first or combined(digests) != recorded["digest"]:
        raise Contradiction(f"{what} are not those of the trace{first and f', from {first}'}")


def _final_weights(record: AuditedRecord) -> str:
    weights = _weights(record.kept.file("model.safetensors"))
    _compare("the final weights", record.trace[-1]["weights"], weights)
    if digest_of(weights) != record.kept.tag("weights_digest"):
        raise Contradiction("the final weights are not those of the tag weights_digest")
    return "those of the last entry of the trace"


def _weights(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise Contradiction(f"{file}: damaged ({error})") from None


def _curve(record: AuditedRecord) -> str:
    """The file and the store's points are one curve, to the end of the trace."""
    points = {int(point["step"]): point for point in record.kept.facts.curve}
    for row in record.curve:
        point = points.get(int(row["step"]), {})
        for name, value in row.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise Contradiction(f"step {row['step']}: {name} is no number") from None
            if point.get(name, math.nan) != number:
                raise Contradiction(f"step {row['step']}: {name} is {value} in learning.csv, and "
                                    f"{point.get(name)} in the record")
    rows = [int(row["step"]) for row in record.curve]
    if rows[-1] != record.trace[-1]["step"] or rows != sorted(set(rows)):
        raise Contradiction(f"it ends at step {rows[-1]}, and the trace at "
                            f"{record.trace[-1]['step']}")
    return f"{len(rows)} points"


def _initial(record: AuditedRecord) -> str:
    """The trace begins with the weights that the seed gives, and without momentum."""
    if record.parameters.train.start_from:
        raise NotKnown("it started from weights; the first interval shows whether")
    parameters, output = record.parameters, record.parameters.layer_table(1).layers[-1].name
    name = f"weights/{output}.bias"
    if record.steps:
        classes = len(checkpoint_of(record, record.steps[0])[0][name])
    elif (file := record.kept.fetch("model.safetensors")):
        classes = len(_weights(file)[name.partition("/")[2]])
    else:
        raise NotKnown("without a checkpoint or weights the number of classes is not known")
    network = Network(parameters.layer_table(classes), parameters.effective_recipe(),
                      parameters.train.seed, None, parameters.train.precision,
                      arithmetic(parameters.train.arithmetic))
    if digest_of(initial_state(network)) != record.trace[0]["previous"]:
        raise Contradiction(f"the trace does not begin with those of seed {parameters.train.seed}")
    return f"those of seed {parameters.train.seed}"
