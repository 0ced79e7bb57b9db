"""A part of a document that a module makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.system.errors import UserError
from pipeline.system.generated import GeneratedPart


def test_what_stands_around_it_stays(tmp_path: Path) -> None:
    part = GeneratedPart(tmp_path / "page.md", "<!-- begin -->\n", "<!-- end -->\n")
    part.file.write_text("# Ä\n\n<!-- begin -->\nold\n<!-- end -->\nb\n", encoding="utf-8")
    part.write("new\n")
    assert part.file.read_text(encoding="utf-8") == \
        "# Ä\n\n<!-- begin -->\nnew\n<!-- end -->\nb\n"


@pytest.mark.parametrize("text", ["", "<!-- begin -->\nold\n", "old\n<!-- end -->\n",
                                  "<!-- end -->\n<!-- begin -->\n"])
def test_without_its_place_nothing_is_written(tmp_path: Path, text: str) -> None:
    part = GeneratedPart(tmp_path / "page.md", "<!-- begin -->\n", "<!-- end -->\n")
    part.file.write_text(text)
    with pytest.raises(UserError, match=r"page\.md: no place .* between <!-- begin --> and"):
        part.write("new\n")
    assert part.file.read_text() == text
