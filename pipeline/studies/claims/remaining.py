"""What the claims that are not decided would take, in docs/claims.md: `python -m
pipeline.studies.claims.remaining` writes it anew from experiments/results.

A claim stands at the scale at which runs made now would find most of it; where nothing has been
run, at the first of PLACES that it can be run at.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.deviations import markdown_lines
from pipeline.studies.claims.cost import OVERHEAD
from pipeline.studies.claims.evidence import at_most, row, rows
from pipeline.studies.claims.ledger import Book, Claim, load
from pipeline.studies.claims.results import RESULTS, Evidence, Results
from pipeline.studies.claims.verdicts import FEWEST, HOPELESS, NOT_RUN, UNDECIDED, needed_seeds
from pipeline.system.generated import GeneratedPart

PART = GeneratedPart(Path("docs/claims.md"),
                     "<!-- made by python -m pipeline.studies.claims.remaining -->\n",
                     "<!-- end of what remains -->\n")
PLACES = ("imagenette", "cifar10", "imagenet")  # of real pictures, the cheapest first
BASE = "base"  # whose runs say what one takes where a configuration has none


@dataclass(frozen=True)
class Remaining:
    """What one claim would take.

    Attributes:
        claim: that is not decided.
        scale: at which.
        seeds: in all, by the spread and the effect that are seen; FEWEST where nothing is known;
            None: more than HOPELESS.
        runs: (configuration, seed) of the trainings that are missing until then; none where seeds
            is None.
        hours: of one core, for these; None where no such training has been made.
    """

    claim: Claim
    scale: str
    seeds: int | None
    runs: Sequence[tuple[str, int]]
    hours: float | None


def remaining(book: Book, folder: Path = RESULTS) -> Iterator[Remaining]:
    """Yield what is not decided at any scale of real pictures, in the order of the ledger; not what
    is computed, and not what no scale has the data for."""
    results = {place: Results(book, place, folder) for place in PLACES}
    for claim in book.claims:
        places = [place for place in PLACES if place in claim.scales]
        if not claim.configurations() or any(
                each.verdict not in (NOT_RUN, UNDECIDED)
                for place in places for each in rows(claim, results[place])):
            continue
        at_places = [row(claim, results[place].wanted()) for place in places]
        best = max(at_places, key=lambda each: each.seeds)  # the first of equals
        evidence = results[best.scale].wanted()
        seeds = needed_seeds(best.planned, best.sd) if best.planned and best.numbers else FEWEST
        if seeds is not None:
            seeds = max(seeds, best.seeds + bool(best.seeds), FEWEST)
        runs = [] if seeds is None else [
            (name, seed) for name, seed in at_most(claim, evidence, range(1, seeds + 1),
                                                   book.configurations)
            if not book.configurations[name].ensemble]
        yield Remaining(claim, best.scale, seeds, runs, hours(runs, evidence, book))


def hours(runs: Iterable[tuple[str, int]], evidence: Evidence, book: Book) -> float | None:
    """Return the hours that runs take, by the median of those of the same configuration that are
    kept, or else, on the same pictures, of `base`; None where there are neither."""
    seconds = 0.0
    for name, _ in runs:
        chosen = book.configurations[name]
        other_data = any(key.startswith("dataset.") for key in
                         (*chosen.set, *chosen.scales.get(evidence.scale, ())))
        kept = _seconds(evidence, name) or ([] if other_data else _seconds(evidence, BASE))
        if not kept:
            return None
        seconds += statistics.median(kept)
    return seconds / 3600


def _seconds(evidence: Evidence, name: str) -> list[float]:
    return [run.record["seconds"] for run in evidence.runs(name).values()
            if run.record.get("seconds", 0) > OVERHEAD]


def table() -> str:
    """Return the table as Markdown, by the evidence that there is now."""
    book = load()
    listed = list(remaining(book))
    lines = ["| claim | at | seeds in all | runs that are missing | hours of one core |",
             "|---|---|---|---|---|"]
    for each in listed:
        seeds = (f"more than {HOPELESS:,}" if each.seeds is None
                 else f"{FEWEST} or more" if each.seeds == FEWEST else str(each.seeds))
        lines.append(f"| {each.claim.name} | {each.scale} | {seeds} | {len(each.runs) or ''} | "
                     f"{'' if each.hours is None or not each.runs else f'{each.hours:.1f}'} |")
    timed = [each for each in listed if each.scale == PLACES[0] and each.hours is not None]
    shared = dict.fromkeys(run for each in timed for run in each.runs)
    together = hours(shared, Results(book, PLACES[0]).wanted(), book)
    return "\n".join([*lines, "", markdown_lines(
        f"Those at {PLACES[0]} that have hours, together, runs that claims share counted once: "
        f"{len(shared)} runs, {together:.0f} hours."), ""])


if __name__ == "__main__":
    PART.write(table())
