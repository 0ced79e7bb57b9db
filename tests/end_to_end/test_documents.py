"""The examples of README and docs that are marked with `<!-- run -->`, typed into a reproduced
project; and the files and metrics that they name are those of one."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.config.stages import NAMES
from tests.documents import DOCUMENTS, ROOT, Block, blocks, spans
from tests.end_to_end.project import Project

EXAMPLES = [block for document in DOCUMENTS for block in blocks(document) if block.run]
SPANS = {span: document.name for document in DOCUMENTS for span in spans(document)}
# left by other commands than the stages, or by some runs only
NOT_OF_EVERY_RUN = {"data/.store-proofs", "report/comparison", "report/comparison/index.html"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: f"{block.document}:{block.line}")
def test_an_example_works(example: Block, reproduced: Project) -> None:
    parameters = (reproduced.folder / "params.yaml").read_bytes()
    shell = ("python", "-c") if example.text.startswith("from ") else (
        "bash", "-e", "-o", "pipefail", "-c")
    try:
        reproduced.run(*shell, example.text)
    finally:
        (reproduced.folder / "params.yaml").write_bytes(parameters)


def test_the_readme_has_examples_that_are_run() -> None:
    assert sum(block.document == "README.md" for block in EXAMPLES) >= 2


def test_an_example_that_fails_is_seen(reproduced: Project) -> None:
    for text in ("alexnet retrain\nalexnet describe", "from pipeline.data import gone"):
        with pytest.raises(AssertionError, match="exited with"):
            test_an_example_works(Block("page.md", 1, text, run=True), reproduced)


def files_not_left(project: Project, named: set[str]) -> set[str]:
    """Those of what a document calls a stage's that the stages have not left."""
    return {name for name in named
            if re.fullmatch(r"(data|models|plots|metrics|report)/[\w./-]+", name)
            and not (project.folder / name).exists()
            and not (ROOT / "pipeline" / name).exists()} - NOT_OF_EVERY_RUN


def test_the_files_that_the_documents_name_are_left(reproduced: Project) -> None:
    assert files_not_left(reproduced, {*SPANS}) == set()
    assert files_not_left(reproduced, {"data/store", "data/stores"}) == {"data/stores"}
    assert sum(span.startswith("data/") for span in SPANS) > 5


def metrics_not_recorded(project: Project, named: set[str]) -> set[str]:
    """Names of metrics and parameters, `stage.metric` or as MLflow has them, that there are not."""
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    known = {f"{stage}.{metric}" for stage in NAMES for metric in project.metrics(stage)}
    known |= {f"{section}.{key}" for section in parameters for key in parameters[section]}
    known |= {f"dataset.sample.{key}" for key in parameters["dataset"]["sample"]}
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        known |= {name for name, in store.execute("select distinct key from metrics")}
        known |= {name for name, in store.execute("select distinct key from tags")}
    sections = "|".join({*NAMES, *parameters})
    return {name for name in named if name not in known and re.fullmatch(
        rf"({sections})\.(?!py$|json$|yaml$)[a-z_0-9.]+|(train|val|error|x-axis)/[a-z_0-9]+", name)}


def test_the_metrics_that_the_documents_name_are_recorded(reproduced: Project) -> None:
    assert metrics_not_recorded(reproduced, {*SPANS}) == set()
    assert metrics_not_recorded(reproduced, {"evaluate.top9_error", "val/loss", "val/lost"}) == {
        "evaluate.top9_error", "val/lost"}


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
