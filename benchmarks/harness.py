"""What the benchmarks share: interleaved timing, the machine's description, output as a table or
JSON.

Machines are noisy and drift. So all contenders take turns, round after round, and a ratio is the
median of the rounds' own ratios: what slows one round slows both its sides.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.arithmetic.library import built as library_of

if TYPE_CHECKING:
    import torch

    from alexnet.layers import Architecture

ROUNDS = 10_000_000
FMA_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")


def interleaved(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after one round that does not count."""
    for contender in contenders.values():
        contender()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> float:
    """How many times as long the first took: the median over rounds."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second in products of large float32 matrices: the best of
    several."""
    import torch

    size = 2048 if device.type == "cpu" else 8192
    a = torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * len(a) ** 3 / best


def fma_rate(threads: int) -> float:
    """Floating-point operations a second of so many threads that do nothing but fused multiply-adds
    in registers: no product of matrices is faster. The best of several."""
    library = ctypes.CDLL(str(library_of(FMA_FLAGS, [Path(__file__).with_name("fma_rate.c")])))
    library.fma_rounds.argtypes = [ctypes.c_long, ctypes.c_void_p]

    def one(_: int) -> int:
        done: int = library.fma_rounds(ROUNDS, ctypes.byref(ctypes.c_float()))
        return done

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(6):
            start = time.perf_counter()
            done = sum(pool.map(one, range(threads)))
            best = max(best, 2.0 * ROUNDS * done / (time.perf_counter() - start))
    return best


def training_macs(table: Architecture) -> int:
    """Multiply-adds of an image in training: forward, for the weights, for the inputs of all but
    the first layer."""
    first = table.shapes()[0]
    return 3 * table.macs - first.macs * table.held_by(first.layer)


def machine(threads: int) -> dict[str, str]:
    """What it ran on."""
    from pipeline.records.environment import fingerprint

    return fingerprint() | {"benchmark_threads": str(threads)}


def report(rows: list[dict[str, Any]], ratios: dict[str, float], threads: int,
           as_json: bool) -> None:
    """Print `{"machine", "rows", "ratios"}` as JSON, or tables."""
    told = machine(threads)
    if as_json:
        print(json.dumps({"machine": told, "rows": rows, "ratios": ratios}, indent=2))
        return
    from rich.console import Console

    from pipeline.system.tables import print_table, terminal_table

    console = Console(highlight=False)
    console.print(", ".join(told[name] for name in ("cpu", "gpu", "torch") if name in told),
                  f"threads {threads}")
    table = terminal_table(*rows[0])
    for row in rows:
        table.add_row(*(_told(value) for value in row.values()))
    print_table(table, console)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.4g}")


def _told(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
