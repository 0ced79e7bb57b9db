"""Lines of a resumed run: what was written after the checkpoint is forgotten."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training_process import _forget_after


@given(steps=st.lists(st.integers(1, 50), unique=True).map(sorted), keep=st.integers(0, 60), torn=st.booleans())
def test_later_lines_and_torn_ones_are_forgotten(
        tmp_path_factory: object, steps: list[int], keep: int, torn: bool) -> None:
    file = tmp_path_factory.mktemp("lines") / "trace.jsonl"  # type: ignore[attr-defined]
    whole = [f'{{"step": {step}, "loss": "0x1p+0"}}\n' for step in steps]
    file.write_text("".join(whole) + ('{"step": 1' if torn else ""))
    _forget_after(file, keep)
    assert file.read_text() == "".join(line for line, step in zip(whole, steps, strict=True) if step <= keep)


def test_a_missing_file_becomes_an_empty_one(tmp_path: Path) -> None:
    _forget_after(tmp_path / "trace.jsonl", 5)
    assert (tmp_path / "trace.jsonl").read_text() == ""
