"""Is this a project in which `dvc repro` works and records? The commands, git, DVC, MLflow's
store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.commands.doctor.finding import Finding, ok
from pipeline.config.parameters import Parameters
from pipeline.config.stages import NAMES
from pipeline.records import environment
from pipeline.system.dvc import MAKE_REPOSITORY, broken_files, is_shallow, run_dvc
from pipeline.system.errors import without_password
from pipeline.system.git import git_text

SECONDS_FOR_DVC = 60


def commands(parameters: Parameters) -> Finding:
    """Check that the `alexnet` and `dvc` on the PATH, which `dvc repro` calls, are those of this
    environment."""
    for name in ("alexnet", "dvc"):
        program = shutil.which(name)
        if program is None:
            return Finding("fails", f"`{name}` is not on the PATH, and `dvc repro` needs it",
                           "source .venv/bin/activate (make repro does it by itself)")
        if Path(program).parent.resolve() != Path(sys.executable).parent.resolve():
            return Finding("warning", f"`{name}` on the PATH is {program}, of another environment "
                                      f"than {sys.executable}", "source .venv/bin/activate")
    return ok(f"alexnet and dvc of {Path(sys.executable).parent}")


def git(parameters: Parameters) -> Finding:
    """Check that there is a repository, which DVC needs, and a commit, which experiments and
    records need."""
    state = environment.git_state()
    if state.commit.startswith("unknown: "):
        return Finding("fails", f"git does not answer, so that records cannot name a commit: "
                                f"{state.commit.removeprefix('unknown: ')}",
                       "git status, which says what to do")
    if not git_text("rev-parse", "--show-toplevel"):
        return Finding("fails", "not in a git repository, or there is no git: DVC refuses to work",
                       MAKE_REPOSITORY)
    if state.commit == "no commit yet" or not git_text("rev-parse", "--verify",
                                                                 "--quiet", "HEAD"):
        return Finding("warning", "no commit yet: dvc repro works, `dvc exp`, "
                                  "`golden record --seeds` and `claims run` do not",
                       "git add . && git commit -m 'As it came'")
    if is_shallow():
        return Finding("warning", "a shallow clone: DVC loses what `dvc exp run --queue` and "
                                  "`--temp` have run, so that the stages refuse it",
                       "git fetch --unshallow")
    changed = ("; code or parameters changed since: every record holds the difference"
               if state.dirty else "")
    return ok(f"commit {state.commit[:12]}{changed}")


def dvc(parameters: Parameters) -> Finding:
    """Check that DVC itself reads the pipeline and finds every stage."""
    if not Path(".dvc").is_dir() or not Path("dvc.yaml").exists():
        return Finding("fails", "no .dvc or no dvc.yaml in this folder",
                       "change into a clone of the project")
    cut = broken_files()
    if cut:
        return Finding("fails", f"{', '.join(map(str, cut))}: cut off by a kill", "alexnet mend")
    try:
        done = run_dvc("stage", "list", "--name-only", timeout=SECONDS_FOR_DVC)
    except subprocess.TimeoutExpired:
        return Finding("fails", f"`dvc stage list` does not answer within {SECONDS_FOR_DVC} s",
                       "end other dvc commands that run in this folder")
    if done.returncode:
        said = " ".join(done.stderr.split())
        return Finding("fails", said or "`dvc stage list` fails",
                       MAKE_REPOSITORY if "is not a git repository" in said
                       else "correct the file it names")
    missing = [stage for stage in NAMES if stage not in done.stdout.split()]
    if missing:
        return Finding("fails", f"dvc.yaml: no stage {', '.join(missing)}",
                       "`git diff dvc.yaml` shows what was changed")
    return ok(f"DVC reads dvc.yaml; {len(NAMES)} stages")


def mlflow(parameters: Parameters) -> Finding:
    """Check that MLflow's store takes a run and a file of it and gives them back; the run is
    removed. A store that is not there yet is not made."""
    from pipeline.records import database, mlflow_connection, mlflow_store

    address = without_password(mlflow_connection.tracking_uri())
    file = database.file_of(mlflow_connection.tracking_uri())
    if file and not file.exists():
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            return Finding("fails", f"{address}: its folder is missing or cannot be written to",
                           "correct MLFLOW_TRACKING_URI")
        return ok(f"{address}: made by the first stage that runs")
    if file and not os.access(file, os.W_OK):
        return Finding("fails", f"{address}: you may not write to it", f"chmod u+w {file}")
    try:
        mlflow_connection.bounded(lambda: mlflow_store.MlflowStore().probe())
    except Exception as error:  # of the network, the database, the disk, a cloud's own library
        reason = mlflow_connection.reason(error)
        return Finding("fails", f"{address}: {reason}", _store_fix(error, reason, address))
    return ok(f"{address}: takes runs and files of the experiment "
              f"{mlflow_connection.experiment_name()}, and gives them back")


def _store_fix(error: Exception, reason: str, address: str) -> str:
    from pipeline.records.mlflow_connection import experiment_name

    name = experiment_name()
    if isinstance(error, ModuleNotFoundError):
        return f"pip install {error.name}, by which its files are kept"
    if "Current state is deleted" in reason:
        return (f"the experiment {name} is in MLflow's trash: mlflow experiments restore "
                "--experiment-id ID, or set MLFLOW_EXPERIMENT_NAME to another one")
    if "mlflow db upgrade" in reason:
        return f"keep a copy of it, then: mlflow db upgrade '{address}'"
    return "start the server, or correct MLFLOW_TRACKING_URI (unset: mlflow.db here)"


def unsent(parameters: Parameters) -> Finding:
    """Check that no record waits for the store."""
    from pipeline.records.unsent import UNSENT

    waiting = sorted(UNSENT.glob("*/record.json"))
    if not waiting:
        return ok("no record waits for MLflow's store")
    stages = sorted({str(json.loads(file.read_text(encoding="utf-8")).get("stage"))
                     for file in waiting})
    return Finding("warning", f"{UNSENT}: {len(waiting)} records wait for MLflow's store "
                              f"({', '.join(stages)})", "alexnet sync")
