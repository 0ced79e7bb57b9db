"""Holds a run against the goldens of its configuration, for `alexnet check`.

What was made where the same bits can be expected is compared to the bit, the rest by the test of
`decision`:

    the same decoder                      metrics of resize: equal
    the same pixels                       the mean image: equal, on any machine
    the same decoder and environment      train, its trace included, and pca: equal, for a seed that
                                          is stored
    and as many cores                     evaluate, which uses them all: equal
    the same pixels, portable arithmetic  train, its trace included, pca and evaluate, for a seed
                                          that is stored: equal, on any machine
    the same pixels, a stored seed        the loss of the first update: equal but for rounding, on
                                          any machine
    anything else                         the statistical test, on the golden with the most seeds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.config import identity
from pipeline.config.stages import MEASURED
from pipeline.studies import run_sets
from pipeline.studies.gate.decision import ALPHA, SEEDS, Judgement, judged
from pipeline.studies.run_sets import DECODER, Run, RunSet

EXACT = "to the bit"
# how far rounding may move it, as a part of it: where products are fp32, it does by about 1e-7
FIRST_LOSS = 1e-4


@dataclass(frozen=True)
class CheckResult:
    """The answer of `alexnet check`.

    Attributes:
        verdict: "holds", "falls" or "cannot be judged".
        findings: a judgement for each metric and test; empty where nothing could be compared.
        told: the reason, and the remedy where there is one.
    """

    verdict: Literal["holds", "falls", "cannot be judged"]
    findings: list[Judgement] = field(default_factory=list)
    told: str = ""

    @property
    def status(self) -> int:
        """The exit status of the command: 0, 1 or 2."""
        return {"holds": 0, "falls": 1, "cannot be judged": 2}[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet check --json` prints."""
        return {"verdict": self.verdict, "told": self.told, "alpha": ALPHA,
                "findings": [asdict(judgement) for judgement in self.findings]}


def check(runs: Sequence[Run], here: dict[str, str], goldens: Sequence[RunSet]) -> CheckResult:
    """Hold runs of one configuration, made in the environment `here`, against its goldens.

    Runs whose seed a golden of the same environment has are compared to the bit, traces included;
    the others by `decision.judged`, which sees more with more runs. A run whose bits are not those
    stored falls, whatever its metrics.
    """
    to_the_bit = [judgement for run in runs for judgement in exact(run, here, goldens)]
    if _any(to_the_bit, "falls"):
        # the statistical test says whether it is also worse
        return CheckResult("falls", to_the_bit + _statistical(runs, goldens), OTHER_BITS)
    if all(stored_here(run, here, goldens) for run in runs):
        return CheckResult("holds", to_the_bit, f"seed{'s' * (len(runs) > 1)} "
                                           f"{', '.join(str(run.seed) for run in runs)}: equal to "
                                           "the stored runs to the bit, traces included")
    statistical = _statistical(runs, goldens)
    if not statistical:
        return CheckResult("cannot be judged", to_the_bit,
                           "another environment or seed than the stored ones, and fewer than "
                           f"{SEEDS} stored runs to compare with")
    if _any(statistical, "falls"):
        more = "; more seeds tell more: `alexnet check --sample`" * (len(runs) == 1)
        return CheckResult("falls", to_the_bit + statistical,
                           f"worse than the stored runs, beyond what seeds explain{more}")
    reason = "within what seeds explain"
    if _any(statistical, "rises"):
        reason = "better than what seeds explain: if the change is meant, record it"
    return CheckResult("holds", to_the_bit + statistical, reason)


OTHER_BITS = ("not what is stored. If the change is meant, review and record it: `alexnet golden "
              "record --seeds ... --replace --reason '...'`")


def _any(judgements: Sequence[Judgement], verdict: str) -> bool:
    return any(judgement.verdict == verdict for judgement in judgements)


def stored_here(run: Run, here: dict[str, str], goldens: Sequence[RunSet]) -> bool:
    """Return whether a golden of this environment, cores included, has the run's seed."""
    return any(_same(golden, run, here, ("cores",)) and golden.run_of(run.seed)
               for golden in goldens)


