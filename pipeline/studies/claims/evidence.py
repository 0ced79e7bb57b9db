"""From runs to the rows of the ledger: the number of a claim on each seed, its interval over seeds,
and the verdict.

The interval is over seeds; where two configurations are compared, over the differences of runs of
the same seed (paired); of ratios, over their logarithms. It says how far other seeds would move the
number on these data, not how far other pictures would.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.architectures import architecture
from alexnet.layers import Convolution
from alexnet.recipe import recipe
from pipeline.studies.claims import verdicts
from pipeline.studies.claims.ledger import (
    NET,
    Claim,
    Configuration,
    Difference,
    Epochs,
    Net,
    Value,
)
from pipeline.studies.claims.results import Evidence, EvidenceKey, Results
from pipeline.studies.claims.verdicts import (
    CONTRADICTED,
    FEWEST,
    HOPELESS,
    NOT_RUN,
    SIZE,
    Question,
    Verdict,
    estimate,
    needed_seeds,
    verdict_of,
)
from pipeline.studies.run_sets import Run

Numbers = dict[int, float]  # by seed


@dataclass(frozen=True)
class LedgerRow:
    """A claim, and what one body of evidence says of it.

    Attributes:
        claim: which.
        scale: of the evidence; NET of claims on the net itself.
        key: which pictures and arithmetic; None where nothing has been run, or of the net itself.
        verdict: on the claim.
        numbers: the claim's number for each seed, in its unit.
        question: that the verdict answers, or will; None of the net itself.
        ours: the mean of the numbers, of ratios the geometric mean; None where there are none.
        interval: of the mean over seeds, 99 %; None of fewer than two.
        sd: the standard deviation over seeds, of ratios that of the logarithms.
        note: what else is to be known of it.
        pixels: the pixels_digest of the pictures that its runs were made from; of runs from several
            machines there may be more than one.
    """

    claim: Claim
    scale: str
    key: EvidenceKey | None = None
    verdict: Verdict = NOT_RUN
    numbers: Mapping[int, float] | None = None
    question: Question | None = None
    ours: float | None = None
    interval: tuple[float, float] | None = None
    sd: float | None = None
    note: str = ""
    pixels: tuple[str, ...] = ()

    @property
    def seeds(self) -> int:
        """The number of runs, or pairs of runs, that it rests on."""
        return len(self.numbers or {})

    @property
    def words(self) -> str:
        """The verdict as people read it; an undecided one says how many seeds it needs."""
        return verdicts.words(self.verdict, self.planned, self.sd, self.seeds)

    @property
    def planned(self) -> Question | None:
        """The question that further seeds are planned for."""
        if self.question is None or not self.numbers:
            return self.question
        return self.question.planned(estimate([self.claim.scaled(number)
                                               for number in self.numbers.values()]).mean)

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet claims --json` prints."""
        claim = self.claim
        return {"claim": claim.name, "section": claim.section, "paper": claim.paper,
                "ours": self.ours, "interval": list(self.interval) if self.interval else None,
                "seeds": self.seeds, "scale": self.scale, "verdict": self.words,
                "data": claim.data, "pictures": self.key.pictures if self.key else None,
                "pixels": list(self.pixels),
                "arithmetic": self.key.arithmetic if self.key else None, "test": claim.test,
                "margin": claim.margin, "power": self.power, "sd": self.sd, "log": claim.log,
                "unit": claim.unit, "says": claim.says, "note": self.note}

    @property
    def power(self) -> str:
        """The number of seeds that show a true claim with a power of 80 %, in words."""
        if self.question is None:
            return "computed, not tested"
        seeds = needed_seeds(self.question, self.sd or self.question.margin)
        spread = "at the spread seen" if self.sd else "if seeds spread by an sd of the margin"
        return f"80 % with {seeds or f'more than {HOPELESS:,}'} seeds, {spread}"


def rows(claim: Claim, results: Results | None) -> list[LedgerRow]:
    """Return a row for each body of evidence at a scale (None: of the net itself), the most
    pictures first; one row that says `not yet run` where there is none."""
    if isinstance(claim.measure, Net):
        return [_of_net(claim, claim.measure)]
    assert results is not None
    scale = results.book.scales[results.scale]
    question = claim.question(own=claim.measure is None or claim.data == scale.data)
    if claim.measure is None:
        return [LedgerRow(claim, results.scale, question=question,
                          note=_joined(f"takes {claim.takes}", claim.note))]
    by_key = [row(claim, results.at(key)) for key in results.evidence_keys()
              if any(results.at(key).runs(name) for name in claim.configurations())]
    return [each for each in by_key if each.numbers] or by_key[:1] or [
        LedgerRow(claim, results.scale, question=question, note=claim.note)]


