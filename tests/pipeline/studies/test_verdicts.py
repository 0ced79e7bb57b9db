"""The verdict function on simulated truths: how often it errs, and what it can see."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.studies.claims import simulation, verdicts
from pipeline.studies.claims.simulation import CODES, Outcomes, simulate
from pipeline.studies.claims.verdicts import (
    CONTRADICTED,
    DIRECTION,
    FEWEST,
    MOST,
    SIZE,
    UNDECIDED,
    Question,
    Verdict,
    needed_seeds,
    power,
    verdict_of,
)

ROOT = Path(__file__).resolve().parents[3]
ALLOWED = 0.035  # of any wrong verdict, over all looks


def one_by_one(question: Question, mean: float, experiments: int) -> Outcomes:
    """What `simulate` does, seed by seed with the real function."""
    numbers = np.random.default_rng(simulation.SEED).normal(mean, 1, (experiments, MOST))
    ended: list[Verdict] = []
    taken = 0
    for row in numbers.tolist():
        count = FEWEST
        while count < MOST and not question.is_final(verdict_of(question, row[:count])):
            count += 1
        ended.append(verdict_of(question, row[:count]))
        taken += count
    return Outcomes({verdict: ended.count(verdict) / experiments for verdict in CODES},
                    taken / experiments)


@pytest.mark.parametrize(("question", "mean"), [
    (Question(0, None, 1), 0.0), (Question(0, None, 1), 1.0), (Question(0, 2, 1), 2.0),
    (Question(None, 0, 1), 1.0), (Question(None, 0, 1), 0.0), (Question(0, 2, 1), 1.0)])
def test_the_simulation_is_the_rule_itself(question: Question, mean: float) -> None:
    assert simulate(question, mean, 300) == one_by_one(question, mean, 300)


@pytest.mark.parametrize(("question", "truth", "wrong"), [
    (Question(0, None, 1), 0.0, DIRECTION), (Question(0, None, 1), 0.0, CONTRADICTED),
    (Question(0, 2, 1), 0.0, SIZE), (Question(0, 2, 1), 1.0, SIZE), (Question(0, 2, 1), 3.0, SIZE),
    (Question(0, 5, 2), 3.0, SIZE), (Question(None, 0, 1), 1.0, SIZE),
    (Question(None, 0, 1), -1.0, SIZE), (Question(None, 0, 1), 1.0, CONTRADICTED),
    (Question(0, None, 1), -0.5, DIRECTION), (Question(0, 2, 1), 2.0, CONTRADICTED)])
def test_no_wrong_verdict_is_frequent(question: Question, truth: float, wrong: Verdict) -> None:
    assert simulate(question, truth).shares[wrong] <= ALLOWED


def test_an_effect_that_is_another_is_not_called_reproduced_for_want_of_seeds() -> None:
    """With three seeds, and an effect that is three standard deviations off."""
    numbers = np.random.default_rng(1).normal(5, 1, (2000, FEWEST)).tolist()
    found = [verdict_of(Question(0, 2, 1), row) for row in numbers]
    assert found.count(SIZE) == 0


@pytest.mark.parametrize(("question", "truth", "right", "least"), [
    (Question(0, None, 1), 1.0, DIRECTION, 0.93), (Question(0, None, 2), 2.0, DIRECTION, 0.99),
    (Question(0, 2, 1), 2.0, SIZE, 0.88), (Question(0, 4, 2), 4.0, SIZE, 0.99),
    (Question(None, 0, 1), 2.0, CONTRADICTED, 0.93)])
def test_what_is_true_is_mostly_shown(question: Question, truth: float, right: Verdict,
                                      least: float) -> None:
    assert simulate(question, truth).shares[right] >= least


@pytest.mark.parametrize("question", [Question(0, None, 1), Question(0, None, 0.5),
                                      Question(0, 3, 1), Question(None, 7, 2)])
@pytest.mark.parametrize("n", [3, 6, 12])
def test_power_is_that_of_simulated_experiments(question: Question, n: int) -> None:
    truth = question.margin if question.target is None else question.target
    right = DIRECTION if question.target is None else SIZE
    numbers = np.random.default_rng(3).normal(truth, 1, (4000, n)).tolist()
    share = np.mean([verdict_of(question, row) == right for row in numbers])
    assert power(question, 1.0, n) == pytest.approx(share, abs=0.025)


def test_the_needed_seeds_are_the_first_with_the_power() -> None:
    question = Question(0, None, 0.7)
    seeds = needed_seeds(question, 1.0)
    assert seeds
    assert power(question, 1.0, seeds) >= verdicts.POWER > power(question, 1.0, seeds - 1)
    assert needed_seeds(question, None) == FEWEST
    assert needed_seeds(Question(0, None, 0.001), 1.0) is None
    assert verdicts.words(UNDECIDED, Question(0, None, 0.001), 1.0, 5).endswith(
        "(needs more than 1,000 seeds)")


def test_seeds_are_planned_for_the_effect_that_is_seen_where_it_is_larger() -> None:
    question = Question(0, None, 1.4)
    far, near = needed_seeds(question.planned(9.0), 3.4), needed_seeds(question.planned(0.5), 3.4)
    assert far == needed_seeds(question.planned(-9.0), 3.4)
    assert far == needed_seeds(Question(0, None, 9.0), 3.4)
    assert near == needed_seeds(question, 3.4)
    assert far
    assert near
    assert far < 8 < 60 < near
    seeds = [needed_seeds(question.planned(effect), 1.0) for effect in np.linspace(1.4, 40, 400)]
    assert all(a is not None and b is not None and a >= b for a, b in pairwise(seeds))
    for other in (Question(0, 2, 1), Question(None, 7, 2)):  # a size is within its margin, or not
        assert other.planned(9.0) == other


def test_fewer_than_three_seeds_decide_nothing() -> None:
    assert verdict_of(Question(0, None, 1), [5.0, 5.0]) == UNDECIDED
    assert verdict_of(Question(0, None, 1), [5.0, 5.0, 5.0]) == DIRECTION


def test_the_rates_in_the_documents_are_the_measured_ones() -> None:
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert simulation.PART.updated(page, simulation.tables()) == page, \
        "fix it with: python -m pipeline.studies.claims.simulation"
