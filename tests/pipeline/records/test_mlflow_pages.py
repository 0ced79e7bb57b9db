"""What MLflow's pages say: the line of errors comes first, and the view's charts are as MLflow
reads them."""

from __future__ import annotations

import json

from pipeline.records import mlflow_pages
from pipeline.records.mlflow_pages import addition, with_line

MEASURED = {"top1_error_10crop": 0.25, "top5_error_10crop": 0.125}


def test_errors_stand_first_in_a_description_and_once() -> None:
    errors = addition("evaluate", MEASURED, "1", "r")
    assert errors == "Errors, ten crops: top-1 25.00 %, top-5 12.50 %."
    report = addition("report", {}, "1", "r")
    described = with_line(with_line("Record: a.\n\nTraining.", errors), report)
    assert described == f"{errors}\n\n{report}\n\nRecord: a.\n\nTraining."
    assert with_line(described, report) == described
    better = addition("evaluate", MEASURED | {"top1_error_10crop": 0.125}, "1", "r")
    assert with_line(described, better) == described.replace(errors, better)


def test_an_evaluation_without_errors_says_nothing() -> None:
    assert with_line("Record: a.", addition("evaluate", {}, "1", "r")) == "Record: a."
    assert with_line("", addition("report", {}, "1", "r")).startswith("[Report]")


def test_the_view_begins_with_the_charts_of_errors_and_fits_a_tag() -> None:
    tags = mlflow_pages.experiment_tags()
    [view] = [value for tag, value in tags.items() if mlflow_pages.is_view(tag)]
    assert len(view) <= 5000  # MLflow's longest
    state = json.loads(json.loads(view)["state"])
    assert [section["name"] for section in state["compareRunSections"]] == ["error"]
    assert [(chart["type"], chart["metricKey"]) for chart in state["compareRunCharts"]] == [
        ("LINE", "val/top1_error"), ("BAR", "error/top1_10crop")]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {
        state["compareRunSections"][0]["uuid"]}
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == 2