def row(claim: Claim, evidence: Evidence) -> LedgerRow:
    """Return what this evidence says of a claim."""
    numbers, note = numbers_of(claim, evidence)
    key, scale = _key(claim, evidence), evidence.results.book.scales[evidence.scale]
    if not numbers:
        question = claim.question(own=claim.data == scale.data)
        return LedgerRow(claim, evidence.scale, key, question=question,
                         note=_joined(note, claim.note))
    assert key is not None
    whole = key.total == sum(scale.images)
    question = claim.question(own=whole and claim.data == scale.data)
    scaled = [claim.scaled(number) for number in numbers.values()]
    pixels = tuple(sorted({str(stored.run.metrics["resize"]["pixels_digest"])
                           for name in claim.configurations()
                           for stored in evidence.stored(name).values()
                           if "pixels_digest" in stored.run.metrics.get("resize", {})}))
    estimated = estimate(scaled)
    low_high = estimated.interval and (claim.unscaled(estimated.interval[0]),
                                       claim.unscaled(estimated.interval[1]))
    return LedgerRow(claim, evidence.scale, key, verdict_of(question, scaled), numbers, question,
                     claim.unscaled(estimated.mean), low_high, estimated.sd,
                     _joined("" if whole else f"of {sum(scale.images):,} pictures, {key.total:,}",
                             f"pictures decoded in {len(pixels)} ways" if len(pixels) > 1 else "",
                             note, claim.note), pixels)


def is_final(claim: Claim, evidence: Evidence) -> bool:
    """Return whether the verdict is one that more seeds are not added to."""
    this = row(claim, evidence)
    return this.verdict != NOT_RUN and bool(this.question and this.question.is_final(this.verdict))


def seeds_to_go(claim: Claim, evidence: Evidence) -> float:
    """Return how many seeds a claim is likely to take until it is decided, by the spread and the
    effect that those show which it has: 0 while they are too few to tell, infinity where no
    number of them would do."""
    this = row(claim, evidence)
    planned = this.planned
    if this.seeds < FEWEST or planned is None:
        return 0
    count = needed_seeds(planned, this.sd)
    return math.inf if count is None else max(count - this.seeds, 1)


def _key(claim: Claim, evidence: Evidence) -> EvidenceKey | None:
    for name in claim.configurations():
        for stored in evidence.stored(name).values():
            return stored.key
    return None


def _of_net(claim: Claim, measure: Net) -> LedgerRow:
    net = architecture("two-column", recipe("source"), 1000)
    ours = net.parameters / 1e6
    if measure.quantity == "largest_convolution":
        ours = 100 * max(shape.parameters * net.held_by(shape.layer) for shape in net.shapes()
                         if isinstance(shape.layer, Convolution)) / net.parameters
    assert claim.paper is not None
    holds = ours <= claim.paper if claim.test == "most" else abs(ours - claim.paper) <= claim.margin
    return LedgerRow(claim, NET, verdict=SIZE if holds else CONTRADICTED, ours=ours,
                     note=claim.note)


def numbers_of(claim: Claim, evidence: Evidence) -> tuple[Numbers, str]:
    """Return the claim's number, in its unit, for each seed that all its configurations have; and a
    note on how."""
    measure = claim.measure
    if isinstance(measure, Epochs):
        return _ratios(measure, evidence)
    if isinstance(measure, Value):
        numbers = _measured(evidence.runs(measure.of), measure.metric)
    elif isinstance(measure, Difference):
        more = _measured(evidence.runs(measure.of), measure.metric)
        less = _measured(evidence.runs(measure.less), measure.less_metric or measure.metric)
        numbers = {seed: more[seed] - less[seed] for seed in more if seed in less}
    else:
        return {}, ""
    return {seed: number * claim.factor for seed, number in numbers.items()}, ""


def _measured(runs: Mapping[int, Run], metric: str) -> Numbers:
    """Return the metric of the runs that have it: older code may not have measured it."""
    numbers = {}
    for seed, run in runs.items():
        with contextlib.suppress(KeyError):
            numbers[seed] = run.number(metric)
    return numbers


