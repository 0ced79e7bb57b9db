"""The real commands on a tiny sample: what `dvc repro` leaves, what it does again, and what users
do with it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest

from alexnet.trace import link_digest
from pipeline.config.stages import NAMES
from pipeline.data.pixels import decoder
from pipeline.data.predictions import Predictions
from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project


def ran(output: str) -> list[str]:
    """The stages that `dvc repro` ran."""
    return [stage for stage in NAMES if f"Running stage '{stage}'" in output]


def test_every_stage_runs_and_leaves_what_it_promises(reproduced: Project) -> None:
    assert ran(reproduced.first_output) == list(NAMES)  # type: ignore[attr-defined]
    assert "MLflow" not in reproduced.first_output  # type: ignore[attr-defined]  # no warning
    evaluate = reproduced.metrics("evaluate")
    for name in ("top1_error", "top5_error", "top1_error_10crop", "top5_error_10crop"):
        assert 0.0 <= evaluate[name] <= 1.0
        assert evaluate[name] * 20 == pytest.approx(round(evaluate[name] * 20))  # of 20 images
    predictions = Predictions.load(reproduced.folder / "models/predictions.safetensors", "")
    index = pyarrow.parquet.read_table(reproduced.folder / "data/store/index.parquet").to_pylist()
    assert (dict(zip(predictions.names, predictions.labels.tolist(), strict=True))
            == {row["name"]: row["label"] for row in index if row["split"] == "val"})
    assert predictions.searched == [row["name"] for row in index if row["split"] == "train"]
    apart = numpy.abs(predictions.ten_crop.astype(float)
                      - predictions.centre.astype(float)).sum(1) / 2
    assert 0.0 < evaluate["distance_10crop"] == pytest.approx(sum(apart.tolist()) / 20)
    assert reproduced.metrics("resize")["quarantined"] == 1
    assert reproduced.metrics("resize")["images"] == 59
    train = reproduced.metrics("train")
    assert train["weights_digest"] == evaluate["weights_digest"]
    assert train["steps"] == round(2 * 39 / 8)
    assert len(train["trace_digest"]) == 64
    for name in ("models/model.safetensors", "report/index.html", "mlflow.db", "data/mean.png",
                 "report/figures/neighbours.png", "report/figures/class-errors.csv"):
        assert (reproduced.folder / name).stat().st_size > 0, name
    trace = [json.loads(line)
             for line in (reproduced.folder / "models/trace.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in trace] == [1, 2, 4, 6, 8, 10]
    assert all(entry["images"] and entry["losses"] for entry in trace)
    assert ([entry["previous"] for entry in trace[1:]]
            == [link_digest(entry) for entry in trace[:-1]])


def test_a_second_time_there_is_nothing_to_do(reproduced: Project) -> None:
    assert ran(reproduced.run("dvc", "repro")) == []


def test_everything_is_in_mlflow_training_and_evaluation_in_one_run(reproduced: Project) -> None:
    with sqlite3.connect(reproduced.folder / "mlflow.db") as store:
        runs = dict(store.execute("select name, run_uuid from runs where status = 'FINISHED'")
                    .fetchall())
        different = "train_images 40 val_images 20 width 0.0625 epochs 2 batch 8"
        training = f"sample seed 1 {different}"
        assert {f"download sample {different.partition(' width')[0]}", training} <= runs.keys()
        metrics = dict(store.execute("select key, value from latest_metrics where run_uuid = ?",
                                     (runs[training],)))
        tags = dict(store.execute("select key, value from tags where run_uuid = ?",
                                  (runs[training],)))
        params = dict(store.execute("select key, value from params where run_uuid = ?",
                                    (runs[training],)))
    assert metrics["val/top1_error_10crop"] == reproduced.metrics("evaluate")["top1_error_10crop"]
    assert metrics["val/top1_error"] == reproduced.metrics("train")["validation_error"]
    assert tags["weights_digest"] == reproduced.metrics("train")["weights_digest"]
    assert params["train.seed"] == "1"
    assert (params["store.encoding"], tags["store_encoding"]) == ("raw", "raw")
    assert f"fingerprint {decoder()['fingerprint']}" in tags["store_decoder"]
    made = json.loads((reproduced.folder / "models/provenance.json").read_text())
    assert {made[name]
            for name in ("code_digest", "git_commit", "environment_digest", "weights_digest")} == {
                tags[name] for name in ("code_digest", "git_commit", "environment_digest",
                                        "weights_digest")}
    assert made["data"]["resize.pixels_digest"] == reproduced.metrics("resize")["pixels_digest"]
    page = (reproduced.folder / "report/index.html").read_text()
    assert made["code_digest"] in page
    assert made["environment_digest"] in page


def test_a_changed_parameter_reruns_what_depends_on_it(reproduced: Project, tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    before = project.metrics("train")
    project.set(**{"execution.placement": "two", "execution.workers": 2})
    assert ran(project.run("dvc", "repro")) == []
    # now as two processes instead of one
    again = project.run("dvc", "repro", "--force", "--single-item", "train")
    assert ran(again) == ["train"]
    assert "2 processes, one column each" in again
    assert project.metrics("train") == before
    project.set(**{"execution.placement": "one", "train.seed": 2})
    assert "train.seed" in project.run("dvc", "params", "diff")
    assert ran(project.run("dvc", "repro")) == ["train", "evaluate", "report"]
    assert project.metrics("train")["weights_digest"] != before["weights_digest"]
    assert_ensemble_of_recorded_runs(project)


def test_a_run_that_does_not_learn_says_so_with_the_likely_causes(reproduced: Project,
                                                                  tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    still = ["--set", "recipe.weight_lr=0", "--set", "recipe.bias_lr=0", "--set", "train.epochs=4"]
    said = project.run("alexnet", "train", "--placement", "one", *still)
    assert "near guessing, log(10) = 2.303" in said
    assert "recipe.weight_lr is 0" in said
    wild = project.run("alexnet", "train", "--placement", "one", "--set", "recipe.weight_lr=10",
                       status=1)
    assert "the run has diverged" in wild
    assert "Traceback" not in wild


def assert_ensemble_of_recorded_runs(project: Project) -> None:
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        query = "select run_uuid, value from latest_metrics where key = 'val/top1_error_10crop'"
        runs = dict(store.execute(query).fetchall())
    assert len(runs) == 2, runs  # both seeds
    told = json.loads(project.run("alexnet", "ensemble", *runs, "--json"))
    assert {member["run"]: member["top1_error_10crop"] for member in told["members"]} == runs
    assert 0.0 <= told["top1_error_10crop"] <= 1.0
    assert project.run("alexnet", "report", *runs).strip().endswith("report/comparison/index.html")
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        assert {run for run, in store.execute("select value from tags where key like "
                                              "'compared.%'")} == set(runs)
        [(kept,)] = store.execute("select distinct artifact_uri from runs join tags using "
                                  "(run_uuid) where key like 'compared.%'").fetchall()
    assert (Path(kept.removeprefix("file://")) / "comparison/index.html").is_file()
    page = (project.folder / "report/comparison/index.html").read_text()
    assert "they part at step 1" in page
    assert all(run[:12] in page for run in runs)


def test_metrics_plots_and_experiments_work_as_dvc_users_expect(reproduced: Project,
                                                                tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    assert "top1_error_10crop" in project.run("dvc", "metrics", "show")
    project.run("dvc", "plots", "show")
    plot = (project.folder / "dvc_plots" / "index.html").read_text()
    assert "validation_error" in plot
    shown = [file.name for file in (project.folder / "dvc_plots").rglob("*")
             if file.suffix in (".png", ".svg")]
    assert len(shown) == 10, shown
    output = project.run("dvc", "exp", "run", "-S", "train.seed=2", "--name", "second", "train")
    assert "second" in output
    shown = project.run("dvc", "exp", "show", "--csv")
    assert "second" in shown
    assert "train.seed" in shown


def test_each_stage_is_a_command(reproduced: Project) -> None:
    before = reproduced.metrics("mean")
    reproduced.run("alexnet", "mean")
    assert reproduced.metrics("mean") == before
    for stage in NAMES:
        assert "--set KEY=VALUE" in reproduced.run("alexnet", stage, "--help")
    for command in (["alexnet", "train", "--set", "train.sede=2"],
                    ["alexnet", "train", "--placement", "three"]):
        refused = reproduced.run(*command, status=1)
        assert "Traceback" not in refused
        assert "train.sede" in refused or "execution.placement" in refused
