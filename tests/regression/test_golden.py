"""`alexnet check` on what `dvc repro` left in this folder: `pytest tests/regression`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.stages import MEASURED

ROOT = Path(__file__).resolve().parents[2]


def test_the_metrics_hold_against_the_goldens() -> None:
    if not all((ROOT / "metrics" / f"{stage}.json").exists() for stage in MEASURED):
        pytest.skip("no metrics here: nothing was checked; run `dvc repro` first")
    done = subprocess.run([sys.executable, "-m", "pipeline", "check"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(f"nothing was checked: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
