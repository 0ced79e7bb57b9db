"""The small workload, and the axes along which it is run again.

`AXES` has them in the order of the report, `ALL` their names. Required are those that must not
decide the bits; by portable arithmetic they are more. An axis is run through the stages that it can
reach (placement means nothing to `resize`), each with the reference run's own inputs, so that every
verdict is about one stage alone: where all are identical, so is the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.config.parameters import Parameters
from pipeline.config.sections import ExecutionSection
from pipeline.config.stages import MEASURED

# Over params.yaml, whose network, recipe and seeds stay: eight updates, each traced, with four
# checkpoints.
WORKLOAD = ("dataset.source=sample", "dataset.location=null", "dataset.sample.train_images=40",
            "dataset.sample.val_images=20", "resize.max_quarantined=5", "network.width=0.0625",
            "train.epochs=1.6", "train.batch=8", "train.micro_batches=2", "train.validate_every=1",
            "train.trace_every=1", "train.start_from=null", "execution.placement=one",
            "execution.replicas=1", "execution.device=cpu", "execution.threads=1",
            "execution.workers=1", "execution.checkpoint_every=2", "execution.deterministic=true")
# Of the reference run; an axis changes one of them.
SURROUNDINGS = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC0"}

# How a variant is run: as it is; killed and started again; in another folder; by a copy of the code
# elsewhere; with directory listings and shards in reverse; on one core.
Manner = Literal["plain", "killed", "elsewhere", "clone", "backwards", "one core"]


@dataclass(frozen=True)
class Axis:
    """One thing that is not as in the reference run.

    Attributes:
        name: of the axis.
        change: what it changes, in words.
        stages: those that it can reach.
        required: whether it must be identical, unless the user says otherwise.
        execution: yields the values of the section `execution` that it changes.
        environment: variables that it sets.
        manner: how the stage is run.
        portable: whether it must be identical where the arithmetic is portable.
        native: whether it reaches stages that compute by native arithmetic.
    """

    name: str
    change: str
    stages: tuple[str, ...] = MEASURED
    required: bool = True
    execution: Callable[[ExecutionSection], Mapping[str, Any]] = lambda section: {}
    environment: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = "plain"
    portable: bool = False
    native: bool = True

    def reached(self, parameters: Parameters) -> tuple[str, ...]:
        """Return the stages that the axis reaches in this workload."""
        return self.stages if self.native or parameters.train.arithmetic == "portable" else ()

    def must_be_identical(self, parameters: Parameters) -> bool:
        """Return whether it is required, unless the user says otherwise."""
        return self.required or (self.portable and parameters.train.arithmetic == "portable")


AXES = (
    Axis("process", "again, in a new process"),
    Axis("resume", "killed (SIGKILL, every process) and started again", manner="killed"),
    Axis("workers", "two preparation workers, not one", ("resize",),
         execution=lambda section: {"workers": 2}),
    Axis("order", "shards and directory listings in reverse", ("resize",), manner="backwards"),
    Axis("placement", "two processes, one column each", ("train",),
         execution=lambda section: {"placement": "two"}),
    Axis("replicas", "two replicas, one process each", ("train",),
         execution=lambda section: {"replicas": 2}),
    Axis("replicas-two", "two replicas, two processes each", ("train",),
         execution=lambda section: {"replicas": 2, "placement": "two"}),
    Axis("hash-seed", "another PYTHONHASHSEED", environment={"PYTHONHASHSEED": "2012"}),
    # No locale but this one is on every machine; without UTF-8 it is a change that programs do
    # stumble over.
    Axis("locale", "LC_ALL=C, ASCII only",
         environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Axis("time-zone", "another time zone", environment={"TZ": "XXX-5:45"}),
    Axis("directory", "another project folder, its name with spaces and accents",
         manner="elsewhere"),
    Axis("clone", "a copy of the code elsewhere", manner="clone"),
    Axis("isa", "the baseline instruction set (ALEXNET_ISA)", ("train", "evaluate"),
         required=False, environment={"ALEXNET_ISA": "baseline"}, portable=True, native=False),
    Axis("threads", "another number of threads", ("train",), required=False, portable=True,
         execution=lambda section: {"threads": 2 if section.threads == 1 else 1}),
    Axis("cores", "one core only, so one thread", ("evaluate",), required=False, portable=True,
         manner="one core"),
    Axis("device", "GPU instead of CPU, or the reverse", ("train", "evaluate"), required=False,
         execution=lambda section: {"device": "cuda" if section.device == "cpu" else "cpu"}),
    Axis("mode-off", "PyTorch's deterministic mode off", ("train", "evaluate"), required=False,
         execution=lambda section: {"deterministic": False}),
)
ALL = tuple(axis.name for axis in AXES)
