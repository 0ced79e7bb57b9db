"""Claimed beside obtained, in README.md: `python -m pipeline.studies.claims.table` writes it anew
from experiments/results.

It leads with what was shown, then has what was contradicted and what is undecided, and says how
much of the ledger has not been run.
"""

from __future__ import annotations

from pathlib import Path

from alexnet.deviations import markdown_lines
from pipeline.studies.claims.evidence import LedgerRow, rows
from pipeline.studies.claims.ledger import NET, load
from pipeline.studies.claims.results import Results
from pipeline.studies.claims.verdicts import CONTRADICTED, DIRECTION, NOT_RUN, SIZE, UNDECIDED
from pipeline.system.generated import GeneratedPart

PART = GeneratedPart(Path("README.md"),
                     "<!-- made by python -m pipeline.studies.claims.table -->\n",
                     "<!-- to here -->\n")
ORDER = (SIZE, DIRECTION, CONTRADICTED, UNDECIDED)
UNITS = {"points": " points", "percent": " %", "ratio": " times", "share": "", "nats": " nats",
         "million": " million"}
HEADING = ("| | claimed | obtained | on | verdict |", "|---|---|---|---|---|",
           "| a second run, as one process or two, killed and resumed or not | the same bits | "
           "identical to the bit | CPUs, by the tests | |")


def table() -> str:
    """Return the table as Markdown, by the evidence that there is now."""
    book = load()
    of_paper = [claim for claim in book.claims if claim.section != "ours"]
    by_claim = {claim.name: [row for place in claim.places for row in rows(
        claim, None if place == NET else Results(book, place))] for claim in of_paper}
    run = [row for of_claim in by_claim.values() for row in of_claim if row.verdict != NOT_RUN]
    lines = [*HEADING, *(_line(row) for verdict in ORDER for row in run if row.verdict == verdict)]
    decided = {row.claim.name for row in run}
    counts = [f"{sum(row.verdict == verdict for row in run)} {words}" for verdict, words in (
        (SIZE, "size reproduced"), (DIRECTION, "direction only"), (CONTRADICTED, "contradicted"),
        (UNDECIDED, "undecided"))]
    return "\n".join([
        *lines, "", markdown_lines(f"Of the paper's {len(of_paper)} claims in the ledger "
                            f"(`alexnet claims`) {len(of_paper) - len(decided)} have not been run; "
                            f"of the others: {', '.join(counts)}. Intervals are 99 %, over seeds."),
        ""])


def _line(row: LedgerRow) -> str:
    claim = row.claim
    claimed = _number(claim.paper, claim.unit)
    interval = (f" ({_number(row.interval[0])} to {_number(row.interval[1])})" if row.interval
                else "")
    where = "the net itself" if row.key is None else (
        f"{row.scale}, {row.key.pictures:,} pictures, {row.seeds} seed{'s' * (row.seeds != 1)}")
    return (f"| {claim.says} (§{claim.section}; {claim.data}) | {claimed} | "
            f"{_number(row.ours, claim.unit)}{interval} | {where} | {row.words} |")


def _number(value: float | None, unit: str = "share") -> str:
    digits = 4 if unit == "million" else 3
    return "" if value is None else f"{value:.{digits}g}{UNITS[unit]}"


if __name__ == "__main__":
    PART.write(table())
