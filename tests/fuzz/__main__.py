"""The long run: `python -m tests.fuzz --inputs 10000 --seed 1`, of all readers or of one (`--reader
tar`).

Each reader runs in a process of its own, so that one that crashes it is told, too. What fails is
kept in the corpus, under a name that begins with failed-, and tried again by every run of the tests
from then on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import mmap
import os
import sys
import time
from collections import Counter

STEP = 500  # inputs between two lines


def main() -> int:
    from tests.fuzz.readers import READERS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--reader", choices=sorted(READERS), action="append", help="[default: all]")
    parser.add_argument("--inputs", type=int, default=10_000,
                        help="mutated inputs a reader  [default: 10000]")
    parser.add_argument("--seed", type=int, default=1, help="[default: 1]")
    told = parser.parse_args()
    return max([_of_one(reader, told.inputs, told.seed) for reader in told.reader or READERS])


def _of_one(reader: str, inputs: int, seed: int) -> int:
    """Prints a line of counts; 1 if an input failed."""
    place = mmap.mmap(-1, 8)  # shared with the child: the input at hand
    child = os.fork()
    if not child:
        os._exit(_child(reader, inputs, seed, place))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 1):
        from tests.fuzz import harness

        number = int.from_bytes(place, "little")
        failure = harness.Failure(reader, *harness.input_number(reader, seed, number),
                                  f"ended with status {status}")
        _keep(failure, number)
    return int(status != 0)


def _child(reader: str, inputs: int, seed: int, place: mmap.mmap) -> int:
    from tests.fuzz import harness

    counts: Counter[str] = Counter()
    start, number = time.monotonic(), 0

    def numbers() -> itertools.chain[int]:
        nonlocal number
        for number in range(inputs):
            place[:] = number.to_bytes(8, "little")
            if number and number % STEP == 0 and sys.stderr.isatty():
                print(f"{reader}: {number} of {inputs}, {number / (time.monotonic() - start):.0f} "
                      "a second", file=sys.stderr, end="\r")
            yield number

    try:
        counts = harness.run(reader, seed, numbers())
    except harness.Failure as failure:
        _keep(failure, number)
        return 1
    print(f"{reader}: {inputs} inputs, seed {seed}: {json.dumps(dict(sorted(counts.items())))}, "
          f"{time.monotonic() - start:.0f} s", flush=True)
    return 0


def _keep(failure: object, number: int) -> None:
    failure.file.write_bytes(failure.content)  # type: ignore[attr-defined]
    print(f"FAILED, input {number}: {failure}; kept in {failure.file}",
          flush=True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
