"""Real commands in processes of their own, and the invariant that holds after every fault.

A command is started from nothing with `--long`. Without, it is forked (tests.loaded); what it
starts itself (workers, training processes) is not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import psutil

from pipeline.config.paths import PROVENANCE
from pipeline.system.processes import kill_children
from tests.loaded import LONG, ROOT, alexnet, forked, limited

LEFT = ("data", "metrics", "models", "plots", "report")  # all that the stages leave
SECONDS = 400.0  # to reach a point, on a machine that has much else to do


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit status, negative where a signal ended it, and what it
    said."""

    status: int
    said: str

    def refused(self, *words: str) -> Ran:
        """It failed, as a command should that cannot go on: status 1, these words, no traceback."""
        assert self.status == 1, f"status {self.status}: {self.said}"
        return self.says("error: ", *words)

    def stopped_by(self, number: int) -> Ran:
        """It ended as a command should that a signal reaches."""
        assert self.status == 128 + number, f"status {self.status}: {self.said}"
        return self.says("interrupted; the same command goes on")

    def done(self, *words: str) -> Ran:
        assert self.status == 0, f"status {self.status}: {self.said}"
        return self.says(*words)

    def says(self, *words: str) -> Ran:
        for word in words:
            assert word in self.said, f"{word!r} is not in: {self.said}"
        assert "Traceback" not in self.said, self.said
        return self


class Running:
    """A command at work."""

    def __init__(self, folder: Path, process: Any, output: Path) -> None:
        self._folder, self._process, self._output = folder, process, output
        self.pid: int = process.pid

    @property
    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait until it holds, while the command is at work; returns what the condition gave."""
        latest = time.monotonic() + seconds
        while not (found := condition()):
            assert self._ended() is None, f"it ended before: {self.said}"
            assert time.monotonic() < latest, f"not within {seconds} s: {self.said}"
            time.sleep(0.01)
        return found

    def children(self, of: str) -> list[psutil.Process]:
        """Its descendants with this in their command line, in the order in which they were
        started."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid).children(recursive=True)
            return sorted((one for one in found if of in " ".join(one.cmdline())),
                          key=lambda one: one.pid)
        return []

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, seconds: float = SECONDS) -> Ran:
        """Wait for its end; nothing that it started is left then."""
        latest = time.monotonic() + seconds
        while (status := self._ended()) is None:
            assert time.monotonic() < latest, f"not ended within {seconds} s: {self.said}"
            time.sleep(0.02)
        latest = time.monotonic() + 5
        while left := [one for one in psutil.process_iter() if _session(one.pid) == self.pid]:
            assert time.monotonic() < latest, f"left running: {[_command(one) for one in left]}"
            time.sleep(0.1)
        return Ran(status, self.said)

    def kill(self) -> None:
        if self._ended() is None:
            kill_children(self.pid)
            self.end()

    def _ended(self) -> int | None:
        found: int | None = (self._process.poll() if isinstance(self._process, subprocess.Popen)
                             else self._process.exitcode)
        return found


class Bench:
    """A folder with what the pipeline left for a tiny sample, in which commands are run and things
    go wrong; and with an MLflow store that has no runs yet."""

    def __init__(self, finished: Path, store: Path, folder: Path) -> None:
        self.folder = folder
        self._running: list[Running] = []
        for name in ("params.yaml", "experiments/claims.yaml"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(finished / name, folder / name)
        shutil.copy(store, folder / "mlflow.db")
        for name in LEFT:
            shutil.copytree(finished / name, folder / name)
        for path in folder.rglob("*"):  # DVC's links are read-only
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.right = self.outcome()  # what a run that nothing disturbs leaves

    def start(self, *command: str, before: Sequence[str] = (),
              limits: Sequence[tuple[int, int]] = (), **variables: str) -> Running:
        """Begin `alexnet COMMAND`; or `BEFORE... alexnet COMMAND`, from nothing.

        Args:
            command: arguments.
            before: a program that runs the command, and its arguments.
            limits: resources of the process and their limits, as (resource.RLIMIT_FSIZE, 1000).
            variables: of its environment.
        """
        output = self.folder / f"said-{len(self._running)}.txt"
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("MLFLOW_", "DVC_", "GIT_", "PYTEST_"))}
        environment |= ({"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
                         "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
                        | variables)
        process: Any
        with output.open("w") as stream:
            if before or LONG in os.environ or "PYTHONPATH" in variables:
                alone = (sys.executable, "-P", "-m", "pipeline.commands.main")  # in no project
                process = subprocess.Popen([*before, *alone, *command],
                                           cwd=self.folder, env=environment, stdout=stream,
                                           stderr=subprocess.STDOUT, start_new_session=True,
                                           preexec_fn=lambda: limited(limits))
            else:
                streams = [reduction.DupFd(stream.fileno())
                           for _ in range(2)]  # type: ignore[no-untyped-call]
                process = forked(alexnet, ["pipeline.commands.main", *command], self.folder,
                                 environment, streams, limits)
        self._running.append(Running(self.folder, process, output))
        return self._running[-1]

    def run(self, *command: str, **options: Any) -> Ran:
        return self.start(*command, **options).end()

    def close(self) -> None:
        """Nothing that was started here goes on."""
        for one in self._running:
            one.kill()

    def remove(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def outcome(self) -> dict[str, str]:
        """The SHA-256 of every file that the stages left, but the one that names the commit: here
        is no repository."""
        files = [file for name in LEFT for file in (self.folder / name).rglob("*")
                 if file.is_file() and file.name != PROVENANCE.name]
        return {file.relative_to(self.folder).as_posix(): hashlib.sha256(file.read_bytes())
                .hexdigest() for file in files}

    def wrong(self) -> list[str]:
        """Files under an artefact's name that are not that artefact. Half-written ones have names
        of their own."""
        return sorted(name for name, digest in self.outcome().items()
                      if self.right.get(name) != digest and not name.endswith(".part"))

    def assert_right(self, *names: str) -> None:
        """All that the stages leave under these names is there, and is what it is without a
        fault."""
        assert self.made(*names) == {name: digest for name, digest in self.right.items()
                                     if name.startswith(names)}

    def made(self, *names: str) -> dict[str, str]:
        """Of the outcome, what lies under these names."""
        return {name: digest for name, digest in self.outcome().items() if name.startswith(names)}

    def flip(self, name: str, where: float, bit: int = 0) -> str:
        """Flip one bit of the file `name`, at this part of its length; returns the file's name."""
        file = self.folder / name
        content = bytearray(file.read_bytes())
        content[min(int(where * len(content)), len(content) - 1)] ^= 1 << bit
        file.write_bytes(bytes(content))
        return name

    def step(self) -> int:
        """Of the newest checkpoint; 0 if there is none."""
        found = self.checkpoints()
        return int(found[-1].stem.removeprefix("step-")) if found else 0

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("work/checkpoints/*/step-*.safetensors"))


def make_store(file: Path) -> None:
    """In a forked process: the tables of an MLflow store, which take it longer than most
    commands."""
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{file}").search_experiments()


def _session(process: int) -> int:
    """Of which process it is the session; each command has one of its own."""
    with suppress(OSError):
        return os.getsid(process)
    return 0


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "ended"
