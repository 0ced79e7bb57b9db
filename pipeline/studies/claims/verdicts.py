"""The test of a claim: from its numbers over seeds to a verdict, and how many seeds that takes.

A claim asks one question, or two: does the number lie above a neutral value (a direction), and does
it lie within a margin around a target (a size)? Both are answered by Student's 99 % interval of the
mean over seeds:

    size reproduced    the interval lies within target - margin .. target + margin: two one-sided
                       tests (equivalence). It is then at most two margins wide
    direction only     the interval lies above the neutral value, and the size is not shown
    contradicted       the interval lies below the neutral value; of a claim without a direction,
                       it lies outside target +- margin
    undecided          anything else, and whatever rests on fewer than FEWEST seeds

Seeds are added until the verdict is final or MOST are reached; each number of seeds is one more
look at the same data. `pipeline.studies.claims.simulation` measures how often that errs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from scipy import special  # scipy.stats would take two seconds to import

FEWEST, MOST = 3, 20  # seeds that a verdict rests on
LEVEL = 0.99  # of the interval at each look
POWER = 0.8  # that a number of seeds is to have
HOPELESS = 1000  # seeds; more are not counted

Verdict = Literal["size reproduced", "direction only", "contradicted", "undecided at this scale",
                  "not yet run"]
SIZE: Verdict = "size reproduced"
DIRECTION: Verdict = "direction only"
CONTRADICTED: Verdict = "contradicted"
UNDECIDED: Verdict = "undecided at this scale"
NOT_RUN: Verdict = "not yet run"


@dataclass(frozen=True)
class Question:
    """The question asked of numbers, on a scale on which seeds spread evenly.

    Attributes:
        neutral: the value of no effect; None where no direction is claimed.
        target: the size that is claimed; None where only a direction is asked.
        margin: how far from the target still counts as the same; without a target, the smallest
            effect that the direction is to be seen of.
    """

    neutral: float | None
    target: float | None
    margin: float

    def __post_init__(self) -> None:
        assert self.margin > 0
        assert self.neutral is not None or self.target is not None

    @property
    def effect(self) -> float:
        """The distance from the neutral value that seeds are planned for."""
        if self.target is None or self.neutral is None:
            return self.margin
        return abs(self.target - self.neutral)

    def planned(self, mean: float) -> Question:
        """Return the question that further seeds are planned for, given the mean of those there
        are: where only a direction is asked, that of an effect as large as they show, if it is
        larger, on the claimed side or the other."""
        if self.target is not None or self.neutral is None:
            return self
        return replace(self, margin=max(self.margin, abs(mean - self.neutral)))

    def is_final(self, verdict: Verdict) -> bool:
        """Return whether more seeds are not needed after this verdict."""
        return verdict in (SIZE, CONTRADICTED) or (verdict == DIRECTION and self.target is None)


@dataclass(frozen=True)
class Estimate:
    """The mean of numbers over seeds, and how sure it is.

    Attributes:
        mean: of the numbers.
        interval: Student's, LEVEL; None of fewer than two numbers.
        sd: their standard deviation over seeds; None of fewer than two.
    """

    mean: float
    interval: tuple[float, float] | None
    sd: float | None


def estimate(numbers: Sequence[float]) -> Estimate:
    """Return mean, interval and spread of one number or more."""
    mean, n = statistics.fmean(numbers), len(numbers)
    if n < 2:
        return Estimate(mean, None, None)
    sd = statistics.stdev(numbers)
    half = critical(n) * sd / math.sqrt(n)
    return Estimate(mean, (mean - half, mean + half), sd)


def verdict_of(question: Question, numbers: Sequence[float]) -> Verdict:
    """Return the verdict on the numbers of all seeds that there are."""
    if len(numbers) < FEWEST:
        return UNDECIDED
    interval = estimate(numbers).interval
    assert interval is not None
    low, high = interval
    if question.target is not None:
        least, most = question.target - question.margin, question.target + question.margin
        if least <= low and high <= most:
            return SIZE
        if question.neutral is None and (high < least or low > most):
            return CONTRADICTED
    if question.neutral is not None and high < question.neutral:
        return CONTRADICTED
    if question.neutral is not None and low > question.neutral:
        return DIRECTION
    return UNDECIDED


@cache
def critical(n: int) -> float:
    """Return how many standard errors the interval of n numbers reaches to each side."""
    return float(special.stdtrit(n - 1, (1 + LEVEL) / 2))


def power(question: Question, sd: float, n: int) -> float:
    """Return the chance that n seeds show what is claimed, if it is true.

    With a target: that the size is reproduced, where the mean is the target. Without: that the
    direction is shown, where the mean is `question.margin` above the neutral value.

    Args:
        question: of the claim.
        sd: the standard deviation of the numbers over seeds, above 0.
        n: seeds, 2 or more, looked at once.
    """
    if question.target is None:
        missed = special.nctdtr(n - 1, question.margin / sd * math.sqrt(n), critical(n))
        return 1.0 - (0.0 if math.isnan(missed) else float(missed))  # nan: below 1e-240
    # over the spread that n numbers show, at 400 equally likely values
    shown = np.sqrt(special.chdtri(n - 1, 1 - (np.arange(400) + 0.5) / 400) / (n - 1)) * sd
    room = (question.margin - critical(n) * shown / math.sqrt(n)) * math.sqrt(n) / sd
    return float(np.mean(np.where(room > 0, 2 * special.ndtr(room) - 1, 0)))


def needed_seeds(question: Question, sd: float | None) -> int | None:
    """Return the fewest seeds that have POWER; FEWEST where the spread is not known yet; None where
    HOPELESS do not suffice."""
    if not sd:
        return FEWEST
    if power(question, sd, HOPELESS) < POWER:
        return None
    low, high = FEWEST - 1, HOPELESS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(question, sd, middle) >= POWER else (middle, high)
    return high


def words(verdict: Verdict, question: Question | None, sd: float | None, seeds: int) -> str:
    """Return the verdict as people read it: an undecided one says how many seeds it needs, which
    are more than the `seeds` there are."""
    if verdict != UNDECIDED or question is None:
        return verdict
    needed = needed_seeds(question, sd)
    count = f"more than {HOPELESS:,}" if needed is None else str(max(needed, seeds + 1))
    return f"{verdict} (needs {count} seeds)"
