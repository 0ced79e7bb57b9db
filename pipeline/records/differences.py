"""Where two runs differ: in their traces, bit for bit, and in what their records say they were made
from.

`compare_traces()` finds how far two traces agree and the first tensor in which they do not;
`record_differences()` what differs in data, code, parameters and environment;
`deciding_differences()` what of an environment can change a bit of a training.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.records import code_archive
from pipeline.records.environment import PROBE
from pipeline.records.kept_runs import KeptRun

# An update makes gradients, then the momentum, then the weights: the first of these that differs is
# the cause.
KINDS = ("gradients", "momentum", "weights")
# Of the fingerprint, what can change a bit of a training in native arithmetic on the CPU; and what
# more on a GPU. Python, numpy and the decoder are not among them: the data have digests of their
# own, and no draw or sum is left to those.
DECIDING = ("machine", "libc", PROBE, "torch", "torch_build", "cpu_capability", "onednn", "blas",
            "mkl")
DECIDING_ON_GPU = ("gpu", "driver", "cudnn")
MACHINE = "cpu"  # the processor's name, which decided before records had a probe
EXECUTION = ("placement", "replicas", "processes", "device", "threads", "deterministic")
DATA = ("download.listing_digest", "resize.pixels_digest", "mean.mean_digest", "pca.pca_digest",
        "start_from_digest")
Pairs = dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Difference:
    """The first one between two runs: at this step, in this tensor of this column.

    `kind` is images (what went into the network), gradients, momentum, weights, loss, losses (of
    the updates since the entry before), metrics (`tensor` is then the name of the metric), or
    missing, when one of the runs has no entry for the step. `tensors` counts all that differ at the
    step, of all kinds.
    """

    step: int
    kind: str
    tensor: str = ""
    column: int | None = None
    tensors: int = 0
    values: tuple[Any, Any] | None = None

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"step {self.step}: only one of the runs has it in its trace"
        if self.kind == "images":
            return f"step {self.step}: the images of its batch"
        if self.kind == "losses":
            return f"step {self.step}: the losses of the updates since the step traced before"
        if self.kind in ("loss", "metrics"):
            values = " and ".join(str(value) for value in self.values or ())
            return f"step {self.step}: {self.tensor or self.kind} ({values})"
        return (f"step {self.step}: {self.kind} of {self.tensor}, column {self.column} "
                f"({self.tensors} tensor{'s' * (self.tensors != 1)} "
                f"differ{'s' * (self.tensors == 1)} there)")


@dataclass(frozen=True)
class Comparison:
    """How many traced steps were compared, and the first difference if there is one."""

    steps: int
    last: int  # the last step compared, 0 for none
    first: Difference | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values: steps_compared, last_step, first_difference or null."""
        return {"steps_compared": self.steps, "last_step": self.last,
                "first_difference": asdict(self.first) if self.first else None}


def compare_traces(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]],
                   until: int | None = None) -> Comparison:
    """Compare two traces, entry by entry, up to the step `until`; without it to the end, at which
    both must be at the same step."""
    left, right = ({entry["step"]: entry for entry in trace if until is None
                    or entry["step"] <= until} for trace in (a, b))
    count = last = 0
    for step in sorted(left | right):
        if step not in left or step not in right:
            return Comparison(count, last, Difference(step, "missing"))
        count, last = count + 1, step
        first = _at(step, left[step], right[step])
        if first:
            return Comparison(count, last, first)
    return Comparison(count, last, None)


