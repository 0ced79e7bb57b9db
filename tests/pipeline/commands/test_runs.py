"""What `alexnet diff` prints of two records."""

from __future__ import annotations

import pytest

from pipeline.commands.runs import _reason, _short, _tell
from pipeline.records.differences import Comparison
from pipeline.studies.rerun.replay import RerunResult


class Equal:
    steps, first, last = 3, None, 101


def test_what_differs_is_told_by_topic_and_short_digests_do_not_look_alike(
        capsys: pytest.CaptureFixture[str]) -> None:
    one, two = "a" * 63 + "1", "a" * 63 + "2"
    apart = {"parameters": {"train.seed": (1, 2)}, "data": {"pixels_digest": (one, two)},
             "code": {}, "metrics": {}}
    _tell(Equal(), [101, 600], apart, {"metrics": "no metric is in both records"})
    assert capsys.readouterr().out.splitlines() == [
        "equal in all 3 traced steps that both have, to step 101; they end at 101 and 600",
        "parameters:", "  train.seed: 1 -> 2", "data:", f"  pixels_digest: {one} -> {two}",
        "code: identical", "metrics: not compared: no metric is in both records"]
    assert _short("b" * 64, "data") != "b" * 64


def test_no_value_of_a_strangers_record_begins_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    apart = {"environment": {"cpu\nforged": ("A\nforged", "B\u2028forged")}, "metrics": {}}
    _tell(Equal(), [101, 101], apart, {"metrics": "no\nforged"})
    said = capsys.readouterr().out
    assert said.count("forged") == 4
    assert not [line for line in said.splitlines() if line.startswith("forged")]


@pytest.mark.parametrize(("steps", "compared", "words"), [
    (None, 13, "13 of 13 traced steps, to step 600, are equal to the bit"),
    (20, 1, "only this step was compared; a larger number compares more"),
    (200, 5, "only these steps were compared"), (600, 13, "13 of 13")])
def test_a_rerun_of_few_steps_says_how_few_were_compared(steps: int | None, compared: int,
                                                         words: str) -> None:
    result = RerunResult("identical", "1" * 32, 13, Comparison(compared, 600, None))
    assert words in _reason(result, steps)
    assert ("only" in _reason(result, steps)) == (compared < 13)
    assert _reason(RerunResult("not compared", "1" * 32, 13, reasons=("a", "b")), steps) == "a; b"
