"""The reference run, then every stage of every axis beside it; yields one `Row` for each axis and
stage."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config.parameters import Parameters
from pipeline.records.environment import cores
from pipeline.studies.matrix.axes import STAGES, Axis
from pipeline.studies.matrix.comparison import difference
from pipeline.studies.matrix.variant import Failed, Project, clone_code, surroundings, variant
from pipeline.system.errors import UserError
from pipeline.system.processes import kill_children
from pipeline.system.project import CODE
from pipeline.system.terminal import progress
from pipeline.training.execution import resolve

MOST_AT_ONCE = 8
TRIES = 3  # a stage may be done before it can be killed


@dataclass(frozen=True)
class Row:
    """The verdict on one stage along one axis."""

    axis: str
    stage: str
    verdict: Literal["identical", "differs", "skipped"]
    required: bool
    detail: str

    @property
    def fails(self) -> bool:
        """Whether an axis differs that must not."""
        return self.required and self.verdict == "differs"


def run(parameters: Parameters, axes: Sequence[Axis], required: Sequence[str],
        folder: Path) -> list[Row]:
    """One row for each of the axes and each stage, in order; `folder` is emptied and used.

    Raises:
        UserError: the reference run fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    jobs = [(axis, stage) for axis in axes for stage in axis.stages]
    jobs.sort(key=lambda job: job[0].manner != "killed")  # the longest first
    needed = ("download",
              *STAGES[: 1 + max((STAGES.index(stage) for _, stage in jobs), default=-1)])
    found: dict[tuple[str, str], Row] = {}
    with (tempfile.TemporaryDirectory(prefix="alexnet-matrix-") as elsewhere,
          progress("matrix", len(needed) + len(jobs), "stages") as told):
        clone_code(Path(elsewhere))
        reference = Project((folder / "reference").resolve(), parameters, surroundings(CODE))
        seconds = {}
        for stage, taken in _reference(reference, needed):
            seconds[stage] = taken
            told(1, f"the reference run's {stage}")
        pool = ThreadPoolExecutor(min(cores(), MOST_AT_ONCE))
        try:
            futures = [pool.submit(_row, axis, stage, parameters, axis.name in required,
                                   reference.folder, Path(elsewhere), seconds[stage])
                       for axis, stage in jobs]
            for future in as_completed(futures):
                row = future.result()
                found[row.axis, row.stage] = row
                told(1, f"{row.axis}, {row.stage}: {row.verdict}")
        except BaseException:  # Ctrl-C does not reach the children, each in a session of its own
            pool.shutdown(wait=False, cancel_futures=True)
            kill_children(os.getpid(), itself=False)
            raise
        finally:
            pool.shutdown()
    return [found.get((axis.name, stage)) or Row(axis.name, stage, "skipped", axis.name in required,
                                                 "not run: the axis does not reach this stage")
            for axis in axes for stage in STAGES]


def _reference(project: Project, stages: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Run the stages; yields each, done, with the seconds it took."""
    project.begin()
    for stage in stages:
        started = time.monotonic()
        try:
            project.run(stage)
        except Failed as error:
            raise UserError(f"matrix: the reference run's {stage} failed: {error}. All that it "
                            f"said is in {project.folder / 'output.txt'}") from None
        yield stage, time.monotonic() - started


def _row(axis: Axis, stage: str, parameters: Parameters, required: bool, reference: Path,
         elsewhere: Path, seconds: float) -> Row:
    """Run the stage as the axis has it, and compare. A command that fails is a difference."""
    execution = parameters.execution.model_copy(update=dict(axis.execution(parameters.execution)))
    parameters = parameters.model_copy(update={"execution": execution})
    kept = reference.parent / axis.name / stage
    project = variant(axis, stage, parameters, reference.parent, elsewhere)
    try:
        if stage in ("train", "evaluate"):
            resolve(parameters)
        detail = _detail(axis, stage, project, reference, seconds)
        found = difference(stage, reference, project.folder)
    except (UserError, NotKilled) as reason:
        return Row(axis.name, stage, "skipped", required, str(reason))
    except (Failed, OSError, ValueError) as error:
        found = str(error)
    if found is None:
        shutil.rmtree(project.folder)
        with contextlib.suppress(OSError):  # the folder of the axis holds another stage
            project.folder.parent.rmdir()
        return Row(axis.name, stage, "identical", required, detail)
    if project.folder != kept:
        shutil.copytree(project.folder, kept, symlinks=True)
    return Row(axis.name, stage, "differs", required, found)


class NotKilled(Exception):
    """The stage was done, each time, before it could be killed."""


def _detail(axis: Axis, stage: str, project: Project, reference: Path, seconds: float) -> str:
    """Run the stage; returns what is to be told of it."""
    for _ in range(TRIES if axis.manner == "killed" else 1):
        project.begin()
        project.link(stage, reference)
        if axis.manner != "killed":
            project.run(stage)
            return axis.told
        kills = project.run_killed(stage, seconds / 2)
        if kills:
            return f"{axis.told}, {kills} time{'s' * (kills > 1)}"
    raise NotKilled("it was done before it could be killed")
