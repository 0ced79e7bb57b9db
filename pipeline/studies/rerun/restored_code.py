"""The ways into code of another day: what a rerun starts of the code that a record holds.

A record names the interface of its code (`pipeline.system.project.INTERFACE`), which is one door,
`python -m pipeline`. Records from before there was one name none; their modules have the old names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.system import project
from pipeline.system.errors import UserError

OLD_FINGERPRINT = """
import json
from pipeline import environment
print(json.dumps({"code": str(environment.ROOT), "fingerprint": environment.fingerprint()}))
"""
OLD_STAGE = """
import sys, pathlib, importlib
from pipeline import errors, parameters
try:
    stage = importlib.import_module("pipeline.stages." + sys.argv[1])
    stage.run(parameters.load(pathlib.Path("params.yaml")))
except errors.UserError as error:
    sys.exit(f"error: {error}")
"""


@dataclass(frozen=True)
class RestoredCode:
    """The packages in `folder`, and how they are started.

    Attributes:
        folder: absolute; holds alexnet/ and pipeline/.
        interface: as the record names it; None where it names none.

    Raises:
        UserError: this program does not know that interface.
    """

    folder: Path
    interface: str | None = project.INTERFACE

    def __post_init__(self) -> None:
        if self.interface not in (None, project.INTERFACE):
            raise UserError(
                f"the recorded code has interface {self.interface}, and this program knows "
                f"{project.INTERFACE}: rerun it with the version of the project that recorded it, "
                "or a newer one")

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return these variables for a process that runs this code."""
        return project.environment(self.folder, variables)

    def train(self) -> list[str]:
        """Return the command of a training process, less its arguments FOLDER [STOP]."""
        if self.interface:
            return project.python("train")
        return [sys.executable, "-P", "-m", "pipeline.training_process"]

    def stage(self, name: str) -> list[str]:
        """Return the command that runs a stage by the params.yaml of its current folder."""
        if self.interface:
            return project.python("stage", name)
        return [sys.executable, "-P", "-c", OLD_STAGE, name]

    def fingerprint(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the fingerprint of this machine, in the terms of the restored code.

        Raises:
            UserError: the code does not run here, or Python takes it from elsewhere.
        """
        command = project.python("fingerprint") if self.interface \
            else [sys.executable, "-P", "-c", OLD_FINGERPRINT]
        done = subprocess.run(command, cwd=self.folder.parent, env=self.environment(variables),
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError("the recorded code does not run here: "
                            f"{done.stderr.strip().splitlines()[-1:]}")
        answer = json.loads(done.stdout.splitlines()[-1])
        if Path(answer["code"]).resolve() != self.folder:
            raise UserError(f"Python takes the code from {answer['code']}, not from the restored "
                            f"{self.folder}; is a sitecustomize in the way?")
        return dict(answer["fingerprint"])
