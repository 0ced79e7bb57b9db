"""What `alexnet diff` prints of two records."""

from __future__ import annotations

import pytest

from pipeline.commands.runs import _short, _tell


class Equal:
    steps, first, last = 3, None, 101


def test_what_differs_is_told_by_topic_and_short_digests_do_not_look_alike(
        capsys: pytest.CaptureFixture[str]) -> None:
    one, two = "a" * 63 + "1", "a" * 63 + "2"
    apart = {"parameters": {"train.seed": (1, 2)}, "data": {"pixels_digest": (one, two)},
             "code": {}}
    _tell(Equal(), [101, 600], apart)
    assert capsys.readouterr().out.splitlines() == [
        "equal in all 3 traced steps that both have, to step 101; they end at 101 and 600",
        "parameters:", "  train.seed: 1 -> 2", "data:", f"  pixels_digest: {one} -> {two}",
        "code: the same"]
    assert _short("b" * 64, "data") != "b" * 64
