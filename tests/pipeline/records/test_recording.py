"""The record of a stage in a real MLflow store, in a store that is not there, and after every way
of ending."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import parameters
from pipeline.config.identity import flat_parameters
from pipeline.config.paths import LISTING, MEAN, PCA, STORE, metrics_of
from pipeline.data.statistics import mean_digest
from pipeline.records import environment, kept_runs, live_curves, mlflow_connection
from pipeline.records.record import data_digests
from pipeline.records.recording import recorded
from pipeline.records.unsent import send_unsent
from pipeline.system.files import atomic_write, write_json
from pipeline.system.project import home_folder

ROOT = Path(__file__).resolve().parents[3]
READ = parameters.load(ROOT / "params.yaml")
TRAINED = {"steps": 4, "validation_error": 0.5, "weights_digest": "w" * 64,
           "trace_digest": "t" * 64}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new store: its making takes seconds, so the tests share it, each with its own
    experiment."""
    return tmp_path_factory.mktemp("a project's")


@pytest.fixture(autouse=True)
def here(store: Path, monkeypatch: pytest.MonkeyPatch,
         request: pytest.FixtureRequest) -> Iterator[Path]:
    monkeypatch.chdir(store)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    # Of the fingerprint only its presence matters here; the whole is tested beside it, and takes a
    # second or two.
    monkeypatch.setattr(environment, "fingerprint",
                        lambda with_torch=True: {"lock_digest": "l" * 64, "cpu": "x"})
    yield store
    for folder in ("metrics", "data", "work"):
        shutil.rmtree(store / folder, ignore_errors=True)


