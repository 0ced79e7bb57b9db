"""Tables in the terminal: 80 columns without a terminal, too, and nothing lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.system.tables import print_table, terminal_table

LONG = "models/" + "a" * 150


def printed(monkeypatch: pytest.MonkeyPatch, columns: str | None) -> str:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    stream = io.StringIO()
    table = terminal_table("stage", "verdict", "detail")
    table.add_row("train", "differs", " ".join(f"word{number}" for number in range(60)))
    table.add_row("report", "identical", LONG)
    print_table(table, Console(file=stream))
    return stream.getvalue()


def test_a_pipe_has_80_columns_and_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdin", "stdout", "stderr"):  # which may be terminals of the tests' own
        monkeypatch.setattr(f"sys.__{stream}__", io.StringIO())
    text = printed(monkeypatch, None)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"word{number}" in text.split() for number in range(60))
    assert "…" not in text
    assert LONG in "".join(text.partition("identical")[2].split())


def test_columns_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 80 < max(map(len, printed(monkeypatch, "120").splitlines())) <= 120
