"""The examples of README and docs that are marked with `<!-- run -->`, typed into a reproduced
project."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, Block, blocks
from tests.end_to_end.project import Project

EXAMPLES = [block for document in DOCUMENTS for block in blocks(document) if block.run]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: f"{block.document}:{block.line}")
def test_an_example_works(example: Block, reproduced: Project) -> None:
    parameters = (reproduced.folder / "params.yaml").read_bytes()
    try:
        reproduced.run("bash", "-e", "-o", "pipefail", "-c", example.text)
    finally:
        (reproduced.folder / "params.yaml").write_bytes(parameters)


def test_the_readme_has_examples_that_are_run() -> None:
    assert sum(block.document == "README.md" for block in EXAMPLES) >= 2


def doctor(project: Project, *checks: str, status: int = 0,
           **variables: str) -> list[dict[str, str]]:
    done = subprocess.run(["alexnet", "doctor", *checks, "--json"], cwd=project.folder,
                          capture_output=True, text=True, env=project.environment | variables,
                          check=False)
    assert done.returncode == status, done.stdout + done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_the_doctor_finds_nothing_missing_here(reproduced: Project) -> None:
    found = {one["check"]: one for one in doctor(reproduced)}
    assert [one for one in found.values() if one["verdict"] == "fails"] == []
    assert found["steps"]["verdict"] == found["exchange"]["verdict"] == "ok"
    assert "in one process and as two: equal to the bit" in found["steps"]["detail"]
    assert "takes runs and files of the experiment alexnet" in found["mlflow"]["detail"]


def test_the_doctor_sees_a_database_of_another_mlflow(reproduced: Project, tmp_path: Path) -> None:
    shutil.copy(reproduced.folder / "mlflow.db", tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("update alembic_version set version_num = '0a8213491aaa'")
    found, = doctor(reproduced, "mlflow", status=1,
                    MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db")
    assert "of another version of MLflow" in found["detail"]
    assert found["mend"].startswith("keep a copy of it, then: mlflow db upgrade 'sqlite:")