def runs() -> list[Any]:
    """Of this test's experiment, the oldest first."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(mlflow_connection.tracking_uri())
    experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    return (client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
            if experiment else [])


def artifacts(run: Any) -> dict[str, bytes]:
    from mlflow.artifacts import download_artifacts

    folder = Path(download_artifacts(run_id=run.info.run_id,
                                     tracking_uri=mlflow_connection.tracking_uri()))
    return {file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*") if file.is_file()}


def finish(stage: str, metrics: dict[str, Any], **more: Any) -> None:
    with recorded(stage, READ) as record:
        write_json(metrics_of(stage), metrics)
        record.finish(metrics)
        if "curve" in more:
            record.log_curve(more["curve"])
        for path in more.get("artifacts", ()):
            record.add_artifact(path)


def data_of(folder: Path, pixels_digest: str) -> np.ndarray[Any, Any]:
    """As the preparation leaves them, as far as a record looks; returns the mean image."""
    image = np.zeros((2, 2, 3), np.float32)
    (folder / STORE).mkdir(parents=True)
    (folder / STORE / "store.json").write_text(json.dumps({"pixels_digest": pixels_digest}))
    np.save(folder / MEAN, image)
    write_json(folder / PCA, {"eigenvalues": [3.0, 2.0, 1.0]})
    write_json(folder / LISTING, {"files": []})
    return image


def test_a_preparation_stage_is_a_run(here: Path) -> None:
    finish("resize", {"images": 7, "pixels_digest": "p" * 64, "note": True, "nothing": None})
    [run] = runs()
    assert (run.info.run_name, run.info.status) == ("resize sample", "FINISHED")
    assert run.data.metrics == {"resize/images": 7.0}
    assert run.data.tags["pixels_digest"] == "p" * 64
    assert run.data.tags["note"] == "True"
    assert run.data.tags["code_digest"] == environment.code_digest()
    assert run.data.tags["lock_digest"] == "l" * 64
    assert "code_changed" not in run.data.tags
    assert run.data.params == flat_parameters(READ, ("dataset", "resize", "store"))
    assert Path(here / "mlflow.db").exists()
    held = artifacts(run)
    assert json.loads(held["environment.json"])["cpu"] == "x"
    assert parameters.Parameters.model_validate_json(held["parameters.json"]) == READ
    assert list((here / "mlartifacts").rglob("environment.json"))


def test_training_evaluation_and_report_are_one_run_linked_to_its_preparation(here: Path) -> None:
    finish("resize", {"pixels_digest": "p" * 64})
    # then DVC brought the first one back from its cache
    finish("resize", {"pixels_digest": "0" * 64})
    image = data_of(here, pixels_digest="p" * 64)
    finish("mean", {"mean_digest": mean_digest(image)})
    (here / "weights").write_bytes(b"weights")
    curve = [{"step": step, "training_loss": 1.0 / step, "validation_error": 1.0 - step / 8}
             for step in (1, 2, 4)]
    finish("train", TRAINED, curve=curve, artifacts=[Path("weights")])
    finish("evaluate", {"top1_error": 0.25, "weights_digest": "w" * 64})
    finish("report", {})
    resize, _, mean, train = runs()
    assert train.data.tags["prepared_by.resize"] == resize.info.run_id
    assert train.data.tags["prepared_by.mean"] == mean.info.run_id
    assert "prepared_by.pca" not in train.data.tags
    assert train.data.tags["resize.pixels_digest"] == "p" * 64
    assert train.data.metrics == {"weights/steps": 4.0, "val/top1_error": 0.5, "train/loss": 0.25,
                                  "val/top1_error_1crop": 0.25, "error/top1_1crop": 25.0}
    # what is for eyes is not of the record
    assert kept_runs.find(train.info.run_id).facts.metrics == {"steps": 4.0, "top1_error": 0.25}
    assert train.data.params["recipe.lrn_divisor"] == "window"
    assert train.data.params["train.seed"] == "1"
    assert train.data.tags["evaluate.status"] == "FINISHED"
    assert train.data.tags["report.status"] == "FINISHED"
    held = artifacts(train)
    assert held["weights"] == b"weights"
    assert "evaluate/environment.json" in held
    inputs = {one.dataset.name: (one.dataset.digest, one.tags[0].value)
              for one in train.inputs.dataset_inputs}
    assert inputs == {"sample train": ("p" * 32, "training"),
                      "sample val": ("p" * 32, "validation")}
    note = train.data.tags["mlflow.note.content"]
    assert (note.count(
        f"(#/experiments/{train.info.experiment_id}/runs/{train.info.run_id}/artifacts/report/")
            == 1)
    assert f"[resize](#/experiments/{train.info.experiment_id}/runs/{resize.info.run_id}?" in note
    assert f"`alexnet rerun {train.info.run_id[:12]}`" in note


def test_a_run_is_named_for_the_store_that_lies_here_and_not_for_the_parameters(here: Path) -> None:
    data_of(here, pixels_digest="p" * 64)
    write_json(here / STORE / "store.json", {"pixels_digest": "p" * 64, "images": {"val": 7},
                                             "parameters": {"dataset.source": "imagenette"}})
    finish("train", TRAINED)
    [run] = runs()
    assert run.info.run_name.startswith("imagenette seed 1")
    assert run.data.params["dataset.source"] == "sample"  # what was asked for
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"imagenette train",
                                                                       "imagenette val"}


def test_every_point_of_a_long_curve_arrives_once() -> None:
    points = [{"step": step, "training_loss": float(step), "rate": 0.5} for step in range(1, 1502)]
    finish("train", TRAINED, curve=points)
    [run] = runs()
    assert history(run, "train/loss") == [(step * READ.train.batch, step)
                                          for step in range(1, 1502)]


def history(run: Any, name: str) -> list[tuple[int, float]]:
    """Step and value of every point that MLflow has, in its order."""
    from mlflow.tracking import MlflowClient

    found = MlflowClient(mlflow_connection.tracking_uri()).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in found)


def test_curves_grow_while_it_trains_and_no_point_comes_twice(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_curves, "SECONDS", 0.05)
    folder = here / "work/checkpoints/key"
    folder.mkdir(parents=True)
    learning, trace, batch = folder / "learning.jsonl", folder / "trace.jsonl", READ.train.batch
    first = [json.dumps({"step": 2 * k, "epoch": k / 2, "training_loss": 1 / k,
                         "validation_error": 1 / 3}) + "\n" for k in (1, 2)]
    traces = [json.dumps({"step": k, "loss": (1 / k).hex(), "weights": {}}) + "\n"
              for k in (1, 2, 3, 4)]
    learning.write_text("".join(first))  # of an attempt that was killed
    trace.write_text("".join(traces))
    with recorded("train", READ) as record:
        with live_curves.follow_curves(record, folder):
            awaited(lambda: len(history(runs()[0], "val/top1_error")) == 2)
            [run] = runs()
            assert run.info.status == "RUNNING"
            assert history(run, "train/loss") == [(2 * batch, 1.0), (4 * batch, 0.5)]
            assert history(run, "train/batch_loss") == [(k * batch, 1 / k) for k in (1, 2, 3, 4)]
            # it goes on from a checkpoint before the last line
            with atomic_write(learning) as stream:
                stream.write(first[0].encode())
            with learning.open("a") as more:
                more.write(first[1] + '{"step": 6, "epoch": 1.5, "training_loss": 0.125, "valid')
                more.flush()
                time.sleep(0.2)
                more.write('ation_error": 0.25}\n')
            awaited(lambda: len(history(runs()[0], "val/top1_error")) == 3)
            learning.unlink()
        record.log_curve([*map(json.loads, first), {"step": 6, "training_loss": 0.125}])
        record.log_curve([{"step": 7, "training_loss": 0.0}])
        record.finish(TRAINED)
        record.sent = 0  # as when an answer was lost: all of it again
    [run] = runs()
    assert history(run, "val/top1_error") == [(2 * batch, 1 / 3), (4 * batch, 1 / 3),
                                              (6 * batch, 0.25)]
    assert history(run, "train/loss") == [(2 * batch, 1.0), (4 * batch, 0.5), (6 * batch, 0.125),
                                          (7 * batch, 0.0)]
    assert history(run, "x-axis/epoch") == [(2 * batch, 0.5), (4 * batch, 1.0), (6 * batch, 1.5)]


def test_a_store_that_is_away_for_a_while_gets_the_curve_later(
        here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(live_curves, "SECONDS", 0.05)
    learning = here / "learning.jsonl"
    with recorded("train", READ) as record, live_curves.follow_curves(record, here):
        with monkeypatch.context() as away:
            away.setattr("mlflow.tracking.MlflowClient.log_batch", None)
            learning.write_text('{"step": 1, "training_loss": 0.5}\n')
            awaited(lambda: "MLflow does not take the curve" in capsys.readouterr().err)
        awaited(lambda: history(runs()[0], "train/loss") == [(READ.train.batch, 0.5)])
    learning.unlink()
    assert history(runs()[0], "train/loss") == [(READ.train.batch, 0.5)]


def test_a_killed_attempt_stands_under_the_run_that_goes_on(here: Path) -> None:
    folder = here / "work/checkpoints/key"
    folder.mkdir(parents=True)
    for error in (KeyboardInterrupt, None):
        with (contextlib.suppress(KeyboardInterrupt), recorded("train", READ) as record,
              live_curves.follow_curves(record, folder)):
            if error:
                raise error
    killed, finished = runs()
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    assert killed.data.tags["mlflow.parentRunId"] == finished.info.run_id
    assert "mlflow.parentRunId" not in finished.data.tags


def awaited(condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.02)


def test_an_evaluation_of_unknown_weights_is_a_run_of_its_own() -> None:
    finish("train", TRAINED)
    finish("evaluate", {"top1_error": 0.5, "weights_digest": "x" * 64})
    assert [run.info.run_name for run in runs()] == ["sample seed 1", "evaluate sample seed 1"]
    assert runs()[1].data.tags["weights_digest"] == "x" * 64


def test_the_newest_training_of_the_same_weights_is_joined() -> None:
    finish("train", TRAINED)
    time.sleep(0.01)
    finish("train", TRAINED)
    finish("evaluate", {"top1_error": 0.5, "weights_digest": "w" * 64})
    assert ["val/top1_error_1crop" in run.data.metrics for run in runs()] == [False, True]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (SystemExit, "FAILED"),
                                               (KeyboardInterrupt, "KILLED")])
def test_a_run_that_does_not_end_well_says_so(error: type[BaseException], status: str) -> None:
    with pytest.raises(error), recorded("mean", READ):
        raise error
    [run] = runs()
    assert run.info.status == status


def test_a_failed_evaluation_does_not_fail_the_training() -> None:
    finish("train", TRAINED)
    with pytest.raises(ValueError, match="bad"), recorded("evaluate", READ):
        raise ValueError("bad")
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["evaluate.status"] == "FAILED"


def test_a_run_shows_while_it_runs_and_one_killed_outright_is_marked_by_the_next(
        here: Path) -> None:
    script = ("import time; from pathlib import Path; from pipeline.config import parameters; from "
              "pipeline.records import recording\n"
              "with recording.recorded('mean', "
              f"parameters.load(Path({str(ROOT / 'params.yaml')!r}))):\n"
              "    print('running', flush=True); time.sleep(60)")
    child = subprocess.Popen([sys.executable, "-c", script], cwd=here, stdout=subprocess.PIPE,
                             text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert child.stdout
    assert child.stdout.readline() == "running\n"
    assert [run.info.status for run in runs()] == ["RUNNING"]
    finish("pca", {})
    assert [run.info.status for run in runs()] == ["RUNNING", "FINISHED"]
    child.send_signal(signal.SIGKILL)
    child.wait()
    finish("pca", {})
    assert [run.info.status for run in runs()] == ["KILLED", "FINISHED", "FINISHED"]


def test_source_files_changed_meanwhile_mark_the_run(monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    digests = iter(["before", "after"])
    monkeypatch.setattr(environment, "code_digest", lambda *root: next(digests))
    finish("pca", {})
    [run] = runs()
    assert run.data.tags["code_digest"] == "before"
    assert run.data.tags["code_changed"] == "true"
    assert "source files changed while pca ran" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_an_unreachable_server_loses_nothing(here: Path,
                                             monkeypatch: pytest.MonkeyPatch, stage: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    (here / "weights").write_bytes(b"weights")
    finish(stage, TRAINED, curve=[{"step": 1, "training_loss": 2.0}], artifacts=[Path("weights")])
    told = capsys.readouterr().err
    assert told.count("warning: MLflow's store http://127.0.0.1:9 cannot be used") == 1
    assert "secret" not in told
    [folder] = (here / "work/unsent").glob(f"*-{stage}-*")
    kept = json.loads((folder / "record.json").read_text())
    assert str(folder) in told
    assert (folder / "weights").read_bytes() == b"weights"
    assert kept["status"] == "FINISHED"
    assert kept["metrics"] == {"steps": 4.0, "validation_error": 0.5}
    assert kept["tags"]["weights_digest"] == kept["weights_digest"] == "w" * 64
    [point] = kept["curve"]
    assert point == {"step": 1, "training_loss": 2.0, "time": point["time"]}
    assert kept["artifacts"][-1]["path"] == "weights"
    assert len(kept["artifacts"][-1]["sha256"]) == 64
    assert kept["params"] == flat_parameters(READ, tuple(parameters.Parameters.model_fields))
    assert kept["texts"].keys() >= {"environment.json", "parameters.json"}


def test_a_store_that_breaks_meanwhile_does_not_stop_the_stage(
        here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded("mean", READ) as record:
        monkeypatch.setattr("mlflow.tracking.MlflowClient.log_batch", None)
        record.finish({"mean_r": 1.0})
    assert "warning" in capsys.readouterr().err
    [folder] = (here / "work/unsent").glob("*-mean-*")
    kept = json.loads((folder / "record.json").read_text())
    assert kept["metrics"] == {"mean_r": 1.0}
    assert kept["run_id"] == runs()[0].info.run_id
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME",
                       "test_a_store_that_breaks_meanwhile_does_not_stop_the_stage")
    assert send_unsent() == ([folder], [])
    [run] = runs()  # completed, not sent twice
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"mean/mean_r": 1.0})


def test_unsent_records_arrive_once_and_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "weights").write_bytes(b"the first")
    with monkeypatch.context() as unreachable:
        unreachable.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        finish("train", TRAINED, curve=[{"step": 1, "training_loss": 2.0}],
               artifacts=[Path("weights")])
        time.sleep(0.002)  # they are sent in the order in which they were begun
        finish("evaluate", {"top1_error": 0.5, "weights_digest": "w" * 64})
        (here / "weights").write_bytes(b"the next run's")
        assert len(send_unsent()[1]) == 2
    with monkeypatch.context() as broken:  # in the midst of the first
        broken.setattr("mlflow.tracking.MlflowClient.set_terminated", None)
        sent, kept = send_unsent()
        assert (len(sent), len(kept)) == (0, 2)
    assert len(send_unsent()[0]) == 2
    assert send_unsent() == ([], [])
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"weights/steps": 4.0, "val/top1_error": 0.5, "train/loss": 2.0,
                                "val/top1_error_1crop": 0.5, "error/top1_1crop": 50.0}
    assert artifacts(run)["weights"] == b"the first"
    assert "code.tar.gz" in artifacts(run)


def test_a_damaged_unsent_record_is_kept_and_the_others_are_sent(
        here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "weights").write_bytes(b"weights")
    with monkeypatch.context() as unreachable:
        unreachable.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        finish("mean", {"mean_r": 1.0}, artifacts=[Path("weights")])
        finish("pca", {"stdev_1": 1.0})
    [damaged] = (here / "work/unsent").glob("*-mean-*")
    (damaged / "weights").write_bytes(b"Weights")
    sent, kept = send_unsent()
    assert kept == [damaged]
    assert len(sent) == 1
    assert "weights has changed" in capsys.readouterr().err
    assert [run.info.run_name for run in runs()] == ["pca sample"]


def test_digests_are_of_the_data_that_lie_here(here: Path) -> None:
    assert not any(data_digests(name) for name in ("download", "resize", "mean", "pca"))
    image = data_of(here, pixels_digest="p" * 64)
    before = {name: data_digests(name) for name in ("download", "resize", "mean", "pca")}
    assert before["resize"] == {"pixels_digest": "p" * 64}
    image[1, 1, 1] = np.nextafter(np.float32(0), np.float32(1))
    np.save(here / MEAN, image)
    write_json(here / PCA, {"eigenvalues": [3.0, 2.0, np.nextafter(1.0, 2.0)]})
    write_json(here / LISTING, {"files": [1]})
    after = {name: data_digests(name) for name in ("download", "resize", "mean", "pca")}
    assert [name for name in before if before[name] != after[name]] == ["download", "mean", "pca"]
    (here / MEAN).write_bytes(b"")
    assert data_digests("mean") == {}

def test_an_experiment_of_dvcs_goes_to_the_projects_own_store(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_folder() == Path.cwd()
    for copy in (".dvc/tmp/exps/tmp0a1b", ".dvc/tmp/exps/standalone/tmp0a1b/sub"):
        (tmp_path / copy).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / copy)
        assert home_folder() == tmp_path


@given(st.integers(0, 2**62), st.floats(0.001, 1), st.sampled_from(["source", "paper"]))
def test_parameters_are_flat_and_whole(seed: int, width: float, name: str) -> None:
    values = READ.model_dump()
    values["train"]["seed"], values["network"]["width"], values["recipe"]["name"] = (seed, width,
                                                                                     name)
    told = flat_parameters(parameters.check(values), ("network", "recipe", "train"))
    assert int(told["train.seed"]) == seed
    assert float(told["network.width"]) == width
    assert told["recipe.name"] == name
    assert told["recipe.bias_lr"] == {"source": "0.02", "paper": "0.01"}[name]
    assert {key.partition(".")[0] for key in told} == {"network", "recipe", "train"}
