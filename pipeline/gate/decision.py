"""Is a run, or are some runs, worse than a stored sample of runs? The statistical test of the gate.

The null hypothesis: the new runs and the stored ones are draws from one distribution. For each metric of GATED the mean
of k new runs is held against the upper prediction bound for the mean of k further runs, from n stored ones:

    mean + t(1 - ALPHA / metrics, n - 1) * sd * sqrt(1/n + 1/k)

One-sided, towards worse; ALPHA is for all metrics together (Bonferroni). Outliers: no run is set aside, stored or new;
a run whose number is not finite is a fall. Fewer than SEEDS stored runs decide nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from pipeline.samples import Run

ALPHA = 0.01  # chance that a check of runs like the stored ones finds a fall, for all metrics together
SEEDS = 5  # stored runs that a judgement needs at least
GAIN = "gain of ten crops in loss"
# Of each metric, whether more of it is worse. One that a run lacks is passed over.
GATED = {"evaluate.top1_error": True, "evaluate.top1_error_10crop": True, "evaluate.top5_error_10crop": True,
         "evaluate.loss": True, "evaluate.loss_10crop": True, "train.training_loss": True, GAIN: False}
Verdict = Literal["holds", "falls", "rises"]


@dataclass(frozen=True)
class Finding:
    """What became of one metric.

    Attributes:
        metric: "stage.metric", as in "evaluate.top1_error".
        stored: its value in the golden: of several runs the mean, of a digest the text.
        found: its value in the runs that are judged, likewise.
        test: by which it was decided, in words.
        verdict: it holds, falls (is worse, or not the same bits) or rises.
        bound: the value beyond which it falls; None of a comparison to the bit.
        where: the golden.
    """

    metric: str
    stored: float | str | None
    found: float | str | None
    test: str
    verdict: Verdict
    bound: float | None = None
    where: str = ""

    def __str__(self) -> str:
        if isinstance(self.stored, float) and isinstance(self.found, float):
            change = self.found - self.stored
            moved = f"{self.stored:.6g} -> {self.found:.6g} ({change:+.3g})"
        else:
            moved = f"{_short(self.stored)} -> {_short(self.found)}"
        bound = f", bound {self.bound:.6g}" if self.bound is not None else ""
        word = {"holds": "holds", "falls": "FALLS", "rises": "better"}[self.verdict]
        return f"{word}: {self.metric}: {moved}{bound} [{self.test}; {self.where}]"


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


def value_of(run: Run, metric: str) -> float:
    """Raises KeyError where the run has it not."""
    if metric == GAIN:
        return run.number("evaluate.loss") - run.number("evaluate.loss_10crop")
    return run.number(metric)


def judged(stored: Sequence[Run], new: Sequence[Run], where: str = "", alpha: float = ALPHA) -> list[Finding]:
    """A finding for each metric of GATED that all runs have. Needs SEEDS stored runs.

    Args:
        stored: the golden's runs.
        new: one or more runs to judge; more of them see smaller falls.
        where: the golden, for the findings.
        alpha: probability of a false alarm over all metrics together; each has its equal share.
    """
    values = {}
    for metric in GATED:
        try:
            values[metric] = [value_of(run, metric) for run in stored], [value_of(run, metric) for run in new]
        except KeyError:
            continue
    images = min((run.metrics["evaluate"].get("images", 1) for run in stored), default=1)
    return [_judged(metric, a, b, alpha / len(values), 1 / images if "error" in metric else 0.0, where)
            for metric, (a, b) in values.items()]


def _judged(metric: str, stored: list[float], new: list[float], alpha: float, grain: float, where: str) -> Finding:
    n, k = len(stored), len(new)
    mean = statistics.fmean(stored)
    sd = max(statistics.stdev(stored), grain)  # errors come in whole images: no spread is finer than one of them
    reach = float(stats.t.ppf(1 - alpha, n - 1)) * sd * math.sqrt(1 / n + 1 / k)
    worse = 1.0 if GATED[metric] else -1.0
    found = statistics.fmean(new) if all(map(math.isfinite, new)) else math.inf * worse
    shift = worse * (found - mean)
    verdict: Verdict = "falls" if not shift <= reach else "rises" if shift < -reach else "holds"
    test = f"one-sided t prediction bound, alpha {alpha:.2g}, {n} stored, {k} new"
    return Finding(metric, mean, found, test, verdict, mean + worse * reach, where)
