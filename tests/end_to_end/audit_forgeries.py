"""Plants forgeries in records of tiny trainings and counts which an audit finds; and audits as many
honest records, of which it must accuse none.

    python -m tests.end_to_end.audit_forgeries [--forgeries 100] [--honest 100] [--seed 1]

Half of the forgeries are by somebody who computes the chain and every digest anew. Each is audited
in full, then by K random intervals with several seeds; what is caught so is set beside the
hypergeometric probability, from the number of intervals that differ. Prints the table in
docs/reruns.md; takes some minutes.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.studies.rerun.audit import AuditResult
from tests.end_to_end import forgeries
from tests.end_to_end.forgeries import Draft, Workshop
from tests.end_to_end.project import Project

INTERVALS = 3  # that are trained again, of ten, besides the last one
SEEDS = 3  # choices of them for each forgery


@dataclass
class Row:
    """What became of the forgeries of a kind: planted, caught in full, and by K intervals in how
    many tries, beside the expected number."""

    planted: int = 0
    full: int = 0
    tries: int = 0
    caught: int = 0
    expected: float = 0.0


def main() -> None:
    """Plant, audit, count, print; exit with 1 where a full audit misses one or accuses an honest
    record."""
    options = argparse.ArgumentParser()
    for name, default in (("forgeries", 100), ("honest", 100), ("seed", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workshop = begun(Path(folder) / "project")
        with forgeries.in_folder(workshop.project), forgeries.in_this_process():
            accused = sum(not audit_honest(workshop, number)
                          for number in range(arguments.honest))
            rows: dict[tuple[str, bool], Row] = {}
            seeds = itertools.count(arguments.seed)
            for kind, draft in itertools.islice(planted(workshop, arguments.seed),
                                                arguments.forgeries):
                count(workshop, draft, [next(seeds) for _ in range(SEEDS)],
                      rows.setdefault((kind, draft.thorough), Row()))
    print(f"honest records: {arguments.honest}, accused: {accused}")
    show(rows)
    sys.exit(bool(accused) or any(row.full < row.planted for row in rows.values()))


def begun(folder: Path) -> Workshop:
    """A project with its data, and the record of a training in it."""
    folder.mkdir()
    project = Project(folder)
    project.set(**forgeries.TINY)
    for stage in ("download", "resize", "mean", "pca", "train"):
        project.run("alexnet", stage)
    project.run("alexnet", "export", "latest", "base")
    return Workshop(folder, folder / "base")


def audit_honest(workshop: Workshop, number: int) -> bool:
    """Whether an audit of an honest record holds."""
    draft = workshop.train("honest", 1000 + number)
    draft.write()
    return workshop.audited(draft.folder).verdict == "holds"


def planted(workshop: Workshop, seed: int) -> Iterator[tuple[str, Draft]]:
    """Forgeries without end, by turns of a forger who is not thorough and of one who is."""
    place = random.Random(seed)
    honest, other = workshop.train("first", 1), workshop.train("second", 2)
    in_records = itertools.cycle(itertools.product(forgeries.IN_RECORDS.items(), (True,)))
    naive = itertools.cycle(forgeries.IN_RECORDS.items())
    trainings = itertools.cycle(forgeries.IN_TRAININGS.items())
    for number in itertools.count():
        if number % 4 == 3:
            kind, (change, back) = next(trainings)
            step = 2 * place.randrange(4, 24)
            draft = workshop.train(f"forged-{number}", 1, {
                step: change, **({step + 2: back} if back else {})})
            draft.thorough = True
        else:
            kind, forge = next(in_records)[0] if number % 4 == 1 else next(naive)
            draft = copy.deepcopy(honest)
            draft.folder = workshop.scratch / f"forged-{number}"
            forgeries.copy_files(honest.folder, draft.folder)
            draft.thorough, draft.at = number % 4 == 1, random.Random(place.random())
            forge(draft, other)
        draft.write()
        yield kind, draft


def count(workshop: Workshop, draft: Draft, seeds: list[int], row: Row) -> None:
    """Audit a forgery in full, then by intervals."""
    row.planted += 1
    row.full += workshop.audited(draft.folder).verdict == "fails"
    several = [workshop.audited(draft.folder, count=INTERVALS, seed=seed) for seed in seeds]
    row.tries += SEEDS
    row.caught += sum(result.verdict == "fails" for result in several)
    row.expected += SEEDS * probability(workshop, draft, several[0])


def probability(workshop: Workshop, draft: Draft, result: AuditResult) -> float:
    """The probability that a choice of intervals catches it: one where the record contradicts
    itself, or the last interval or the evaluation differs, which are always looked at."""
    if any(check.verdict == "differs" for check in result.checks):
        return 1.0
    steps = [0, *sorted(draft.states), draft.trace[-1]["step"]]
    differing = workshop.differing(draft.folder, [*itertools.pairwise(steps)])
    if differing.pop() or result.checks[-1].verdict == "differs":
        return 1.0
    return 1.0 - miss(len(differing), sum(differing), INTERVALS)


def miss(intervals: int, forged: int, chosen: int) -> float:
    """The probability that none of the chosen intervals is one of the forged ones."""
    return math.comb(intervals - forged, chosen) / math.comb(intervals, chosen)


def show(rows: dict[tuple[str, bool], Row]) -> None:
    """Print the table, in Markdown."""
    print(f"| forged | chain | planted | found in full | found by {INTERVALS} intervals | "
          "expected |\n|---|---|---|---|---|---|")
    for (kind, thorough), row in sorted(rows.items(), key=lambda item: (item[0][1], item[0][0])):
        print(f"| {kind} | {'computed anew' if thorough else 'as it was'} | {row.planted} | "
              f"{row.full} | {row.caught} of {row.tries} | {row.expected:.1f} |")
    print(f"| all | | {sum(row.planted for row in rows.values())} | "
          f"{sum(row.full for row in rows.values())} | "
          f"{sum(row.caught for row in rows.values())} of "
          f"{sum(row.tries for row in rows.values())} | "
          f"{sum(row.expected for row in rows.values()):.1f} |")


if __name__ == "__main__":
    started = time.monotonic()
    try:
        main()
    finally:
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
