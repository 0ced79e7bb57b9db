"""What tracing costs the training of the full net: updates with an entry of the trace begun after
each, and without.

    python -m benchmarks.trace [--json] [--batch N] [--every N] [--rounds N]

An entry holds SHA-256 digests of all weights, velocities and gradients, 732 MB at full width. Its
copies are made between two updates, its digests while the next one is computed; both are in the
seconds of "traced". The share is what an entry costs, over what `--every` updates take.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import click
import torch

from benchmarks.harness import interleaved, report
from benchmarks.step import our_training
from pipeline.system.processes import keep_freed_memory


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--batch", default=128, show_default=True)
@click.option("--every", default=50, show_default=True, help="Updates between two entries.")
@click.option("--rounds", default=5, show_default=True)
def main(as_json: bool, batch: int, every: int, rounds: int) -> None:
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    training = our_training(batch, width=1.0, split=False)
    training.advance()

    def traced() -> None:
        pending = training.trace()
        training.advance()
        pending.entry()

    seconds = interleaved({"an update": training.advance, "an update, traced": traced}, rounds)
    plain = statistics.median(seconds["an update"])
    cost = statistics.median(b - a for a, b in zip(*seconds.values(), strict=True))
    rows: list[dict[str, Any]] = [{"what": name, "s": statistics.median(times),
                                   "lowest s": min(times)} for name, times in seconds.items()]
    report(rows,
           {f"share of the training time, an entry every {every} updates": cost / (every * plain)},
           cores, as_json)


if __name__ == "__main__":
    main()
