"""How often the sequential rule of `verdicts` errs: `python -m pipeline.studies.claims.simulation`
measures it on simulated truths and writes the tables of docs/claims.md anew.

A truth is a normal distribution of a claim's number over seeds, its standard deviation 1. Of each,
EXPERIMENTS experiments are drawn; in each, seeds are added from FEWEST to MOST until the verdict is
final.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.studies.claims.verdicts import (
    CONTRADICTED,
    DIRECTION,
    FEWEST,
    MOST,
    SIZE,
    UNDECIDED,
    Question,
    Verdict,
    critical,
)
from pipeline.system.generated import GeneratedPart

PART = GeneratedPart(Path("docs/claims.md"),
                     "<!-- made by python -m pipeline.studies.claims.simulation -->\n",
                     "<!-- end of the simulation -->\n")
EXPERIMENTS = 20_000
SEED = 2012


@dataclass(frozen=True)
class Outcomes:
    """The results of the simulated experiments.

    Attributes:
        shares: of the experiments that end with each verdict; together 1.
        seeds: the mean number of seeds that they took.
    """

    shares: Mapping[Verdict, float]
    seeds: float


def simulate(question: Question, mean: float, experiments: int = EXPERIMENTS) -> Outcomes:
    """Run the sequential rule on experiments whose numbers are normal with this mean and sd 1."""
    numbers = np.random.default_rng(SEED).normal(mean, 1, (experiments, MOST))
    count = np.arange(1, MOST + 1)
    means = numbers.cumsum(axis=1) / count
    squares = (numbers ** 2).cumsum(axis=1) - count * means ** 2
    looks = slice(FEWEST - 1, MOST)
    means, count = means[:, looks], count[looks]
    half = np.array([critical(int(n)) for n in count]) * np.sqrt(
        squares[:, looks] / (count - 1) / count)
    verdicts = _verdicts(question, means - half, means + half)
    final = np.isin(verdicts, [CODES.index(verdict) for verdict in CODES
                               if question.is_final(verdict)])
    last = np.where(final.any(axis=1), final.argmax(axis=1), final.shape[1] - 1)
    ended = verdicts[np.arange(experiments), last]
    return Outcomes({verdict: float((ended == code).mean()) for code, verdict in enumerate(CODES)},
                    float(count[last].mean()))


CODES: tuple[Verdict, ...] = (SIZE, DIRECTION, CONTRADICTED, UNDECIDED)


def _verdicts(question: Question, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the codes of the verdicts on many intervals, as `verdicts.verdict_of` reaches them."""
    verdicts = np.full(low.shape, CODES.index(UNDECIDED))
    if question.neutral is not None:
        verdicts[low > question.neutral] = CODES.index(DIRECTION)
        verdicts[high < question.neutral] = CODES.index(CONTRADICTED)
    if question.target is not None:
        least, most = question.target - question.margin, question.target + question.margin
        if question.neutral is None:
            verdicts[(high < least) | (low > most)] = CODES.index(CONTRADICTED)
        verdicts[(least <= low) & (high <= most)] = CODES.index(SIZE)
    return verdicts


def tables() -> str:
    """Return the tables as Markdown."""
    cases = [
        ("no effect, and only a direction is asked", Question(0, None, 1), 0.0),
        ("no effect; an effect of 2 sd within 1 sd is claimed", Question(0, 2, 1), 0.0),
        ("an effect of 1 sd, at the margin's edge: 2 +- 1 is claimed", Question(0, 2, 1), 1.0),
        ("the same, 3 sd", Question(0, 2, 1), 3.0),
        ("a level 1 sd off, at the margin's edge", Question(None, 0, 1), 1.0),
        ("a level 2 sd off, twice the margin", Question(None, 0, 1), 2.0),
        ("the opposite effect of 1 sd", Question(0, None, 1), -1.0),
        ("an effect of 0.5 sd, and only a direction is asked", Question(0, None, 0.5), 0.5),
        ("the same, 1 sd", Question(0, None, 1), 1.0),
        ("the same, 2 sd", Question(0, None, 2), 2.0),
        ("the claimed effect of 2 sd, margin 0.5 sd", Question(0, 2, 0.5), 2.0),
        ("the same, margin 1 sd", Question(0, 2, 1), 2.0),
        ("the same, margin 2 sd (of an effect of 4)", Question(0, 4, 2), 4.0)]
    lines = [f"| the truth, in standard deviations over seeds | {' | '.join(CODES)} | seeds |",
             "|---|" + "---|" * (len(CODES) + 1)]
    for name, question, mean in cases:
        outcomes = simulate(question, mean)
        shares = " | ".join(f"{100 * outcomes.shares[verdict]:.1f} %" for verdict in CODES)
        lines.append(f"| {name} | {shares} | {outcomes.seeds:.1f} |")
    return "\n".join([*lines, "", f"{EXPERIMENTS:,} experiments a row, {FEWEST} to {MOST} seeds "
                                  "each; the last column is their mean number.", ""])


if __name__ == "__main__":
    PART.write(tables())