def _ratios(measure: Epochs, evidence: Evidence) -> tuple[Numbers, str]:
    """Return the ratios of the epochs of the two sides' best; a seed on which one of them does not
    get there has none."""
    best = [fastest(side, measure, evidence) for side in measure.sides]
    if None in best:
        any_run = any(evidence.runs(name) for name in measure.slow)
        return {}, "no configuration of one side got there" if any_run else ""
    slow, fast = best
    ratios, pairs = _ratios_at(measure.below, measure, evidence, str(slow), str(fast))
    lost = f"not there on {pairs - len(ratios)} of {pairs} seeds" if len(ratios) < pairs else ""
    first = [measure.short(name) if measure.screen else name
             for name in (*measure.slow, *measure.fast)]
    absent = [name for name in first if not evidence.runs(name)]
    return ratios, _joined(f"best: {slow} against {fast}", lost,
                           f"not run: {', '.join(absent)}" if absent else "",
                           _at_levels(measure, evidence, str(slow), str(fast)))


def _ratios_at(level: float, measure: Epochs, evidence: Evidence, slow: str,
               fast: str) -> tuple[Numbers, int]:
    """Return the ratios of the epochs to a level on the seeds on which both configurations get
    there, and the number of seeds that both have."""
    left, right = evidence.runs(slow), evidence.runs(fast)
    both = {seed: (epochs_to(left[seed], measure, level), epochs_to(right[seed], measure, level))
            for seed in left if seed in right}
    return ({seed: a / b for seed, (a, b) in both.items()
             if math.isfinite(a) and math.isfinite(b)}, len(both))


def _at_levels(measure: Epochs, evidence: Evidence, slow: str, fast: str) -> str:
    """Return, in words, the ratio at each level, and that of two configurations that differ in
    nothing else: the fast side's best, and its partner."""
    if not measure.levels:
        return ""

    def in_words(slow: str, fast: str) -> str:
        ratios = (_ratios_at(level, measure, evidence, slow, fast)[0].values()
                  for level in measure.levels)
        return ", ".join(f"{statistics.geometric_mean(seeds):.2f}" if seeds else "-"
                         for seeds in ratios)

    levels = ", ".join(f"{100 * level:g}" for level in measure.levels)
    words = f"at {levels} %: {in_words(slow, fast)}"
    partner = partner_of(fast, measure)
    if partner and partner != slow and evidence.runs(partner):
        words += f"; {partner} against {fast}: {in_words(partner, fast)}"
    return words


def partner_of(fast: str, measure: Epochs) -> str | None:
    """Return the configuration of the slow side that differs from one of the fast side in nothing
    but what is compared; None where the sides are not paired."""
    return measure.slow[measure.fast.index(fast)] if measure.screen else None


def finalists(side: Sequence[str], measure: Epochs, evidence: Evidence) -> list[str]:
    """Return the configurations of a side that go on: all where there is no screen, else those
    whose shorter runs ended best, on the lowest seed that all of them have."""
    if not measure.screen:
        return list(side)
    runs = {name: kept for name in side if (kept := evidence.runs(measure.short(name)))}
    shared = set.intersection(*(set(kept) for kept in runs.values())) if runs else set()
    if not shared:
        return []
    ends = {name: kept[min(shared)].points(measure.curve)[-1][1] for name, kept in runs.items()}
    return sorted(ends, key=lambda name: ends[name])[:measure.finalists]


def fastest(side: Sequence[str], measure: Epochs, evidence: Evidence) -> str | None:
    """Return the configuration that gets there first, by the geometric mean over the seeds that all
    of the side's have, else on the lowest of each; None where none does."""
    runs = {name: kept for name in finalists(side, measure, evidence)
            if (kept := evidence.runs(name))}
    if not runs:
        return None
    shared = set.intersection(*(set(kept) for kept in runs.values()))
    epochs = {name: statistics.fmean(math.log(epochs_to(kept[seed], measure))
                                     for seed in shared or [min(kept)])
              for name, kept in runs.items()}
    best = min(epochs, key=lambda name: epochs[name], default=None)
    return best if best is not None and math.isfinite(epochs[best]) else None


def epochs_to(run: Run, measure: Epochs, level: float | None = None) -> float:
    """Return the epochs until the curve first reaches the level (None: the measure's), between
    points on a straight line; infinity where it does not."""
    level = measure.below if level is None else level
    before: tuple[float, float] | None = None
    for epoch, value in run.points(measure.curve):
        if value <= level:
            if before is None or value == before[1]:
                return epoch
            return before[0] + (epoch - before[0]) * (before[1] - level) / (before[1] - value)
        before = epoch, value
    return math.inf


