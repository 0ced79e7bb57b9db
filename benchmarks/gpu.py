"""Does this GPU compute what it should, has portable arithmetic the same bits on it, how fast is
it?

    python -m benchmarks.gpu [--minutes 8] [--device cuda] [--output FOLDER] [--json]
                             [--only PHASE]
    python -m benchmarks.gpu --record

Needs PyTorch, NumPy and this folder; portable arithmetic a C compiler and Triton, too. Three
phases in the order of what they are worth: `right`, `portable`, `fast` (docs/gpu.md). Each is a
process with a time limit; each line that it finds is printed, and written to FOLDER/gpu.jsonl, at
once. One that fails, or whose time is up, costs itself: the next begins. Ends with 0 if all of them
came to their end and nothing was wrong.

`--device cpu` rehearses it all with small nets, some of the GPU's kernels in Triton's interpreter
where Triton is installed; its times say nothing. `--record` trains on the CPU and writes the
digests that `portable` compares with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("right", "portable", "fast")
SHARES = {"right": 0.25, "portable": 0.5}  # of the time that is left, at most; the last gets it all
WRONG = ("differs", "failed")


def commands(phases: Sequence[str], device: str) -> dict[str, list[str]]:
    """The process of each phase."""
    return {phase: [sys.executable, "-m", "benchmarks.gpu_" + phase, device] for phase in phases}


def conduct(processes: Mapping[str, Sequence[str]], seconds: float, output: Path | None,
            show: bool) -> list[dict[str, Any]]:
    """Run the phases, one after another, and return their rows.

    Args:
        processes: the command of each phase; it prints a JSON object a line.
        seconds: for all.
        output: folder in which gpu.jsonl gets each row as it comes.
        show: whether each row is printed, too.
    """
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        if output:
            output.mkdir(parents=True, exist_ok=True)
            with (output / "gpu.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if show:
            print(describe(row), flush=True)

    end = time.monotonic() + seconds
    for phase, command in processes.items():
        left = end - time.monotonic()
        limit = left * SHARES.get(phase, 1.0)
        start = time.monotonic()
        if limit < 1:
            add({"phase": phase, "what": "the phase", "verdict": "not compared",
                 "detail": "no time was left for it"})
            continue
        verdict, detail = _run(phase, command, limit, add)
        add({"phase": phase, "what": "the phase", "verdict": verdict, "detail": detail,
             "s": round(time.monotonic() - start, 1)})
    return rows


def _run(phase: str, command: Sequence[str], limit: float, add: Any) -> tuple[str, str]:
    """Run one phase; return what became of it, and why."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True,
                               env=os.environ | {"GPU_SECONDS": f"{limit:.0f}"})
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    readers = [threading.Thread(target=_read_rows, args=(process.stdout, lines), daemon=True),
               threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)]
    for reader in readers:
        reader.start()
    end = time.monotonic() + limit
    try:
        while (line := lines.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            if line.startswith("{"):
                add({"phase": phase} | json.loads(line))
        status = process.wait(max(1.0, end - time.monotonic()))
    except (queue.Empty, subprocess.TimeoutExpired):
        return "failed", f"its {limit:.0f} s were up"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        readers[1].join(2)
    if status == 0:
        return "done", ""
    last = next((line.strip() for line in reversed(errors) if line.strip()), "it said nothing")
    return "failed", f"status {status}: {last}"


def _read_rows(stream: Any, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def describe(row: Mapping[str, Any]) -> str:
    """A row of the table."""
    rest = [f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in row.items()
            if name not in ("phase", "what", "verdict", "detail") and value is not None]
    return (f"{row['phase']:9} {row['what']:58} {row.get('verdict', ''):13} {', '.join(rest)}"
            f"{'  ' + row['detail'] if row.get('detail') else ''}").rstrip()


def machine(device: str) -> dict[str, Any]:
    """What it ran on."""
    import numpy
    import torch

    gpu = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda,
           "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9,
           } if device == "cuda" else {}
    return gpu | {"device": device, "processor": platform.processor() or platform.machine(),
                  "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
                  "torch": torch.__version__, "numpy": numpy.__version__}


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The numbers that the phases call ratios, by name."""
    return {str(row["what"]): float(row["ratio"]) for row in rows if "ratio" in row}


def main() -> int:
    """Run the phases, or record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--output", type=Path, help="a folder for gpu.jsonl")
    parser.add_argument("--only", choices=PHASES, action="append", help="one phase; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON at the end, and no table")
    parser.add_argument("--record", action="store_true", help="write the digests, on the CPU")
    chosen = parser.parse_args()
    if chosen.record:
        from benchmarks import gpu_sample

        gpu_sample.record([gpu_sample.SAMPLE, gpu_sample.REHEARSAL])
        return 0
    here = machine(chosen.device)
    if not chosen.json:
        print(json.dumps(here), flush=True)
    phases = [phase for phase in PHASES if not chosen.only or phase in chosen.only]
    rows = conduct(commands(phases, chosen.device), chosen.minutes * 60, chosen.output,
                   not chosen.json)
    if chosen.json:
        print(json.dumps({"machine": here, "rows": rows, "ratios": ratios(rows)}, indent=2))
    ended = {row["phase"] for row in rows if row["what"] == "the phase"
             and row["verdict"] == "done"}
    return 0 if ended == set(phases) and not any(row.get("verdict") in WRONG
                                                 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
