"""`alexnet matrix` on cheap axes: of this code, and of code in which the number of workers decides
pixels."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from tests.end_to_end.project import Project

UNSOUND = """

sound = run


def run(parameters):
    seed = parameters.resize.order_seed + (parameters.execution.workers == 2)
    section = parameters.resize.model_copy(update={"order_seed": seed})
    return sound(parameters.model_copy(update={"resize": section}))
"""


SMALL = ("--set", "train.epochs=0.4", "--set", "dataset.sample.val_images=10")  # two updates


def rows(project: Project, *options: str, status: int = 0) -> list[dict[str, Any]]:
    output = project.run("alexnet", "matrix", "--json", *SMALL, *options, status=status)
    found: list[dict[str, Any]] = json.loads(output[output.index("[\n"):])
    return found


def verdicts(found: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(row["axis"], row["stage"]): row["verdict"] for row in found}


def test_what_the_design_promises_is_identical(tmp_path: Path) -> None:
    """By portable arithmetic, that is with any instruction set, threads and cores as well."""
    project = Project(tmp_path / "project")
    axes = ("workers", "placement", "clone", "isa", "threads", "cores")
    found = rows(project, "--axes", ",".join(axes), "--html", "matrix.html")
    assert verdicts(found) == {
        ("workers", "resize"): "identical", ("placement", "train"): "identical",
        ("isa", "train"): "identical", ("isa", "evaluate"): "identical",
        ("threads", "train"): "identical", ("cores", "evaluate"): "identical"} | {
        ("clone", stage): "identical" for stage in ("resize", "mean", "pca", "train", "evaluate")}
    assert {row["axis"] for row in found if row["required"]} == set(axes)
    assert json.loads((project.folder / "experiments/matrix.json").read_text())["rows"] == found
    page = (project.folder / "matrix.html").read_text()
    assert "pillow" in page
    assert "http" not in page.replace("http-equiv", "")
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        [(run,)] = store.execute("select run_uuid from runs where name like 'matrix%' and status = "
                                 "'FINISHED'").fetchall()
        metrics = dict(store.execute("select key, value from latest_metrics where run_uuid = ?",
                                     (run,)))
    assert metrics["matrix/required_differs"] == 0
    assert (metrics["matrix/identical"], metrics["matrix/differs"]) == (11, 0)


def test_what_differs_and_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    """In a stage whose bits depend on the workers, and a copy of the code that lacks a file it
    needs: the copy says nothing about bits."""
    project = Project(tmp_path / "project")
    stage = project.folder / "pipeline" / "stages" / "resize.py"
    stage.write_text(stage.read_text() + UNSOUND)
    module = project.folder / "pipeline" / "studies" / "matrix" / "variant.py"
    copying = '"__pycache__")'
    assert copying in module.read_text()
    module.write_text(module.read_text().replace(copying, '"__pycache__", "presets.py")'))
    found = rows(project, "--axes", "workers,order,clone", status=1)
    told = verdicts(found)
    assert told["workers", "resize"] == "differs"
    assert told["order", "resize"] == "identical"
    [row] = [row for row in found if row["verdict"] == "differs"]
    assert "data/store/" in row["detail"]
    assert (project.folder / "work" / "matrix" / "workers" / "resize" / "data" / "store").is_dir()
    assert not (project.folder / "work" / "matrix" / "order").exists()
    assert {row["verdict"] for row in found if row["axis"] == "clone"} == {"not compared"}
    assert all("exit status " in row["detail"] for row in found if row["axis"] == "clone")
