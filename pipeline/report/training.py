"""When and where the run was trained, and at what cost: the first lines of the page.

The time and the number of processes are in MLflow's store alone; models/provenance.json names no
time. Where the store has no record of these weights, the page says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alexnet.arithmetic import NUMBER
from pipeline.config.parameters import Parameters
from pipeline.records import mlflow_connection, mlflow_store
from pipeline.system.terminal import duration

if TYPE_CHECKING:
    from pipeline.report.inputs import Verification


@dataclass(frozen=True)
class Training:
    """The training of some weights, as MLflow's store has it.

    Attributes:
        began, ended: milliseconds since 1970, of its last session.
        sessions: how many there were: one more than the times that it was stopped and resumed.
        processes, threads: the processes, and the threads of each.
        device: cpu or cuda.
    """

    began: int
    ended: int
    sessions: int
    processes: int
    threads: int
    device: str

    @property
    def hours(self) -> float:
        """Core-hours on the CPU, GPU-hours on GPUs."""
        units = self.processes * (1 if self.device == "cuda" else self.threads)
        return units * (self.ended - self.began) / 3.6e6


def recorded(weights_digest: str, environment_digest: str) -> Training | None:
    """Return the newest training of these weights in this environment that MLflow's store has.

    Returns:
        None where it has none, where there is no store yet, or where it does not answer.
    """
    if not mlflow_connection.exists():
        return None
    condition = (f"tags.stage = 'train' and attributes.status = 'FINISHED' and tags.weights_digest "
                 f"= '{weights_digest}' and tags.environment_digest = '{environment_digest}'")
    try:
        store = mlflow_store.connect()
        runs = store.find(condition)
        if not runs:
            return None
        earlier = store.find(f"tags.`mlflow.parentRunId` = '{runs[0].info.run_id}' and "
                               "tags.stage = 'train'", limit=1000)
        tags = runs[0].data.tags
        return Training(runs[0].info.start_time, runs[0].info.end_time, 1 + len(earlier),
                        int(tags["processes"]), int(tags["threads"]), tags["device"])
    except Exception:  # of the network, the database, MLflow: the page is made without it
        return None


def about(parameters: Parameters, provenance: Mapping[str, Any] | None,
          training: Training | None) -> list[tuple[str, str]]:
    """Return what the top of the page says besides the errors: time, cost, machine, arithmetic.

    Each is a pair of a heading and a sentence; what is not known is left out.
    """
    lines = []
    if training:
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(training.ended / 1000))
        taken = duration((training.ended - training.began) / 1000)
        resumed = (f" in the last of {training.sessions} sessions" if training.sessions > 1 else "")
        kind = "GPU" if training.device == "cuda" else "core"
        lines += [("Trained", f"{when}, {taken}{resumed}"),
                  ("Cost", f"{training.hours:.2g} {kind}-hours{resumed}: {training.processes} "
                           f"process{'es' * (training.processes > 1)} of {training.threads} "
                           f"thread{'s' * (training.threads > 1)}")]
    else:
        lines.append(("Trained", "at a time that MLflow’s store here does not have"))
    if provenance:
        facts = provenance["environment"]
        gpu = facts.get("gpu", "none")
        machine = [facts.get("cpu"), f"{facts['cores']} cores" if "cores" in facts else None,
                   "no GPU" if gpu == "none" else gpu, facts.get("os")]
        lines += [("Machine", ", ".join(filter(None, machine))),
                  ("Arithmetic", _arithmetic(parameters, facts, provenance["execution"]))]
    return lines


def verified(verification: Verification | None, weights_digest: str) -> tuple[str, str]:
    """Return a heading and a sentence that say when it was last verified, by which command, and
    with what result."""
    if verification is None:
        return "Verified", ("not yet: alexnet verify makes every stage again from what is "
                            "committed, and compares")
    said = f"{verification.when}, by {verification.command}"
    if verification.weights_digest != weights_digest:
        return "Verified", f"another run was, {said}"
    by_verdict: dict[str, list[str]] = {}
    for stage, verdict in verification.verdicts.items():
        by_verdict.setdefault(verdict, []).append(stage)
    results = [f"{verdict}: {', '.join(stages)}" for verdict, stages in sorted(by_verdict.items())]
    return "Verified", f"{said}, commit {verification.commit[:12]}; {'; '.join(results)}"


def _arithmetic(parameters: Parameters, facts: Mapping[str, str],
                execution: Mapping[str, str]) -> str:
    """Return what a multiplication was, and on what else the bits rest."""
    if parameters.train.arithmetic == "portable":
        return (f"portable, number {NUMBER} (docs/arithmetic.md): the bits do not depend on the "
                "processor, the number of threads or PyTorch")
    library = [f"PyTorch {facts['torch']}" if "torch" in facts else None,
               facts.get("cpu_capability") if execution.get("device") != "cuda" else None]
    exact = ("deterministic algorithms" if execution.get("deterministic") == "true"
             else "algorithms that may differ from run to run")
    return ", ".join(filter(None, [f"native, {parameters.train.precision}", *library, exact]))
