"""docs/deviations.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from alexnet.deviations import page
from alexnet.recipe import switches

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deviations.md"


def test_the_page_is_that_of_the_code() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page()


def test_the_page_has_what_the_files_of_2012_log() -> None:
    """The files of the original source and what they say, in numbers."""
    rows = {line.split("|")[2].strip(): [cell.strip() for cell in line.split("|")[3:8]]
            for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
            if line.startswith("| `") and "`layer-params-" in line}
    assert rows == {
        "`layer-params-145.cfg`": ["25, 51, 79", "67", "72", "67", "91"],
        "`layer-params-145-2010.cfg`": ["23, 51, 78", "68", "72", "68", "93"],
        "`layer-params-147.cfg`": ["23, 51, 79", "not logged", "79", "not logged", "90"],
        "`layer-params-148.cfg`": ["22, 44, 86", "69", "73", "69", "97"],
        "`layer-params-146-2012-2011.cfg`": ["22, 42", "5", "7", "38", "54"]}


def test_every_switch_has_its_section_with_both_values_and_their_evidence() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for switch in switches():
        section = " ".join(text.split(f"\n## {switch.name}\n")[1].split("\n## ")[0].split())
        for fact in (switch.source_evidence, switch.paper_evidence, switch.effect):
            assert fact in section
