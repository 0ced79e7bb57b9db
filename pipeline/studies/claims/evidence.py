"""From runs to a verdict: the number of a claim on each seed, its interval over seeds, and what
that says.

The interval is Student's, 95 %, over seeds; where two configurations are compared, over the
differences of runs of the same seed (paired). It tells how far other seeds would move the number on
these data, not how far other images would.

    positive  agrees if the interval lies above the neutral value (0; of a ratio 1), disagrees if
              below
    none      agrees if the interval lies within the margin around 0, disagrees if outside
    equal     agrees if the paper's number lies in the prediction interval for one more run,
              disagrees if not

On the paper's own data and size a number that the paper gives is tested as in `equal`, too;
elsewhere it agrees in direction. Anything else is undecided, and so is what rests on fewer than
SEEDS seeds.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy import stats

from pipeline.studies.claims.ledger import Claim, Configuration, Difference, Epochs, Results, Value
from pipeline.studies.run_sets import Run

SEEDS = 3  # that a verdict rests on at least
LEVEL = 0.95
Verdict = Literal["agrees", "agrees in direction", "disagrees", "undecided",
                  "not yet run at this scale"]
AGREES: Verdict = "agrees"
IN_DIRECTION: Verdict = "agrees in direction"
DISAGREES: Verdict = "disagrees"
UNDECIDED: Verdict = "undecided"
NOT_RUN: Verdict = "not yet run at this scale"
Numbers = dict[int, float]  # by seed


@dataclass(frozen=True)
class LedgerRow:
    """A claim at a scale.

    Attributes:
        claim, scale: which.
        numbers: the claim's number for each seed, in its unit.
        verdict: agrees, agrees in direction, disagrees, undecided, or not yet run.
        ours: the mean of the numbers, of ratios the geometric mean; None where there are none.
        interval: 95 %, Student's, over seeds; None of fewer than two.
        note: what else is to be known of it.
    """

    claim: Claim
    scale: str
    numbers: Numbers
    verdict: Verdict
    ours: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """As `alexnet claims --json` prints it."""
        claim = self.claim
        return {"claim": claim.name, "section": claim.section, "paper": claim.paper,
                "ours": self.ours, "interval": list(self.interval) if self.interval else None,
                "seeds": len(self.numbers), "scale": self.scale, "verdict": self.verdict,
                "log": claim.log, "unit": claim.unit, "says": claim.says, "note": self.note}


def row(claim: Claim, results: Results) -> LedgerRow:
    """What the stored runs of a scale say of a claim."""
    if claim.measure is None:
        return LedgerRow(claim, results.scale, {}, NOT_RUN, note=f"takes {claim.takes}")
    numbers, note = numbers_of(claim, results)
    if not numbers:
        return LedgerRow(claim, results.scale, {}, NOT_RUN, note=note)
    images = {run.metrics["resize"]["train_images"] for name in claim.configurations()
              for run in results.runs(name).values() if "resize" in run.metrics}
    whole = images <= {results.book.scales[results.scale].images[0]}  # type: ignore[index]
    if not whole:
        note = "; ".join(filter(
            None, [f"trained on {' and '.join(f'{n:,}' for n in sorted(images))} pictures", note]))
    ours, interval, prediction = _estimated(list(numbers.values()), claim)
    own = results.scale in claim.own and whole
    if len(numbers) < SEEDS or interval is None or prediction is None:
        return LedgerRow(claim, results.scale, numbers, UNDECIDED, ours, interval,
                   "; ".join(filter(None, [note, f"a verdict needs {SEEDS} seeds"])))
    verdict = verdict_of(claim, interval, prediction, own)
    size = ""
    if own and claim.paper is not None and claim.test == "positive":
        size = f"one more run: {prediction[0]:.3g} to {prediction[1]:.3g}"
    return LedgerRow(claim, results.scale, numbers, verdict, ours, interval,
               "; ".join(filter(None, [note, size])))


def verdict_of(claim: Claim, interval: tuple[float, float], prediction: tuple[float, float],
               own: bool) -> Verdict:
    """By the tests that the module's description has.

    Args:
        claim: has the test, the paper's number and the margin.
        interval: of the mean, in the claim's unit.
        prediction: the interval for one more run, which the paper's was.
        own: whether data and net are the paper's, so that its number counts, and not only the
            direction.
    """
    low, high = interval
    if claim.test == "none":
        margin = claim.margin or 0.0
        if -margin <= low and high <= margin:
            return AGREES
        return DISAGREES if low > margin or high < -margin else UNDECIDED
    inside = claim.paper is None or prediction[0] <= claim.paper <= prediction[1]
    if claim.test == "equal":
        return AGREES if inside else DISAGREES
    if high < claim.neutral:
        return DISAGREES
    if not low > claim.neutral:
        return UNDECIDED
    if own:
        return AGREES if inside else DISAGREES
    return AGREES if claim.paper is None else IN_DIRECTION  # of its size nothing is said


def _estimated(numbers: Sequence[float], claim: Claim) -> tuple[
        float, tuple[float, float] | None, tuple[float, float] | None]:
    """Mean, interval of the mean, and interval for one more; of ratios in their logarithms."""
    values = [math.log(number) for number in numbers] if claim.unit == "ratio" else list(numbers)
    back = math.exp if claim.unit == "ratio" else float
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return back(mean), None, None
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * statistics.stdev(values)
    of_mean, of_one = ((back(mean - reach * width), back(mean + reach * width))
                       for width in (math.sqrt(1 / n), math.sqrt(1 + 1 / n)))
    return back(mean), of_mean, of_one


def numbers_of(claim: Claim, results: Results) -> tuple[Numbers, str]:
    """The claim's number for each seed that all its configurations have, in its unit; and a note on
    how."""
    measure = claim.measure
    if isinstance(measure, Epochs):
        return _ratios(measure, results)
    if isinstance(measure, Value):
        found = _measured(results.runs(measure.of), measure.metric)
    elif isinstance(measure, Difference):
        more = _measured(results.runs(measure.of), measure.metric)
        less = _measured(results.runs(measure.less), measure.less_metric or measure.metric)
        found = {seed: more[seed] - less[seed] for seed in sorted(more.keys() & less.keys())}
    else:
        return {}, ""
    return {seed: number * claim.factor for seed, number in found.items()}, ""


def _measured(runs: Mapping[int, Run], metric: str) -> Numbers:
    """Of the runs that have it: the code of an older one may not have measured it."""
    found = {}
    for seed, run in runs.items():
        with contextlib.suppress(KeyError):
            found[seed] = run.number(metric)
    return found


def _ratios(measure: Epochs, results: Results) -> tuple[Numbers, str]:
    """Of the epochs of the two sides' best; a seed on which one of them does not get there has no
    ratio."""
    best = [fastest(side, measure, results) for side in (measure.slow, measure.fast)]
    if None in best:
        return ({}, "no configuration of one side got there" if any(map(results.runs, measure.slow))
                else "")
    slow, fast = (results.runs(name) for name in best if name)
    both = {seed: (epochs_to(slow[seed], measure), epochs_to(fast[seed], measure))
            for seed in sorted(slow.keys() & fast.keys())}
    found = {seed: a / b for seed, (a, b) in both.items() if math.isfinite(a) and math.isfinite(b)}
    lost = (f"; not there on {len(both) - len(found)} of {len(both)} seeds"
            if len(found) < len(both) else "")
    absent = [name for name in [*measure.slow, *measure.fast] if not results.runs(name)]
    others = f"; not run: {', '.join(absent)}" if absent else ""
    return found, f"best: {best[0]} against {best[1]}{lost}{others}"


def fastest(side: Sequence[str], measure: Epochs, results: Results) -> str | None:
    """The configuration that gets there first on the lowest seed that it has; None where none
    does."""
    epochs = {name: epochs_to(runs[min(runs)], measure)
              for name in side if (runs := results.runs(name))}
    name = min(epochs, key=lambda one: epochs[one], default=None)
    return name if name is not None and math.isfinite(epochs[name]) else None


def epochs_to(run: Run, measure: Epochs) -> float:
    """Epochs until the curve first reaches the level, between points on a straight line; infinite
    where it does not."""
    before: tuple[float, float] | None = None
    for epoch, value in run.points(measure.curve):
        if value <= measure.below:
            if before is None or value == before[1]:
                return epoch
            return before[0] + (epoch - before[0]) * (before[1]
                                                      - measure.below) / (before[1] - value)
        before = epoch, value
    return math.inf


def needed(claim: Claim, results: Results, seeds: Sequence[int],
           configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """The runs (configuration, seed) that the claim still needs, those first that others are made
    of.

    Of a claim on epochs every configuration is run on the first seed, and then the best of each
    side on the others.
    """
    measure = claim.measure
    wanted = [(name, seed) for name in claim.configurations() for seed in seeds]
    if isinstance(measure, Epochs):
        wanted = [(name, seeds[0]) for name in claim.configurations()]
        if all(seed in results.runs(name) for name, seed in wanted):
            wanted = [(name, seed) for side in (measure.slow, measure.fast)
                      if (name := fastest(side, measure, results)) for seed in seeds]
    found: dict[tuple[str, int], None] = {}
    for name, seed in wanted:
        if seed not in results.runs(name):
            for one in with_parts(name, seed, configurations):
                if one[1] not in results.runs(one[0]):
                    found[one] = None
    return list(found)


def with_parts(name: str, seed: int,
               configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """The run, after all that it is made of: weights to start from, members of an ensemble."""
    one = configurations[name]
    parts = [(one.start_from, seed)] if one.start_from else []
    parts += members(one, seed)
    return [*(deeper for part in parts for deeper in with_parts(*part, configurations)),
            (name, seed)]


def members(one: Configuration, seed: int) -> list[tuple[str, int]]:
    """Of the ensemble of this seed: no two ensembles share a run."""
    return [(name, (seed - 1) * count + number)
            for name, count in (one.ensemble or {}).items() for number in range(1, count + 1)]
