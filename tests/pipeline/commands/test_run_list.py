"""`alexnet runs`: the best first, what differs between them, and no store made by asking."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline.commands import run_list
from pipeline.commands.main import main
from pipeline.config.paths import metrics_of
from pipeline.records import mlflow_store
from pipeline.records.mlflow_names import metric
from pipeline.system.errors import UserError
from pipeline.system.files import write_json


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def training(seed: int, error: float | None, status: str = "FINISHED", **params: str) -> str:
    """The id of a recorded training."""
    store = mlflow_store.connect()
    run = store.client.create_run(store.experiment, 1_000_000 * seed, run_name=f"seed {seed}",
                                  tags={"stage": "train", "weights_digest": str(seed) * 64})
    for name, value in {"train.seed": str(seed), "dataset.source": "sample",
                        **{key.replace("__", "."): text for key, text in params.items()}}.items():
        store.client.log_param(run.info.run_id, name, value)
    if error is not None:
        for name, value in (("top1_error_10crop", error), ("top5_error_10crop", error / 10)):
            store.client.log_metric(run.info.run_id, metric("evaluate", name), value)
    store.client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def shown(runs: list[run_list.ListedRun]) -> str:
    stream = io.StringIO()
    run_list.show(runs, Console(file=stream, width=80, force_terminal=True, color_system=None))
    return stream.getvalue()


def test_the_best_is_first_and_what_differs_is_named() -> None:
    worse, best, untested = (training(1, 0.5, network__width="0.25"),
                             training(2, 0.25, network__width="0.5"),
                             training(3, None, network__width="0.250"))
    training(4, None, "FAILED")
    write_json(metrics_of("train"), {"weights_digest": "1" * 64})
    runs = run_list.listed(20)
    assert [run.run_id for run in runs] == [best, worse, untested]
    assert [run.here for run in runs] == [False, True, False]
    assert run_list.differing(runs) == [{"train.seed": "2", "network.width": "0.5"},
                                        {"train.seed": "1", "network.width": "0.25"},
                                        {"train.seed": "3", "network.width": "0.25"}]
    lines = shown(runs).splitlines()
    assert [line.split()[:2] for line in lines[3:5]] == [["25.00", "%"], ["50.00", "%"]]
    assert f"{worse[:8]}*" in lines[4]
    assert "seed 2, width 0.5" in lines[3]
    assert max(map(len, lines)) <= 80
    assert [run.status for run in run_list.listed(20, unfinished=True)].count("FAILED") == 1
    assert len(run_list.listed(1)) == 1


def test_many_differences_are_folded_and_not_cut_off() -> None:
    names = {f"recipe__switch_with_a_long_name_{number}": "1" for number in range(8)}
    training(1, 0.5)
    training(2, 0.25, **names)
    text = shown(run_list.listed(20))
    assert max(map(len, text.splitlines())) <= 80
    assert "".join(text.split()).count("switch_with_a_long_name_") >= 1
    assert "…" not in text


def test_json_has_fractions_and_none_for_what_is_not_there() -> None:
    run_id = training(1, None)
    told = json.loads(CliRunner().invoke(main, ["runs", "--json"]).stdout)
    assert [(run["run_id"], run["top1_error"], run["differs"]) for run in told] == [
        (run_id, None, {})]


def test_asking_makes_no_store(here: Path) -> None:
    with pytest.raises(UserError, match="no training is recorded"):
        run_list.listed(20)
    assert list(here.iterdir()) == []


def test_errors_of_nine_crops_stand_in_the_same_order_under_their_own_name() -> None:
    ten, store = training(1, 0.5), mlflow_store.connect()
    nine = training(2, None)
    for name, value in (("top1_error_9crop", 0.3), ("top5_error_9crop", 0.1)):
        store.client.log_metric(nine, metric("evaluate", name), value)
    runs = run_list.listed(20)
    assert [run.run_id for run in runs] == [nine, ten]
    first, second = run_list.as_json(runs)
    assert (first["top1_error_9crop"], first["top1_error_10crop"]) == (0.3, None)
    assert "top1_error_9crop" not in second
    assert "30.00 %" in shown(runs)
    assert "ten crops (on CIFAR-10 nine)" in " ".join(shown(runs).split())
