"""`alexnet summary`: errors first, digests when asked for, what belongs to another run marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.commands.main import main
from pipeline.commands.summary import other_runs
from pipeline.config.paths import PROVENANCE, REPORT, metrics_of
from pipeline.system.files import write_json

WEIGHTS, OTHER = "0123456789abcdef" * 4, "f" * 64
METRICS: dict[str, dict[str, Any]] = {
    "resize": {"images": 1500, "pixels_digest": "1" * 64},
    "train": {"steps": 60, "weights_digest": WEIGHTS},
    "evaluate": {"top1_error": 0.125, "top5_error": 0.02, "top1_error_10crop": 0.1,
                 "top5_error_10crop": 0.0123, "images": 300, "loss": 0.25,
                 "weights_digest": WEIGHTS},
    "report": {"report_digest": "2" * 64}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for stage, metrics in METRICS.items():
        write_json(metrics_of(stage), metrics)
    write_json(PROVENANCE, {"weights_digest": WEIGHTS, "data": {"resize.pixels_digest": "1" * 64}})
    REPORT.parent.mkdir()
    REPORT.write_text(f"<code>{WEIGHTS}</code>")
    return tmp_path


def summary(*options: str) -> str:
    done = CliRunner().invoke(main, ["summary", *options])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_the_errors_come_first_with_their_intervals(here: Path) -> None:
    lines = [line.split() for line in summary().splitlines() if line.strip()]
    assert lines[0] == ["error", "top-1", "95", "%", "top-5", "95", "%"]
    assert lines[2] == ["ten", "crops", "10.00", "%", "7.1", "to", "13.9", "1.23", "%", "0.5",
                        "to", "3.2"]
    assert lines[3][:4] == ["centre", "crop", "12.50", "%"]
    assert lines[-3:-1] == [["report:", "report/index.html"],
                            ["MLflow:", f"sqlite:///{here / 'mlflow.db'};", "`alexnet", "ui`",
                             "shows", "it"]]
    assert " ".join(lines[-1]).startswith("not compared with a golden: params.yaml: ")
    assert "1,500" in summary()
    assert "\x1b" not in summary()
    assert max(map(len, summary().splitlines()[:-2])) <= 80


def test_digests_are_shown_when_asked_for() -> None:
    assert "0123456789abcdef" not in summary()
    assert "0123456789abcdef..." in summary("--all")


def test_json_is_every_metric() -> None:
    assert json.loads(summary("--json")) == METRICS
    metrics_of("resize").write_text("{")
    assert "metrics/resize.json: broken" in CliRunner().invoke(main, ["summary"]).stderr


def test_nothing_is_marked_where_all_belongs_together() -> None:
    assert other_runs(METRICS) == {}
    assert "another" not in summary()


@pytest.mark.parametrize(("stage", "change", "words"), [
    ("evaluate", {"weights_digest": OTHER}, "of other weights than the training's"),
    ("resize", {"pixels_digest": OTHER}, "of other data than the training's")])
def test_what_belongs_to_another_run_is_marked(stage: str, change: dict[str, Any],
                                               words: str) -> None:
    write_json(metrics_of(stage), METRICS[stage] | change)
    assert other_runs({**METRICS, stage: METRICS[stage] | change}) == {stage: words}
    assert words in summary()


def test_a_report_of_another_run_and_an_evaluation_without_a_training_are_marked() -> None:
    REPORT.write_text(OTHER)
    assert list(other_runs(METRICS)) == ["report"]
    metrics_of("train").unlink()
    assert "of an earlier run" in summary()
