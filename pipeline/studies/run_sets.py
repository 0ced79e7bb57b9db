"""Sets of runs of one configuration that differ in their seed, as small files that people review.

`golden/` and `experiments/results/` hold them, one file for each configuration and environment:

    name, configuration, configuration_digest    what was run
    history                                      each change to the file: the command, its seeds,
                                                 the reason
    environment                                  the fingerprint; the file is named by the digest of
                                                 what decides bits
    spread                                       of each number: mean, standard deviation, lowest
                                                 and highest run
    runs                                         by seed: metrics of the stages, learning curve,
                                                 of a golden the trace, record
"""

from __future__ import annotations

import hashlib
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.paths import LEARNING, TRACE, metrics_of
from pipeline.config.stages import MEASURED
from pipeline.records import differences
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

FORMAT = 1
DECODER = ("pillow", "libjpeg", "zlib", "pixels")  # of the fingerprint, what decides pixels
ARITHMETIC = "arithmetic"  # of an environment: the number of portable arithmetic, if it computed
LONGEST_TRACE = 100  # entries kept of a trace; its digest covers them all
CURVE = ("epoch", "training_loss", "training_error", "validation_loss", "validation_error")
WIDTH = 110  # characters of a line of a file
Read = Callable[[Path], bytes]


def given_command() -> str:
    """Return the command of this process for a file's history: of a path that only this machine
    has, its last part."""
    return shlex.join(["alexnet", *(Path(part).name if part.startswith("/") else part
                                    for part in sys.argv[1:])])


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        seed: of the training.
        metrics: {stage: what metrics/<stage>.json has}.
        trace: lines as `trace_lines` makes them; empty where none was kept.
        curve: lines as `curve_lines` makes them, likewise.
        record: where it is from: commit, digests, time.
    """

    seed: int
    metrics: dict[str, dict[str, Any]]
    trace: list[str] = field(default_factory=list)
    curve: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """Return "stage.metric"; raise KeyError where there is none."""
        stage, _, metric = name.partition(".")
        return float(self.metrics[stage][metric])

    def points(self, name: str) -> list[tuple[float, float]]:
        """Return (epoch, value) along the learning curve."""
        column = CURVE.index(name)
        return [(float(cells[0]), float(cells[column]))
                for cells in (line.split() for line in self.curve)]


@dataclass(frozen=True)
class RunSet:
    """Runs of one configuration in one environment, and the history of their file."""

    name: str
    configuration: dict[str, str]
    configuration_digest: str
    environment: dict[str, str]
    runs: list[Run]
    history: list[dict[str, Any]] = field(default_factory=list)
    file: Path | None = None

    @property
    def seeds(self) -> list[int]:
        """Those of the runs, in their order."""
        return [run.seed for run in self.runs]

    def run_of(self, seed: int) -> Run | None:
        """Return the run of this seed, None if there is none."""
        return next((run for run in self.runs if run.seed == seed), None)


def deciding(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what of an environment can change a bit of a run, pixels included.

    By portable arithmetic it is the number of the definition alone; the pixels have a digest.
    """
    if ARITHMETIC in environment:
        return {ARITHMETIC: environment[ARITHMETIC]}
    device = environment.get("device", "cpu")
    return {**{name: environment.get(name, "")
               for name in (*DECODER, "device", "threads", "deterministic")},
            **differences.deciding_facts(environment, device)}


def environment_key(environment: Mapping[str, str]) -> str:
    """Return a short name of what decides bits, for files: "portable-1", "cpu-3f2a91c0"."""
    if ARITHMETIC in environment:
        return f"portable-{environment[ARITHMETIC]}"
    text = json.dumps(deciding(environment), sort_keys=True)
    return f"{environment.get('device', 'cpu')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_of(read: Read, seed: int, record: Mapping[str, Any], with_trace: bool) -> Run:
    """Return a run from the files that it left, with its learning curve, perhaps with its
    trace."""
    metrics = {stage: json.loads(read(metrics_of(stage))) for stage in MEASURED}
    trace: list[str] = []
    if with_trace:
        content = read(TRACE)
        if hashlib.sha256(content).hexdigest() != metrics["train"]["trace_digest"]:
            raise UserError(f"{TRACE}: not the trace that {metrics_of('train')} names; run "
                            "`dvc repro`")
        entries = [json.loads(line) for line in content.decode().splitlines()]
        trace = trace_lines(entries)
    return Run(seed, metrics, trace, curve_lines(read(LEARNING).decode()), dict(record))


