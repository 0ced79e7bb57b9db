"""Measures how often the statistical gate errs: false alarms by resampling stored seeds, detection
by planted regressions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

from pipeline.studies.gate.decision import SEEDS, judged
from pipeline.studies.run_sets import Run, RunSet
from pipeline.system.errors import UserError
from pipeline.system.terminal import cell

SIZES = (1, 3, 5)  # of the sets of runs that are judged together
MOST = 2000  # sets tried of each size; all, where there are no more


def false_alarms(golden: RunSet) -> list[dict[str, Any]]:
    """Return, for each size k, the share of sets of k stored runs that the others call a fall.

    Returns:
        Rows {"what", "sample", "runs": k, "falls", "of": sets tried, "rate", "interval": 95 %, None
        unless k = 1}.

    Raises:
        UserError: too few stored runs.
    """
    rows = []
    for size in SIZES:
        if len(golden.runs) - size < SEEDS:
            continue
        sets = list(_sets(golden.runs, size))
        falls = sum(_falls([run for run in golden.runs if run not in chosen], chosen)
                    for chosen in sets)
        rows.append(_row("false alarms", golden.name, size, falls, len(sets)))
    if not rows:
        raise UserError(f"{golden.file}: {len(golden.runs)} runs, and false alarms are measured "
                        f"with {SEEDS + 1} or more")
    return rows


def detection(golden: RunSet, planted: RunSet) -> list[dict[str, Any]]:
    """Return, for each size k, the share of sets of k planted runs that are called a fall, in rows
    as of `false_alarms`."""
    rows = []
    for size in (size for size in SIZES if size <= len(planted.runs)):
        sets = list(_sets(planted.runs, size))
        falls = sum(_falls(golden.runs, chosen) for chosen in sets)
        rows.append(_row("detected", planted.name, size, falls, len(sets)))
    return rows


def _sets(runs: list[Run], size: int) -> Iterable[tuple[Run, ...]]:
    """Return all sets of so many runs, or MOST of them drawn with a fixed seed."""
    everything = list(itertools.combinations(runs, size))
    return everything if len(everything) <= MOST else random.Random(2012).sample(everything, MOST)


def _falls(stored: list[Run], new: Iterable[Run]) -> bool:
    return any(judgement.verdict == "falls" for judgement in judged(stored, list(new)))


def _row(what: str, sample: str, size: int, count: int, of: int) -> dict[str, Any]:
    from scipy.stats import binomtest

    # Sets of several runs share runs: they are not independent trials, and have no interval.
    interval = ([float(end) for end in binomtest(count, of).proportion_ci(0.95, "exact")]
                if size == 1 else None)
    return {"what": what, "sample": sample, "runs": size, "falls": count, "of": of,
            "rate": count / of, "interval": interval}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rates as a table."""
    from pipeline.system.tables import print_table, terminal_table

    table = terminal_table("what", "sample", "runs", "called a fall", "rate", "95 % interval")
    for row in rows:
        table.add_row(row["what"], cell(row["sample"]), str(row["runs"]),
                      f"{row['falls']} of {row['of']}", f"{row['rate']:.1%}",
                      "{:.1%} to {:.1%}".format(*row["interval"]) if row["interval"] else "")
    print_table(table)
