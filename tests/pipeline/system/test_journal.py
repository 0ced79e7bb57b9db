"""Lines of a resumed run: what was written after the checkpoint is forgotten, what was before is
there, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.system.errors import UserError
from pipeline.system.journal import Journal


@given(before=st.integers(0, 5), after=st.integers(0, 5), torn=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_later_lines_and_torn_ones_are_forgotten(tmp_path: Path, before: int, after: int,
                                                 torn: bool) -> None:
    file = tmp_path / "trace.jsonl"
    lines = Journal(file)
    for step in range(before):
        lines.append({"step": step})
    kept, mark = file.read_bytes(), lines.mark()
    for step in range(after):
        lines.append({"step": before + step})
    if torn:
        file.write_bytes(file.read_bytes() + b'{"step": 1')
    again = Journal(file, mark)
    assert file.read_bytes() == kept
    assert again.mark() == mark
    again.append({"step": before})
    assert file.read_bytes() == kept + b'{"step": %d}\n' % before


def test_without_a_mark_it_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text("old\n")
    assert Journal(tmp_path / "trace.jsonl").mark()["bytes"] == 0
    assert (tmp_path / "trace.jsonl").read_text() == ""


def test_lines_that_are_fewer_or_others_than_marked_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    lines = Journal(file)
    lines.append({"step": 1})
    mark = lines.mark()
    for content in (b'{"step": 2}\n', b'{"step": 1}', b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is not as it was"):
            Journal(file, mark)


def test_a_file_that_vanishes_or_that_another_writes_to_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    lines = Journal(file)
    lines.append({"step": 1})
    Journal(file).append({"step": 10})
    with pytest.raises(UserError, match=r"trace\.jsonl: something else has written to it"):
        lines.append({"step": 2})
    file.unlink()
    with pytest.raises(FileNotFoundError):
        lines.append({"step": 2})
    assert not file.exists()
