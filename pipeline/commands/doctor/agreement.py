"""Do two processes reach each other, and do two runs agree? Tried in processes of their own, while
other checks run."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.commands.doctor.finding import Finding, ok, size
from pipeline.config.parameters import Parameters
from pipeline.records.differences import compare_traces
from pipeline.system import project
from pipeline.system.files import write_json
from pipeline.system.processes import die_with_parent

SECONDS = 200  # for both to start, to meet and to take their steps


class Pair:
    """The two processes; `exchange` and `steps` wait for them. A context, so that none is left
    behind."""

    def __init__(self, parameters: Parameters) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="alexnet-doctor-"))
        self._latest = time.monotonic() + SECONDS
        self._started: list[subprocess.Popen[bytes]] = []
        write_json(self._folder / "parameters.json", parameters.model_dump(mode="json"))

    def __enter__(self) -> Pair:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        # What PyTorch's launcher tells its processes; without it a third import of PyTorch is
        # saved.
        variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        for rank in range(2):
            with (self._folder / f"{rank}.log").open("wb") as log:
                self._started.append(subprocess.Popen(
                    [sys.executable, "-P", "-m", "pipeline.commands.doctor.two_processes",
                     str(self._folder)], stdout=log, stderr=log,
                    env=project.environment() | variables | {
                        "RANK": str(rank), "LOCAL_RANK": str(rank)}, preexec_fn=die_with_parent))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder)

    def exchange(self, parameters: Parameters) -> Finding:
        """Check that two processes of this machine send each other numbers, as the two columns
        do."""
        results = [self._left(f"exchange-{rank}.json") for rank in range(2)]
        fix = ("see that localhost and this machine's own name resolve (/etc/hosts), that no "
                "firewall closes loopback ports, and unset GLOO_SOCKET_IFNAME and NCCL_*; or set "
                "execution.placement to one")
        if not all(results):
            return Finding("fails", f"two processes do not reach each other: {self._said()}", fix)
        if not all(result["right"] for result in results):
            return Finding("fails", "what one process sent is not what the other received", fix)
        rate = max(result["bytes"] / result["seconds"] for result in results)
        return ok(f"{results[0]['backend']}: two processes exchange {size(rate)} a second each way")

    def steps(self, parameters: Parameters) -> Finding:
        """Check that two updates of a tiny net are equal to the bit, repeated in one process and
        made by two."""
        traces = self._left("traces.json")
        if not traces:
            return Finding("fails", f"the tiny training did not end: {self._said()}",
                           "fix what it says; `alexnet --debug train` says more")
        return agreement(traces)

    def _left(self, name: str) -> Any:
        """Return the content of a file that a process writes, once it is there; None when it will
        not come."""
        file = self._folder / name
        while not file.exists():
            if (time.monotonic() > self._latest
                    or all(process.poll() is not None for process in self._started)):
                break
            if any(process.poll() for process in self._started):
                self._latest = min(self._latest, time.monotonic() + 1)  # the other waits in vain
            time.sleep(0.02)
        return json.loads(file.read_text()) if file.exists() else None

    def _said(self) -> str:
        """Return the last line of the process that gave up first, or say that there was no
        answer."""
        for rank, process in enumerate(self._started):
            lines = (self._folder / f"{rank}.log").read_text(errors="replace").split("\n")
            errors = [line for line in lines if line and not line.startswith((" ", "["))]
            if process.poll() and errors:
                return errors[-1][:300]
        return f"no answer within {SECONDS} s"


def agreement(traces: dict[str, list[dict[str, Any]]]) -> Finding:
    """Return whether the traces are one trace, and the first step and tensor at which one is
    not."""
    reference = traces["one process"]
    for name in ("the same again", "two processes"):
        if name not in traces:
            continue
        comparison = compare_traces(reference, traces[name])
        if comparison.first:
            return Finding("fails", f"{name} and one process part at {comparison.first}",
                           "see determinism above; `alexnet matrix` says what changes the bits")
    both = "in one process and as two" if "two processes" in traces else "in one process"
    return ok(f"{len(reference)} updates, repeated {both}: equal to the bit")
