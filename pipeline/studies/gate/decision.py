"""The statistical test of the gate: is a run, or are some runs, worse than a set of stored runs?

The null hypothesis: the new runs and the stored ones are draws from one distribution. For each
metric of GATED the mean of k new runs is held against the upper prediction bound for the mean of k
further runs, from n stored ones:

    mean + t(1 - ALPHA / metrics, n - 1) * sd * sqrt(1/n + 1/k)

all on the scale on which seeds spread evenly: losses and distances by their logarithm, errors by
their arcsine (Anscombe 1948). One-sided, towards worse; ALPHA is for all metrics together
(Bonferroni). Outliers: no run is set aside, stored or new; a run whose number is not finite is a
fall. Fewer than SEEDS stored runs decide nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.config.crops import suffix_of
from pipeline.studies.run_sets import Run

# chance that a check of runs like the stored ones finds a fall, for all metrics together
ALPHA = 0.01
SEEDS = 5  # stored runs that a judgement needs at least
# Of each metric, whether more of it is worse. One that a run lacks is passed over; of a net that is
# tested with nine crops, those of nine stand for those of ten.
GATED = {"evaluate.top1_error": True, "evaluate.top1_error_10crop": True,
         "evaluate.top5_error_10crop": True, "evaluate.loss": True, "evaluate.loss_10crop": True,
         "train.training_loss": True, "evaluate.distance_10crop": False}
Verdict = Literal["holds", "falls", "rises"]


@dataclass(frozen=True)
class Judgement:
    """The judgement on one metric.

    Attributes:
        metric: "stage.metric", as in "evaluate.top1_error".
        stored: its value in the golden: of several runs the mean on the scale of the test, of a
            digest the text.
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


def judged(stored: Sequence[Run], new: Sequence[Run], where: str = "",
           alpha: float = ALPHA) -> list[Judgement]:
    """Return a judgement on each metric of GATED that all runs have; SEEDS stored runs are needed.

    Args:
        stored: the golden's runs.
        new: one or more runs to judge; more of them see smaller falls.
        where: the golden, for the judgements.
        alpha: probability of a false alarm over all metrics together; each has its equal share.
    """
    values = {}
    end = suffix_of(stored[0].metrics.get("evaluate", {})) if stored else "_10crop"
    for metric in (name.replace("_10crop", end) for name in GATED):
        try:
            numbers = [run.number(metric) for run in stored], [run.number(metric) for run in new]
        except KeyError:
            continue
        # or there is no logarithm: ten crops of nets whose crop is all
        if ("error" in metric or min(numbers[0]) > 0):
            values[metric] = numbers
    images = min((run.metrics["evaluate"].get("images", 1) for run in stored), default=1)
    return [_judged(metric, *numbers, alpha / len(values),
                    Errors(images) if "error" in metric else Logarithm(), where)
            for metric, numbers in values.items()]


class Logarithm:
    """The scale of losses and distances, which spread over seeds by factors."""

    def of(self, number: float) -> float:
        """Return a metric on the scale; -inf for what has no logarithm."""
        return math.log(number) if number > 0 else -math.inf

    def back(self, scaled: float) -> float:
        """Return the metric whose scaled value this is."""
        return math.exp(min(scaled, 700.0))  # more is no float

    def grain(self, scaled: float) -> float:
        """Return the finest spread there is; of numbers that may lie as close as they like, 0."""
        return 0.0


@dataclass(frozen=True)
class Errors:
    """The scale of shares of so many images: the arcsine of the root, on which large and small ones
    spread alike."""

    images: int

    def of(self, number: float) -> float:
        """Return a share in [0, 1] on the scale, in radians."""
        return math.asin(
            math.sqrt(min(max((number * self.images + 3 / 8) / (self.images + 3 / 4), 0.0), 1.0)))

    def back(self, scaled: float) -> float:
        """Return the share in [0, 1] whose scaled value this is."""
        share = math.sin(min(max(scaled, 0.0), math.pi / 2)) ** 2
        return min(max((share * (self.images + 3 / 4) - 3 / 8) / self.images, 0.0), 1.0)

    def grain(self, scaled: float) -> float:
        """Return what one image more makes: no spread is finer."""
        number = self.back(scaled)
        return abs(self.of(number + 1 / self.images if number < 0.5 else number - 1 / self.images)
                   - self.of(number))


def _judged(metric: str, stored: list[float], new: list[float], alpha: float,
            scale: Logarithm | Errors, where: str) -> Judgement:
    from scipy.special import stdtrit  # takes long to import, scipy.stats two seconds

    n, k = len(stored), len(new)
    numbers = [scale.of(number) for number in stored]
    mean = statistics.fmean(numbers)
    sd = max(statistics.stdev(numbers), scale.grain(mean))
    reach = float(stdtrit(n - 1, 1 - alpha)) * sd * math.sqrt(1 / n + 1 / k)
    worse = 1.0 if GATED[metric.replace("_9crop", "_10crop")] else -1.0
    if all(map(math.isfinite, new)):
        new_mean = statistics.fmean(map(scale.of, new))
        shift, shown = worse * (new_mean - mean), scale.back(new_mean)
    else:
        shift, shown = math.inf, statistics.fmean(new)
    verdict: Verdict = "falls" if not shift <= reach else "rises" if shift < -reach else "holds"
    test = f"one-sided t prediction bound, alpha {alpha:.2g}, {n} stored, {k} new"
    return Judgement(metric, scale.back(mean), shown, test, verdict,
                     scale.back(mean + worse * reach), where)