def common_steps(a: Sequence[Mapping[str, Any]],
                 b: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Return both traces with only the steps that both have, of runs that were traced at other
    steps, or ended earlier.

    An entry keeps its digest of the losses since the step before only where both have that, too.
    """
    both = {entry["step"] for entry in a} & {entry["step"] for entry in b}
    left, right = ([entry for entry in trace if entry["step"] in both] for trace in (a, b))
    spans = [{step: before for before, step in itertools.pairwise([0, *(e["step"] for e in trace)])}
             for trace in (a, b)]
    for trace in (left, right):
        trace[:] = [entry if spans[0][entry["step"]] == spans[1][entry["step"]]
                    else {**entry, "losses": None} for entry in trace]
    return left, right


def _at(step: int, a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference | None:
    if _differs("images", a, b):
        return Difference(step, "images")
    differing = []
    for kind in KINDS:
        left, right = a[kind]["tensors"], b[kind]["tensors"]
        names = [*left, *(name for name in right if name not in left)]
        differing += [(kind, name) for name in names if left.get(name) != right.get(name)]
        # beyond the digits that are kept of each tensor
        if (not differing and a[kind]["digest"] != b[kind]["digest"]):
            differing.append((kind, "unknown/0"))
    if differing:
        kind, name = differing[0]
        tensor, _, column = name.rpartition("/")
        return Difference(step, kind, tensor, int(column), len(differing))
    if a["loss"] != b["loss"]:
        return Difference(step, "loss", values=(a["loss"], b["loss"]))
    return Difference(step, "losses") if _differs("losses", a, b) else None


def _differs(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two entries differ in what those of older records do not have."""
    return None not in (values := (a.get(name), b.get(name))) and values[0] != values[1]


def curve_difference(a: Sequence[Mapping[str, str]],
                     b: Sequence[Mapping[str, str]]) -> Difference | None:
    """Return the first point in which two learning curves, rows as text, differ; None if none
    does."""
    for left, right in zip(a, b, strict=False):
        for name in [*left, *(name for name in right if name not in left)]:
            if left.get(name) != right.get(name):
                return Difference(int(left["step"]), "metrics", name,
                                  values=(left.get(name), right.get(name)))
    if len(a) != len(b):
        longer = max(a, b, key=len)
        return Difference(int(longer[min(len(a), len(b))]["step"]), "metrics", "step",
                          values=(len(a), len(b)))
    return None


def deciding_differences(recorded: Mapping[str, str], here: Mapping[str, str],
                         device: str) -> Pairs:
    """Return the facts of two fingerprints that differ and can change bits on this device.

    Where one of them has no probe of the native arithmetic, the processor's name stands for it.
    """
    if PROBE not in recorded or PROBE not in here:
        recorded, here = ({**facts, PROBE: facts.get(MACHINE, "")} for facts in (recorded, here))
    a, b = deciding_facts(recorded, device), deciding_facts(here, device)
    return {name: (recorded.get(name), here.get(name)) for name in a if a[name] != b[name]}


def deciding_facts(fingerprint: Mapping[str, str], device: str) -> dict[str, list[str]]:
    """Return the facts of a fingerprint that can change bits of native arithmetic on this device.

    Names of GPUs count once each: how many there are does not matter. Variables do not count: a
    rerun sets them.
    """
    fields = DECIDING + (DECIDING_ON_GPU if device == "cuda" else ())
    return {name: sorted(set(fingerprint.get(name, "").split(", "))) for name in fields}


def record_differences(a: KeptRun, b: KeptRun) -> dict[str, Any]:
    """Return what differs, {topic: {name: (of a, of b)}}, for the topics data, code (by file where
    both records have a snapshot), parameters, environment, execution and metrics.

    Empty where nothing does; `not_compared` says of which topics that means nothing.
    """
    tags = (a.facts.tags, b.facts.tags)
    return {"data": _pairs(*tags, only=DATA), "code": _code(a, b),
            "parameters": _pairs(_deciding_params(a), _deciding_params(b)),
            "environment": _pairs(_environment(a), _environment(b)),
            "execution": _pairs(*tags, only=EXECUTION),
            "metrics": _pairs(_metrics(a), _metrics(b))}


def not_compared(a: KeptRun, b: KeptRun) -> dict[str, str]:
    """Return {topic: reason} for what the records do not say, so that it is not compared."""
    def both(of: Callable[[KeptRun], Mapping[str, Any]], names: Sequence[str] = ()) -> bool:
        return bool({*of(a)} & {*of(b)} & ({*names} if names else {*of(a)}))

    def tags(kept: KeptRun) -> Mapping[str, str]:
        return kept.facts.tags

    answers = {"data": (both(tags, DATA), "digest of data"),
               "code": (both(tags, ("code_digest",)), "digest of code"),
               "parameters": (both(_deciding_params), "parameter"),
               "environment": (both(_environment), "fact of the environment"),
               "execution": (both(tags, EXECUTION), "fact of the execution"),
               "metrics": (both(_metrics), "metric")}
    return {topic: f"no {what} is in both records"
            for topic, (comparable, what) in answers.items() if not comparable}


def _metrics(kept: KeptRun) -> dict[str, float]:
    """Return the metrics of a record: the numbers of its stage, and the last of each curve."""
    last = {name: value for point in kept.facts.curve for name, value in point.items()
            if name not in ("step", "time", "epoch", "batch_loss")}
    return last | kept.facts.metrics


def _deciding_params(kept: KeptRun) -> dict[str, str]:
    return {name: value
            for name, value in kept.facts.params.items() if not name.startswith("execution.")}


def _environment(kept: KeptRun) -> dict[str, str]:
    return kept.environment() if kept.fetch("environment.json") else {}


def _code(a: KeptRun, b: KeptRun) -> Pairs:
    left, right = a.fetch(code_archive.ARCHIVE), b.fetch(code_archive.ARCHIVE)
    if left and right:
        return _pairs(_modules(left), _modules(right))
    return _pairs(a.facts.tags, b.facts.tags, only=("code_digest",))


def _modules(archive: Path) -> dict[str, str]:
    return {name: digest for name, digest in code_archive.file_digests(archive).items()
            if name not in code_archive.BESIDE}


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any],
           only: Sequence[str] | None = None) -> dict[str, Any]:
    names = [*a, *(name for name in b if name not in a)] if only is None else only
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}
