"""A clock that jumps: no bit depends on it, and nothing that shows progress or records times
stumbles over it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Bench

HERE = Path(__file__).parent
JUMPING = f"{HERE / 'jumping_clock'}{os.pathsep}{HERE.parents[1]}"
TRAINED = ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json")


@pytest.mark.long
def test_a_clock_that_jumps(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    ran = bench.run("train", "--placement", "one", PYTHONPATH=JUMPING).done("train: 80 images in")
    bench.assert_right(*TRAINED)
    assert "warning" not in ran.said, ran.said  # the record is in MLflow, too
    outcome("status 0, the same weights, curve and trace; durations are of the monotonic clock")
