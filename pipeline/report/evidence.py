"""The paper's tables and claims with what this project has measured beside them, from
experiments/results.

`evidence()` yields the ledger's rows, and for the tables the errors of each configuration that a
row of them stands for. Nothing here is of the run that the page is about: that has a column of its
own.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.crops import suffix_of
from pipeline.report.figure_1 import exhibit
from pipeline.report.figures import Exhibit
from pipeline.studies.claims import evidence as ledgered
from pipeline.studies.claims.ledger import SCALES, Book, load
from pipeline.studies.claims.results import Results
from pipeline.studies.claims.verdicts import NOT_RUN
from pipeline.studies.gate import golden
from pipeline.studies.ports import table
from pipeline.studies.ports.table import PortRow
from pipeline.studies.run_sets import RunSet, in_folder


@dataclass(frozen=True)
class Errors:
    """Mean errors of a configuration's runs with ten crops, or nine, as fractions."""

    scale: str
    seeds: int
    top1: float
    top5: float


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's tables, errors in %; None where the paper has none. `log`: what the logs
    of 2012 have, or of ensembles and the runner-up the results page of the competition, for its
    test images."""

    model: str
    validation: tuple[float | None, float | None]
    test: tuple[float | None, float | None]
    log: tuple[float | None, float | None] = (None, None)
    configuration: str | None = None  # of experiments/claims.yaml, that stands for it
    this: bool = False  # what one run of the pipeline can be held against


NONE = (None, None)
TABLE_1 = (
    PaperRow("Sparse coding (others, before)", NONE, (47.1, 28.2)),
    PaperRow("SIFT + Fisher vectors (others, before)", NONE, (45.7, 25.7)),
    PaperRow("One CNN, this network", NONE, (37.5, 17.0), (37.473, 16.999), this=True),
)
TABLE_2 = (
    PaperRow("SIFT + Fisher vectors (the runner-up)", NONE, (None, 26.2), (None, 26.172)),
    PaperRow("One CNN, this network", (40.7, 18.2), NONE, (40.664, 18.210), "base", this=True),
    PaperRow("Five CNNs, averaged", (38.1, 16.4), (None, 16.4), (None, 16.422), "five-nets"),
    PaperRow("One CNN with a sixth convolution, pre-trained", (39.0, 16.6), NONE, (38.990, 16.622),
             "fine-tuned"),
    PaperRow("Seven CNNs, two of them pre-trained", (36.7, 15.4), (None, 15.3), (None, 15.315),
             "seven-nets"),
)


@dataclass(frozen=True)
class Evidence:
    """What this project has measured.

    Attributes:
        rows: of the ledger, those with runs at every scale, of the others one.
        errors: by configuration.
        figures: of claims on epochs (P Fig. 1).
        run_sets: every kept set of runs, of golden/ and experiments/results.
        ports: a row for each recipe, with what is published of it and what it scored here.
    """

    rows: list[ledgered.LedgerRow]
    errors: dict[str, list[Errors]]
    figures: list[Exhibit]
    run_sets: list[RunSet]
    ports: list[PortRow]

    @property
    def scales(self) -> list[str]:
        """The scales at which a row of the tables has been run."""
        return [scale for scale in SCALES
                if any(errors.scale == scale for kept in self.errors.values() for errors in kept)]

    def at(self, configuration: str | None, scale: str) -> Errors | None:
        """Return the errors of a configuration at a scale; None where it has not been run there."""
        return next((errors for errors in self.errors.get(configuration or "", [])
                     if errors.scale == scale), None)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger, as `alexnet claims --json` has them."""
        return [row.as_json() for row in self.rows]


def evidence() -> Evidence:
    """Return everything that this project has measured.

    Raises:
        UserError: a file of experiments/ or golden/ is missing or damaged; it is named.
    """
    book = load()
    results: dict[str, Results] = {scale: Results(book, scale) for scale in book.scales}
    rows: list[ledgered.LedgerRow] = []
    for claim in book.claims:
        of_claim = [row for place in claim.places
                    for row in ledgered.rows(claim, results.get(place))]
        rows += [row for row in of_claim if row.verdict != NOT_RUN] or of_claim[:1]
    names = [row.configuration for row in TABLE_2 if row.configuration]
    drawn = [exhibit(row.claim, results[row.scale].at(row.key)) for row in rows if row.key]
    return Evidence(rows, {name: _errors(book, results, name) for name in names},
                    [figure for figure in drawn if figure],
                    [each for folder in (golden.FOLDER, *(results[scale].folder for scale in
                                                          book.scales))
                     for each in in_folder(folder)], table.rows(book))


def _errors(book: Book, results: Mapping[str, Results], name: str) -> list[Errors]:
    """Return the mean errors of a configuration at each scale, on the most pictures there."""
    errors = []
    for scale in book.scales:
        by_key = [list(results[scale].at(key).runs(name).values())
                  for key in results[scale].evidence_keys()]
        if runs := next(filter(None, by_key), None):
            end = suffix_of(runs[0].metrics["evaluate"])
            top1, top5 = (statistics.fmean(run.number(f"evaluate.top{top}_error{end}")
                                           for run in runs) for top in (1, 5))
            errors.append(Errors(scale, len(runs), top1, top5))
    return errors
