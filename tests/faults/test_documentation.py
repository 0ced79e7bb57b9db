"""The table in docs/reliability.md names tests that are there, and every test here is in it."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"


def test_the_table_and_the_tests_are_the_same() -> None:
    named = set(re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE.read_text()))
    there = {(file.name, name) for file in HERE.glob("test_*.py") if file.name != Path(__file__)
             .name for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)}
    assert named == there


def test_those_that_are_long_are_called_so() -> None:
    called = set(re.findall(r"`(test_\w+\.py)::(\w+)` \(long\)", PAGE.read_text()))
    marked = {(file.name, name) for file in HERE.glob("test_*.py")
              for name in re.findall(r"^@pytest\.mark\.long\n(?:@.*\n|    .*\n)*def (test_\w+)\(",
                                     file.read_text(), re.MULTILINE)}
    # by its parameters
    marked |= {("test_disk.py", name) for name in ("test_disk_full", "test_a_read_only_folder")}
    assert called == marked


def test_files_that_it_names_are_there() -> None:
    for name in re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text()):
        assert (HERE.parents[1] / name).exists(), name