def needed(claim: Claim, evidence: Evidence, seeds: Sequence[int],
           configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """Return the runs (configuration, seed) that the claim still needs for these seeds, those first
    that others are made of.

    See `_raced` for claims on epochs.
    """
    measure = claim.measure
    wanted = (_raced(measure, evidence, seeds) if isinstance(measure, Epochs) else
              [(name, seed) for name in claim.configurations() for seed in seeds])
    runs: dict[tuple[str, int], None] = {}
    for name, seed in wanted:
        if seed not in evidence.runs(name):
            for part in with_parts(name, seed, configurations):
                if part[1] not in evidence.runs(part[0]):
                    runs[part] = None
    return list(runs)


def _raced(measure: Epochs, evidence: Evidence, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return the runs of a claim on epochs, as far as those that are there tell.

    Every configuration is run on the first seed, and the best of each side on the others. Where
    they are screened, only their shorter runs are on the first seed alone; the finalists are run on
    all; and, at last, the partner of the fast side's best.
    """
    every = [name for side in measure.sides for name in side]
    first = [(measure.short(name) if measure.screen else name, seeds[0]) for name in every]
    if not all(seed in evidence.runs(name) for name, seed in first):
        return first
    best = [fastest(side, measure, evidence) for side in measure.sides]
    if not measure.screen:
        return [(name, seed) for name in best if name for seed in seeds]
    chosen = [name for side in measure.sides for name in finalists(side, measure, evidence)]
    wanted = [(name, seed) for seed in seeds for name in chosen]
    if all(seed in evidence.runs(name) for name, seed in wanted) and best[1]:
        wanted.append((str(partner_of(best[1], measure)), seeds[0]))
    return wanted


def at_most(claim: Claim, evidence: Evidence, seeds: Sequence[int],
            configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """Return the runs that the claim may come to if no verdict is final before the last seed.

    While it is not known which configurations of a side go on, its first stand for them.
    """
    measure = claim.measure
    runs = needed(claim, evidence, seeds, configurations)
    if isinstance(measure, Epochs) and any(
            (measure.short(name) if measure.screen else name, seeds[0]) in runs
            for side in measure.sides for name in side):
        count = measure.finalists if measure.screen else 1
        runs += [(name, seed) for side in measure.sides for name in side[:count] for seed in seeds
                 if seed not in evidence.runs(name) and (name, seed) not in runs]
    return runs


def next_needed(claim: Claim, evidence: Evidence, seeds: Sequence[int],
                configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """Return the runs that the sequential rule makes next: those of the first FEWEST seeds, then of
    one seed more each time, until the verdict is final or the seeds are used up."""
    for count in range(min(FEWEST, len(seeds)), len(seeds) + 1):
        runs = needed(claim, evidence, seeds[:count], configurations)
        if runs or (count >= FEWEST and is_final(claim, evidence)):
            return runs
    return []


def with_parts(name: str, seed: int,
               configurations: Mapping[str, Configuration]) -> list[tuple[str, int]]:
    """Return the run, after all that it is made of: weights to start from, members of an
    ensemble."""
    configuration = configurations[name]
    parts = [(configuration.start_from, seed)] if configuration.start_from else []
    parts += members(configuration, seed)
    return [*(deeper for part in parts for deeper in with_parts(*part, configurations)),
            (name, seed)]


def members(configuration: Configuration, seed: int) -> list[tuple[str, int]]:
    """Return the runs of the ensemble of this seed: no two ensembles share one."""
    return [(name, (seed - 1) * count + number)
            for name, count in (configuration.ensemble or {}).items()
            for number in range(1, count + 1)]


def plan(claim: Claim, evidence: Evidence, seeds: int) -> str:
    """Return, in words, the test of a claim and its power with so many seeds, before a run."""
    this = row(claim, evidence)
    scale = evidence.results.book.scales[evidence.scale]
    whole = evidence.results.expected(claim.configurations()[0])[0] == sum(scale.images)
    question = claim.question(own=whole and claim.data == scale.data)
    unit = {"points": " points", "percent": " points", "nats": " nats"}.get(claim.unit, "")
    margin = f"{claim.unscaled(question.margin):.3g}{unit or ' times' * (claim.unit == 'ratio')}"
    asked = (f"whether the size is the claimed one within {margin}" if question.target is not None
             else f"the direction, of an effect of {margin}")
    sd = this.sd or 0.0
    if sd:
        chance = f"{verdicts.power(question, sd, max(seeds, 2)):.0%} with {seeds} seeds"
        spread = f"at the spread of the {this.seeds} seeds kept"
    else:
        powers = {size: verdicts.power(question, question.margin / size, max(seeds, 2))
                  for size in (1, 2)}
        chance = " and ".join(f"{chance:.0%} if that is {size} sd over seeds"
                              for size, chance in powers.items())
        spread = f"with {seeds} seeds; the spread is not known yet"
    return f"{claim.name}: tests {asked}; power {chance}, {spread}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


