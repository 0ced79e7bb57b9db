"""`alexnet check`: a run against the goldens of its configuration.

What was made where a bit can be expected to be the same is held to the bit; the rest by the test of
`decision`:

    the same decoder                      metrics of resize: equal
    the same pixels                       the mean image: equal, on any machine
    the same decoder and environment      train, its trace included, and pca: equal, for a seed that
                                          is stored
    and as many cores                     evaluate, which uses them all: equal
    the same pixels, a stored seed        the loss of the first update: equal but for rounding, on
                                          any machine
    anything else                         the statistical test, on the stored sample with the most
                                          seeds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.studies import run_sets
from pipeline.studies.gate.decision import ALPHA, SEEDS, Finding, judged
from pipeline.studies.run_sets import DECODER, Run, Sample

EXACT = "to the bit"
# how far rounding may move it, as a part of it: where products are fp32, it does by about 1e-7
FIRST_LOSS = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What `alexnet check` says.

    Attributes:
        verdict: "holds", "falls" or "cannot be judged".
        findings: one for each metric and test; empty where nothing could be compared.
        told: the reason, and the mend where there is one.
    """

    verdict: Literal["holds", "falls", "cannot be judged"]
    findings: list[Finding] = field(default_factory=list)
    told: str = ""

    @property
    def status(self) -> int:
        """Of the command: 0, 1 or 2."""
        return {"holds": 0, "falls": 1, "cannot be judged": 2}[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """As `alexnet check --json` prints it."""
        return {"verdict": self.verdict, "told": self.told, "alpha": ALPHA,
                "findings": [asdict(finding) for finding in self.findings]}


def check(runs: Sequence[Run], here: dict[str, str], goldens: Sequence[Sample]) -> Outcome:
    """Runs of one configuration, made in the environment `here`, against its goldens; with more
    runs, more power.

    Runs whose seed a golden of the same environment has are compared to the bit, traces included;
    the rest by `decision.judged`. One that is not the same falls, whatever its metrics.
    """
    exact = [finding for run in runs for finding in _exact(run, here, goldens)]
    proved = {run.seed for run in runs if any(
        _same(golden, here, ("cores",)) and golden.run_of(run.seed) for golden in goldens)}
    rest = [run for run in runs if run.seed not in proved]
    if any(finding.verdict == "falls" for finding in exact):
        findings = exact + _statistical(runs, goldens)  # is it also worse?
        return Outcome("falls", findings, "not what is stored. If the change is meant, review and "
                                          "record it: `alexnet golden record --seeds ... --replace "
                                          "--reason '...'`")
    if not rest:
        return Outcome("holds", exact, f"seed{'s' * (len(runs) > 1)} "
                                       f"{', '.join(str(run.seed) for run in runs)}: equal to the "
                                       "stored runs to the bit, traces included")
    findings = _statistical(runs, goldens)
    if not findings:
        return Outcome("cannot be judged", exact, "another environment or seed than the stored "
                                                  f"ones, and fewer than {SEEDS} stored runs to "
                                                  "compare with")
    worse = [finding for finding in findings if finding.verdict == "falls"]
    if worse:
        return Outcome("falls", exact + findings,
                       "worse than the stored runs, beyond what seeds explain"
                       + ("; more seeds tell more: `alexnet check --sample`" if len(runs) == 1
                          else ""))
    better = any(finding.verdict == "rises" for finding in findings)
    return Outcome("holds", exact + findings, "within what seeds explain" if not better else
                   "better than what seeds explain: if the change is meant, record it")


def _same(golden: Sample, here: dict[str, str], more: tuple[str, ...] = ()) -> bool:
    return run_sets.deciding(golden.environment) == run_sets.deciding(here) and all(
        golden.environment.get(name) == here.get(name) for name in more)


def _exact(run: Run, here: dict[str, str], goldens: Sequence[Sample]) -> list[Finding]:
    """Findings of all that is to be equal to the bit; one that holds for each stage, all that
    differ where it falls."""
    for golden in goldens:
        stored = golden.run_of(run.seed)
        if stored and _same(golden, here):
            return [finding for stage in run_sets.STAGES
                    if stage != "evaluate" or _same(golden, here, ("cores",))
                    for finding in _stage(stage, golden, stored, run)]
    found: list[Finding] = []
    for golden in goldens:  # pixels and mean image are the same for every seed
        stored = golden.runs[0]
        if all(golden.environment.get(name) == here.get(name) for name in DECODER):
            found += _stage("resize", golden, stored, run)
        if stored.metrics["resize"]["pixels_digest"] == run.metrics["resize"]["pixels_digest"]:
            found += _stage("mean", golden, stored, run)
        if found:
            break
    return found + next((found for golden in goldens if (found := _first_loss(golden, run))), [])


def _first_loss(golden: Sample, run: Run) -> list[Finding]:
    """Of a run elsewhere against that of its seed: later updates make rounding grow, the first one
    has no time to.

    Nothing where no such run or pixels are stored, or products are rounded to fewer digits than
    those of fp32.
    """
    stored = golden.run_of(run.seed)
    if not (stored and stored.trace and run.trace and golden.configuration.get("train.precision")
            == "fp32" and stored.metrics["resize"]["pixels_digest"]
            == run.metrics["resize"]["pixels_digest"]):
        return []
    (step, was), (first, found) = ((number, float.fromhex(loss)) for number, loss, *_ in (
        lines[0].split() for lines in (stored.trace, run.trace)))
    if step != first:
        return []
    holds = abs(found - was) <= FIRST_LOSS * abs(was)
    return [Finding(f"train.trace, loss of step {step}", was, found,
                    f"within {FIRST_LOSS:.0e} of it", "holds" if holds else "falls",
                    where=f"{golden.file}, seed {run.seed}")]


def _stage(stage: str, golden: Sample, stored: Run, run: Run) -> list[Finding]:
    where = f"{golden.file}, seed {stored.seed}"
    found = []
    if stage == "train" and (parts := run_sets.first_difference(stored.trace, run.trace)):
        found.append(Finding("train.trace", "stored", f"other from {parts}", EXACT, "falls",
                             where=where))
    mine, other = stored.metrics[stage], run.metrics[stage]
    found += [Finding(f"{stage}.{name}", mine.get(name),
                      other.get(name), EXACT, "falls", where=where)
              for name in [*mine, *(name for name in other if name not in mine)]
              if mine.get(name) != other.get(name)]
    return found or [Finding(stage, "all metrics", "equal", EXACT, "holds", where=where)]


def _statistical(runs: Sequence[Run], goldens: Sequence[Sample]) -> list[Finding]:
    golden = max(goldens, key=lambda sample: len(sample.runs))
    if len(golden.runs) < SEEDS:
        return []
    return judged(golden.runs, runs, str(golden.file))