def _same(golden: RunSet, run: Run, here: dict[str, str], more: tuple[str, ...] = ()) -> bool:
    """Return whether this run's bits are to be those of the golden: by portable arithmetic where
    the pixels are or the decoder is, else where the environment is, these fields `more` included.
    """
    if identity.is_portable(golden.configuration):
        return (run_sets.deciding(golden.environment) == run_sets.deciding(here)
                and (_same_decoder(golden, here) or _same_pixels(golden, run)))
    return run_sets.deciding(golden.environment) == run_sets.deciding(here) and all(
        golden.environment.get(name) == here.get(name) for name in more)


def _same_decoder(golden: RunSet, here: dict[str, str]) -> bool:
    return all(golden.environment.get(name) == here.get(name) for name in DECODER)


def _same_pixels(golden: RunSet, run: Run) -> bool:
    return bool(golden.runs[0].metrics["resize"]["pixels_digest"]
                == run.metrics["resize"]["pixels_digest"])


def exact(run: Run, here: dict[str, str], goldens: Sequence[RunSet]) -> list[Judgement]:
    """Judge all that is to be equal to the bit: one judgement for each stage that holds, and all
    differences of one that falls."""
    for golden in goldens:
        stored = golden.run_of(run.seed)
        if stored and _same(golden, run, here):
            return [finding for stage in MEASURED
                    if (stage != "evaluate" or _same(golden, run, here, ("cores",)))
                    and (stage != "resize" or _same_decoder(golden, here))
                    for finding in _stage(stage, golden, stored, run)]
    data = next(filter(None, (_data(golden, here, run) for golden in goldens)), [])
    loss = next(filter(None, (_first_loss(golden, run) for golden in goldens)), [])
    return data + loss


def _data(golden: RunSet, here: dict[str, str], run: Run) -> list[Judgement]:
    """Judge pixels and mean image, which are the same for every seed."""
    stored = golden.runs[0]
    judgements = []
    if _same_decoder(golden, here):
        judgements += _stage("resize", golden, stored, run)
    if _same_pixels(golden, run):
        judgements += _stage("mean", golden, stored, run)
    return judgements


def _first_loss(golden: RunSet, run: Run) -> list[Judgement]:
    """Judge the loss of the first update of a run made elsewhere against that of its seed.

    Later updates make rounding grow; the first one has no time to. Returns nothing where no such
    run or pixels are stored, or products are rounded to fewer digits than those of fp32.
    """
    stored = golden.run_of(run.seed)
    if not (stored and stored.trace and run.trace and _same_pixels(golden, run)
            and golden.configuration.get("train.precision") == "fp32"):
        return []
    (step, was), (first, now) = ((number, float.fromhex(loss)) for number, loss, *_ in (
        lines[0].split() for lines in (stored.trace, run.trace)))
    if step != first:
        return []
    holds = abs(now - was) <= FIRST_LOSS * abs(was)
    return [Judgement(f"train.trace, loss of step {step}", was, now,
                    f"within {FIRST_LOSS:.0e} of it", "holds" if holds else "falls",
                    where=f"{golden.file}, seed {run.seed}")]


def _stage(stage: str, golden: RunSet, stored: Run, run: Run) -> list[Judgement]:
    where = f"{golden.file}, seed {stored.seed}"
    judgements = []
    if stage == "train" and (parts := run_sets.first_difference(stored.trace, run.trace)):
        judgements.append(Judgement("train.trace", "stored", f"other from {parts}", EXACT, "falls",
                                    where=where))
    mine, other = stored.metrics[stage], run.metrics[stage]
    judgements += [Judgement(f"{stage}.{name}", mine.get(name),
                             other.get(name), EXACT, "falls", where=where)
                   for name in [*mine, *(name for name in other if name not in mine)]
                   if mine.get(name) != other.get(name)]
    return judgements or [Judgement(stage, "all metrics", "equal", EXACT, "holds", where=where)]


def _statistical(runs: Sequence[Run], goldens: Sequence[RunSet]) -> list[Judgement]:
    golden = max(goldens, key=lambda golden: len(golden.runs))
    if len(golden.runs) < SEEDS:
        return []
    return judged(golden.runs, runs, str(golden.file))
