"""One stage, run by the real command in a project folder of its own, as an axis has it.

The folder holds `params.yaml`, and links to the inputs that the reference run left; the stage finds
no other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.parameters import Parameters
from pipeline.config.stages import BY_NAME
from pipeline.records.environment import LOCK, PACKAGES
from pipeline.studies.matrix.axes import SURROUNDINGS, Axis
from pipeline.system.files import write_json
from pipeline.system.processes import kill_with_children
from pipeline.system.project import CODE

# When a stage is killed: as soon as its folder has such a file. The others, which leave nothing
# half finished, are killed at half of the reference run's time.
MOMENTS = {"resize": ("work/resize/*/store/*", "work/resize/*/records/*.json"),
           "train": ("work/checkpoints/*/step-00000002.*", "work/checkpoints/*/step-00000004.*")}
SECONDS_BETWEEN_LOOKS = 0.004
LONGEST = 600.0  # seconds for one stage; it takes some five


class Failed(Exception):
    """The command failed; the message has its exit status and its last line."""


@dataclass(frozen=True)
class Project:
    """A folder in which stages run, with all that decides how.

    Attributes:
        folder: absolute.
        parameters: become its params.yaml.
        environment: all variables of the processes.
        program: the module that is run with the stage's name.
        one_core: whether the stage may use one core only.
    """

    folder: Path
    parameters: Parameters
    environment: Mapping[str, str]
    program: str = "pipeline.commands.main"
    one_core: bool = False

    def begin(self) -> None:
        """Make the folder anew, with nothing but params.yaml (as JSON, which is YAML too)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(self.folder / "params.yaml", self.parameters.model_dump(mode="json"))

    def link(self, stage: str, reference: Path) -> None:
        """Link the stage's inputs, as the reference run left them."""
        for name in BY_NAME[stage].inputs:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).symlink_to((reference / name).resolve())

    def start(self, stage: str) -> subprocess.Popen[bytes]:
        """Start the stage in a session of its own; its output goes to output.txt."""
        with (self.folder / "output.txt").open("ab") as output:
            child = subprocess.Popen([sys.executable, "-P", "-m", self.program, stage],
                                     cwd=self.folder, env=dict(self.environment),
                                     stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     start_new_session=True)
        if self.one_core:  # long before the stage counts its cores
            os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        return child

    def run(self, stage: str) -> None:
        """Run the stage to its end.

        Raises:
            Failed: it failed, or took longer than LONGEST.
        """
        child = self.start(stage)
        try:
            status = child.wait(LONGEST)
        except subprocess.TimeoutExpired:
            kill_with_children(child)
            raise Failed(f"it had not ended after {LONGEST:.0f} s") from None
        except BaseException:
            kill_with_children(child)
            raise
        if status:
            output = (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
            *_, last = output.splitlines() or ["no output"]
            raise Failed(f"exit status {status}: {last}")

    def run_killed(self, stage: str, seconds: float) -> int:
        """Start the stage, kill it at each of its moments, run it to its end.

        Returns:
            How often it was killed.
        """
        kills = sum(self._killed(stage, moment, seconds) for moment in MOMENTS.get(stage, ("",)))
        self.run(stage)
        return kills

    def _killed(self, stage: str, pattern: str, seconds: float) -> bool:
        """Start and kill the stage; return False if it had ended before that."""
        child, started = self.start(stage), time.monotonic()
        try:
            while child.poll() is None:
                if (any(self.folder.glob(pattern)) if pattern
                        else time.monotonic() - started > seconds):
                    break
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            alive = kill_with_children(child)
        return alive


def surroundings(code: Path) -> dict[str, str]:
    """Return the variables of a reference run: the user's, less those that would send its records
    to the user's store."""
    kept = {name: value
            for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    return kept | SURROUNDINGS | {"PYTHONPATH": str(code), "MLFLOW_DISABLE_TELEMETRY": "true"}


def variant(axis: Axis, stage: str, parameters: Parameters, folder: Path,
            elsewhere: Path) -> Project:
    """Return the project, not begun yet, in which the stage is to run as the axis has it.

    It lies in `folder`, or in the folder `elsewhere` where the axis moves it.
    """
    if axis.manner == "elsewhere":
        folder = elsewhere / "déjà vu, with spaces"
    return Project(folder / axis.name / stage, parameters,
                   surroundings(elsewhere / "clone" if axis.manner == "clone" else CODE)
                   | dict(axis.environment), "pipeline.commands.backwards" if axis.manner
                   == "backwards" else "pipeline.commands.main", axis.manner == "one core")


def clone_code(elsewhere: Path) -> None:
    """Copy the packages, with their data, to where the axis `clone` runs them."""
    for package in PACKAGES:
        shutil.copytree(CODE / package, elsewhere / "clone" / package,
                        ignore=shutil.ignore_patterns("__pycache__"))
    if LOCK.exists():
        shutil.copy2(LOCK, elsewhere / "clone")
