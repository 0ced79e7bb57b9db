"""Claimed beside obtained in README.md: as the evidence in the repository has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.studies.claims import ledger, table
from pipeline.studies.claims.results import Results
from tests.pipeline.studies.runs_of_seeds import HERE
from tests.pipeline.studies.runs_of_seeds import run as run_of_seed

ROOT = Path(__file__).resolve().parents[3]


def test_the_readme_has_the_evidence_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.PART.updated(readme, table.table()) == readme, \
        "fix it with: python -m pipeline.studies.claims.table"


def test_a_claim_that_has_been_run_is_a_row_with_number_interval_and_verdict(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments",
                    ignore=shutil.ignore_patterns("results"))
    before = " ".join(table.table().split())
    assert "of the others: 1 size reproduced, 0 direction only, 1 contradicted, 0 " in before
    results = Results(ledger.load(), "sample")
    for name, errors in (("half", (0.30, 0.31, 0.32)), ("base", (0.20, 0.211, 0.22))):
        for seed, error in enumerate(errors, 1):
            results.add(name, run_of_seed(seed, evaluate__top1_error_10crop=error), HERE,
                        "alexnet claims run")
    after = table.table()
    assert "| 1.7 points | 9.97 points (" in after
    assert "| sample, 1,200 pictures, 3 seeds | direction only |" in after
    assert after.index("| size reproduced |") < after.index("| direction only |")
    assert after.index("| direction only |") < after.index("| contradicted |")