def trace_lines(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each entry, a hundred at most: "step loss gradients momentum weights",
    digests by their first digits."""
    lines = [" ".join([str(entry["step"]), entry["loss"],
                       *(entry[kind]["digest"][:12] for kind in differences.KINDS)])
             for entry in entries]
    if len(lines) <= LONGEST_TRACE:
        return lines
    last = len(lines) - 1
    return [lines[round(number * last / (LONGEST_TRACE - 1))] for number in range(LONGEST_TRACE)]


def first_difference(a: list[str], b: list[str]) -> str | None:
    """Return where two traces first differ, as "step 50: gradients"; None where they do not, or
    where nothing is kept of one of them."""
    before = 0
    for left, right in zip(a, b, strict=False):
        mine, other = left.split(), right.split()
        if mine != other:
            step = min(int(mine[0]), int(other[0]))
            if mine[0] != other[0]:
                return f"step {step}: only one of the runs has it in its trace"
            kinds = [kind for kind, x, y in zip(("loss", *differences.KINDS), mine[1:], other[1:],
                                                strict=True) if x != y]
            cause = next(kind for kind in (*differences.KINDS, "loss") if kind in kinds)
            return f"step {step}: {cause}" + (f" (equal at step {before})" if before else "")
        before = int(mine[0])
    return f"after step {before}: one of the traces ends" if len(a) != len(b) else None


def curve_lines(table: str) -> list[str]:
    """Return the learning curve's columns CURVE, a point a line."""
    names, *rows = [line.split(",") for line in table.splitlines()]
    return [" ".join(f"{float(row[names.index(name)]):.6g}" for name in CURVE) for row in rows]


def spread(runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """Return mean, sd, lowest and highest over the runs of each number that the stages `train` and
    `evaluate` measured."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for stage in ("train", "evaluate"):
            for name, value in run.metrics.get(stage, {}).items():
                if isinstance(value, float):
                    values.setdefault(f"{stage}.{name}", []).append(value)
    return {name: {"mean": statistics.fmean(numbers),
                   "sd": statistics.stdev(numbers) if len(numbers) > 1 else 0.0,
                   "lowest": min(numbers), "highest": max(numbers)}
            for name, numbers in values.items()}


def write(run_set: RunSet, folder: Path, name: str | None = None) -> Path:
    """Write folder/NAME/FILE, seeds in order; FILE is `name`, or ENVIRONMENT.json. Return it."""
    file = folder / run_set.name / (name or f"{environment_key(run_set.environment)}.json")
    runs = sorted(run_set.runs, key=lambda run: run.seed)
    content = {"format": FORMAT, "name": run_set.name,
            "configuration_digest": run_set.configuration_digest, "history": run_set.history,
            "seeds": [run.seed for run in runs], "spread": spread(runs),
            "configuration": run_set.configuration, "environment": run_set.environment, "runs":
            [{key: value for key, value in asdict(run).items() if value != []} for run in runs]}
    with atomic_write(file) as stream:
        stream.write((_text(content) + "\n").encode())
    return file


def _text(value: Any, indent: str = "", name: str = "") -> str:
    """Return JSON for reviewers: what fits on a line, with its name, stands on one, so that a diff
    shows a metric a line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(indent + name + line) <= WIDTH:
        return line
    inner = indent + "  "
    parts = [f"{json.dumps(key)}: {_text(part, inner, key)}" for key, part in value.items()] \
        if isinstance(value, dict) else [_text(part, inner) for part in value]
    ends = "{}" if isinstance(value, dict) else "[]"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{ends[1]}"


def read(file: Path) -> RunSet:
    """Read a set of runs.

    Raises:
        UserError: it is none, or it was changed so that its spread is not that of its runs.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{file}: format {content['format']}, but this program reads format "
                            f"{FORMAT}")
        run_set = RunSet(content["name"], content["configuration"],
                         content["configuration_digest"], content["environment"],
                         [Run(**run) for run in content["runs"]], content["history"], file)
        if content["spread"] != spread(run_set.runs) or content["seeds"] != run_set.seeds:
            raise UserError(f"{file}: its spread and seeds are not those of its runs: edited by "
                            "hand? Record it again")
        if len(set(run_set.seeds)) < len(run_set.seeds):
            raise UserError(f"{file}: a seed stands twice in it")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a set of runs ({type(error).__name__}: {error})") from None
    return run_set


def in_folder(folder: Path) -> list[RunSet]:
    """Return all sets of runs under the folder, by name."""
    return [read(file) for file in sorted(folder.glob("*/*.json"))]
