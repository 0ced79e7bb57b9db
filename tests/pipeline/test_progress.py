"""Progress as lines, where no terminal is: rate and time left, of what was done since the start."""

from __future__ import annotations

import pytest

from pipeline import progress as progress_
from pipeline.progress import progress


def test_lines_tell_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 10.0, 20.0, 25.0, 40.0, 40.0])
    monkeypatch.setattr(progress_.time, "monotonic", lambda: next(clock))
    with progress("resize", 100, "images", done=40) as told:
        told(0)  # nothing is known yet of the time left
        told(20, "half")
        told(5)  # within ten seconds of the line before
        told(35)
    assert capsys.readouterr().err.splitlines() == [
        "resize: 40 of 100 images, 0.0 a second",
        "resize: 60 of 100 images, 1.0 a second, 40 s left; half",
        "resize: 100 of 100 images, 1.5 a second, 0 s left",
        "resize: 100 images in 40.0 s"]


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("resize", 100, "images", quiet=True) as told:
        told(100)
    assert capsys.readouterr().err == ""
