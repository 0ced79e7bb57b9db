"""Claimed beside obtained, in README.md: `python -m pipeline.studies.claims.table` writes it anew
from experiments/results.

The table has the claims that a reader looks for first, run or not, and every other claim of the
paper that has been run.
"""

from __future__ import annotations

from pathlib import Path

from alexnet.architectures import architecture
from alexnet.recipe import recipe
from pipeline.studies.claims.evidence import NOT_RUN, LedgerRow, row
from pipeline.studies.claims.ledger import Results, load
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

README = Path("README.md")
BEGIN, END = "<!-- made by python -m pipeline.studies.claims.table -->\n", "<!-- to here -->\n"
FIRST = ("one-net-top1", "one-net-top5", "relu-against-tanh", "two-columns-top1",
         "normalization-top1", "overlapping-pooling-top1", "ten-crops-top1", "dropout-iterations")
UNITS = {"points": " points", "percent": " %", "ratio": " times", "share": "", "nats": " nats"}


def table() -> str:
    """The table as Markdown, by the evidence that there is now, and how much of the ledger that
    is."""
    book = load()
    rows = {claim.name: [row(claim, Results(book, scale)) for scale in claim.scales]
            if claim.measure else [] for claim in book.claims if claim.section != "ours"}
    lines = ["| | claimed | obtained | on | verdict |", "|---|---|---|---|---|",
             "| parameters of the net (§3.5) | 60 million | "
             f"{architecture('two-column', recipe('source'), 1000).parameters:,} | the net itself "
             "| agrees |", "| a second run, as one process or two, killed and resumed or not | | "
                           "identical to the bit | CPUs, by the tests | |"]
    # in the ledger's order: "the same, top-5" stands below what it is the same as
    for name in rows:
        run = [one for one in rows[name] if one.verdict != NOT_RUN]
        claim = book.claim(name)
        if run or name in FIRST:
            head = f"| {claim.says} (§{claim.section}) | {_number(claim.paper, claim.unit)} | "
            lines += [head + _obtained(one) for one in run] or [head + "not yet run | | |"]
    done = sum(any(one.verdict != NOT_RUN for one in ones) for ones in rows.values())
    told = (f"Of the paper's {len(rows)} claims in the ledger (`alexnet claims`) {done} have been "
            "run so far")
    return "\n".join([*lines, "", told + ("; intervals are 95 %, over seeds." if done else "."),
                      ""])



def _obtained(one: LedgerRow) -> str:
    interval = (f" ({_number(one.interval[0])} to {_number(one.interval[1])})" if one.interval
                else "")
    seeds = f"{len(one.numbers)} seed{'s' * (len(one.numbers) != 1)}"
    note = f"; {one.note}" if one.note else ""
    return (f"{_number(one.ours, one.claim.unit)}{interval} | {one.scale}, {seeds} | "
            f"{one.verdict}{note} |")


def _number(value: float | None, unit: str = "share") -> str:
    return "" if value is None else f"{value:.3g}{UNITS[unit]}"


def written(readme: str) -> str:
    """The README's text with the table in its place.

    Raises:
        UserError: the text has no such place.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{README}: no place for the table; it is between {BEGIN.strip()} and "
                        f"{END.strip()}")
    return f"{before}{begin}{table()}{end}{after}"


def main() -> None:
    """Write README.md anew."""
    text = written(README.read_text(encoding="utf-8"))
    with atomic_write(README) as stream:
        stream.write(text.encode())


if __name__ == "__main__":
    main()
