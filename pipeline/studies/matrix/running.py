"""Runs the reference run, then every stage of every axis beside it; `run` returns a `Cell` for each
axis and stage that the axis reaches."""

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

from pipeline.config.parameters import Parameters
from pipeline.config.stages import MEASURED
from pipeline.records.environment import cores
from pipeline.studies.matrix.axes import Axis
from pipeline.studies.matrix.comparison import NothingToCompare, difference
from pipeline.studies.matrix.variant import Failed, Project, clone_code, surroundings, variant
from pipeline.system.errors import UserError
from pipeline.system.processes import kill_children
from pipeline.system.project import CODE
from pipeline.system.terminal import progress
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict
from pipeline.training.execution import resolve

MOST_AT_ONCE = 8
TRIES = 3  # a stage may have ended before it can be killed


@dataclass(frozen=True)
class Cell:
    """The verdict on one stage along one axis.

    Attributes:
        axis, stage: names of both.
        verdict: on the bits that the stage left, against those of the reference run.
        required: whether the axis must be identical.
        detail: the first difference; or why nothing was compared; or what the axis changed.
    """

    axis: str
    stage: str
    verdict: Verdict
    required: bool
    detail: str

    @property
    def fails(self) -> bool:
        """True where an axis differs that must not."""
        return self.required and self.verdict == DIFFERS


def run(parameters: Parameters, axes: Sequence[Axis], required: Sequence[str],
        folder: Path) -> list[Cell]:
    """Return a cell for each axis and each stage that it reaches, in order.

    Args:
        parameters: of the workload.
        axes: what is changed, one at a time.
        required: names of axes that must be identical.
        folder: is emptied and used.

    Raises:
        UserError: the reference run fails, or the axes reach no stage.
    """
    shutil.rmtree(folder, ignore_errors=True)
    jobs = [(axis, stage) for axis in axes for stage in axis.reached(parameters)]
    if not jobs:
        raise UserError(f"matrix: {', '.join(axis.name for axis in axes) or 'no axis'}: reaches no "
                        f"stage by train.arithmetic {parameters.train.arithmetic}")
    jobs.sort(key=lambda job: job[0].manner != "killed")  # the longest first
    needed = ("download",
              *MEASURED[: 1 + max((MEASURED.index(stage) for _, stage in jobs), default=-1)])
    cells: dict[tuple[str, str], Cell] = {}
    with (tempfile.TemporaryDirectory(prefix="alexnet-matrix-") as elsewhere,
          progress("matrix", len(needed) + len(jobs), "stages") as advance):
        clone_code(Path(elsewhere))
        reference = Project((folder / "reference").resolve(), parameters, surroundings(CODE))
        seconds = {}
        for stage, taken in _reference(reference, needed):
            seconds[stage] = taken
            advance(1, f"the reference run's {stage}")
        pool = ThreadPoolExecutor(min(cores(), MOST_AT_ONCE))
        try:
            futures = [pool.submit(_cell, axis, stage, parameters, axis.name in required,
                                   reference.folder, Path(elsewhere), seconds[stage])
                       for axis, stage in jobs]
            for future in as_completed(futures):
                cell = future.result()
                cells[cell.axis, cell.stage] = cell
                advance(1, f"{cell.axis}, {cell.stage}: {cell.verdict}")
        except BaseException:  # Ctrl-C does not reach the children, each in a session of its own
            pool.shutdown(wait=False, cancel_futures=True)
            kill_children(os.getpid(), itself=False)
            raise
        finally:
            pool.shutdown()
    return [cells[axis.name, stage] for axis in axes for stage in MEASURED if stage in axis.stages]


def _reference(project: Project, stages: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Run the stages; yield each, when it has ended, with the seconds it took."""
    project.begin()
    for stage in stages:
        started = time.monotonic()
        try:
            project.run(stage)
        except Failed as error:
            raise UserError(f"matrix: the reference run's {stage} failed: {error}. All of "
                            f"its output is in {project.folder / 'output.txt'}") from None
        yield stage, time.monotonic() - started


def _cell(axis: Axis, stage: str, parameters: Parameters, required: bool, reference: Path,
          elsewhere: Path, seconds: float) -> Cell:
    """Run the stage as the axis has it, and compare what it left with the reference run's.

    A stage that fails has left nothing to compare: that is no verdict on its bits.
    """
    execution = parameters.execution.model_copy(update=dict(axis.execution(parameters.execution)))
    parameters = parameters.model_copy(update={"execution": execution})
    kept = reference.parent / axis.name / stage
    project = variant(axis, stage, parameters, reference.parent, elsewhere)
    try:
        if stage in ("train", "evaluate"):
            resolve(parameters)
        detail = _run(axis, stage, project, reference, seconds)
        first_difference = difference(stage, reference, project.folder)
    except (UserError, NotKilled, Failed, NothingToCompare, OSError) as error:
        return Cell(axis.name, stage, NOT_COMPARED, required, str(error))
    if first_difference is None:
        shutil.rmtree(project.folder)
        with contextlib.suppress(OSError):  # the folder of the axis holds another stage
            project.folder.parent.rmdir()
        return Cell(axis.name, stage, IDENTICAL, required, detail)
    if project.folder != kept:
        shutil.copytree(project.folder, kept, symlinks=True)
    return Cell(axis.name, stage, DIFFERS, required, first_difference)


class NotKilled(Exception):
    """Each time, the stage had ended before it could be killed."""


def _run(axis: Axis, stage: str, project: Project, reference: Path, seconds: float) -> str:
    """Run the stage; return what the axis changed, in words."""
    for _ in range(TRIES if axis.manner == "killed" else 1):
        project.begin()
        project.link(stage, reference)
        if axis.manner != "killed":
            project.run(stage)
            return axis.change
        kills = project.run_killed(stage, seconds / 2)
        if kills:
            return f"{axis.change}, {kills} time{'s' * (kills > 1)}"
    raise NotKilled("it had ended, each time, before it could be killed")
