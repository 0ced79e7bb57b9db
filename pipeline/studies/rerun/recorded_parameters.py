"""What of a record's parameters a rerun obeys.

What decides the bits is taken from the record: data set, network, recipe, training, and in native
arithmetic the device, the threads and the deterministic mode of the execution. Everything else
about the execution is this project's own. Unless the user trusts it, a record from elsewhere is
moreover held to the form and the ranges of params.yaml, and no path or address in it is used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import parameters
from pipeline.config.paths import WEIGHTS
from pipeline.config.sections import MOST_PROCESSORS, ExecutionSection
from pipeline.records.environment import BIT_CHANGING_VARIABLES
from pipeline.records.kept_runs import KeptRun
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of
from pipeline.system.project import home_folder
from pipeline.training.execution import process_count, resolve

DECIDING = ("device", "threads", "deterministic")  # of `execution`; with native arithmetic
VALUE = re.compile(r"[\w.,:+-]{0,100}", re.ASCII)  # of a variable that may change bits


def recorded_parameters(kept: KeptRun, trusted: bool) -> dict[str, Any]:
    """Return the parameters of a rerun, by section, with an execution that has no `auto` left.

    Args:
        kept: the record.
        trusted: whether it was made here, or the user trusts whoever made it.

    Raises:
        UserError: these are not the parameters of a training, or out of range; or the weights that
            were fine-tuned are not here.
    """
    here = parameters.load()
    try:
        values: dict[str, Any] = {name: dict(section) for name, section
                                  in kept.json("parameters.json").items()}
        recorded = values["execution"]
        portable = is_portable(kept)
        deciding = {} if portable else _deciding(recorded, kept.facts.tags)
        architecture = parameters.architecture_of(values["network"]["architecture"],
                                                  values["recipe"]["name"])
        micro_batches = values["train"]["micro_batches"]
        start = values["train"].get("start_from")
        values["dataset"]["source"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"run {kept.name}: its parameters.json or tags are not those of a training "
                        f"({error!r})") from None
    execution = _execution(here, deciding, architecture, micro_batches,
                           "portable" if portable else "native")
    # restored code may not know what the code here does
    values["execution"] = recorded | {name: value for name, value in execution.items()
                                      if name in recorded}
    if start:
        values["train"]["start_from"] = str(_start(kept, start if trusted else None))
    if not trusted:
        values["execution"] = execution
        values["dataset"] |= {"location": "data" if values["dataset"]["source"] == "folder"
                              else None, "origin": None}
        try:
            return parameters.check(values).model_dump(mode="json")
        except UserError as error:
            raise UserError(f"run {kept.name}: its parameters.json is refused: {error}") from None
    return values


def is_portable(kept: KeptRun) -> bool:
    """Return whether the run was computed by portable arithmetic, whose bits no machine decides."""
    values = kept.json("parameters.json")
    train = values.get("train") if isinstance(values, dict) else None
    return isinstance(train, dict) and train.get("arithmetic") == "portable"


def variables(recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a rerun's processes: this process's own, and as recorded those that
    may change bits.

    Raises:
        UserError: the value of one is not of the form that such variables have.
    """
    chosen = {name: value
              for name, value in os.environ.items() if name not in BIT_CHANGING_VARIABLES}
    for name in BIT_CHANGING_VARIABLES:
        value = recorded.get(f"variable {name}")
        if value is None:
            continue
        if not VALUE.fullmatch(value) or (name.endswith("_NUM_THREADS") and not (
                value.isdecimal() and 1 <= int(value) <= MOST_PROCESSORS)):
            raise UserError(f"environment.json: variable {name}: {value[:100]!r} is no value of "
                            "such a variable")
        chosen[name] = value
    return {"OMP_WAIT_POLICY": "PASSIVE"} | chosen


def _deciding(recorded: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what of the recorded execution decides bits, as the tags say it was carried out."""
    device = tags.get("device", "cpu")
    threads = int(tags.get("threads", recorded["threads"]))
    deterministic = json.loads(tags.get("deterministic", json.dumps(recorded["deterministic"])))
    if (device not in ("cpu", "cuda") or not 1 <= threads <= MOST_PROCESSORS
            or not isinstance(deterministic, bool)):
        raise ValueError(f"device {device}, threads {threads}, deterministic {deterministic}")
    return dict(zip(DECIDING, (device, threads, deterministic), strict=True))


def _execution(here: parameters.Parameters, deciding: Mapping[str, Any], architecture: Any,
               micro_batches: Any, arithmetic: str) -> dict[str, Any]:
    """Return the execution of params.yaml, with what decides bits; by one process where this
    machine cannot give the net the processes that params.yaml asks for."""
    wanted = here.model_copy(update={
        "execution": here.execution.model_copy(update={**deciding, "keep_every": 0}),
        "network": here.network.model_copy(update={"architecture": architecture}),
        "train": here.train.model_copy(update={"micro_batches": micro_batches,
                                               "arithmetic": arithmetic})})
    try:
        execution = resolve(wanted).execution
    except (UserError, KeyError, TypeError):
        execution = wanted.execution.model_copy(update={
            "device": "cpu", "threads": 1, **deciding, "placement": "one", "replicas": 1})
    return execution.model_dump(mode="json")


def processes_of(execution: Mapping[str, Any]) -> int:
    """Return how many training processes this section asks for."""
    return process_count(ExecutionSection.model_construct(**execution))


def _start(kept: KeptRun, recorded: str | None) -> Path:
    """Return the file of weights that the run started from, found by its digest.

    It is looked for where the record says, if that may be used, and where weights lie here.
    """
    digest = kept.tag("start_from_digest")
    candidates = [home_folder() / recorded] if recorded else []
    candidates += [file for file in _weights_here() if file not in candidates]
    for file in candidates:
        if file.is_file() and sha256_of(file) == digest:  # a device has no end
            return file
    raise UserError(f"run {kept.name}: it started from weights with the SHA-256 {digest}, and none "
                    f"of {', '.join(map(str, candidates))} has them; name them as "
                    "train.start_from in params.yaml")


def _weights_here() -> Iterator[Path]:
    yield home_folder() / WEIGHTS
    start = parameters.load().train.start_from
    if start:
        yield home_folder() / start
    yield from sorted((home_folder() / "work/claims").glob("*.safetensors"))
