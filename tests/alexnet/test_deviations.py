"""docs/deviations.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from alexnet.deviations import page
from alexnet.recipe import switches

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deviations.md"


def test_the_page_is_that_of_the_code() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page()


def test_every_switch_has_its_section_with_both_values_and_their_evidence() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for switch in switches():
        section = text.split(f"\n## {switch.name}\n")[1].split("\n## ")[0]
        for fact in (switch.source_evidence, switch.paper_evidence, switch.effect):
            assert fact in section
