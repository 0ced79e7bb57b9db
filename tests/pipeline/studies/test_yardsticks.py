"""What is good on a data set: the means of the goldens of its preset, as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import identity
from pipeline.studies import run_sets, yardsticks
from pipeline.studies.run_sets import Run, RunSet
from tests.pipeline.studies.runs_of_seeds import HERE
from tests.pipeline.studies.runs_of_seeds import run as run_of_seed

ROOT = Path(__file__).resolve().parents[3]


def kept(folder: Path, preset: str, errors: list[float], name: str = "a", **changed: str) -> None:
    """Keep runs of a preset in the folder; with a part of the configuration changed."""
    configuration = identity.configuration(yardsticks._preset(preset)) | changed
    runs = []
    for seed, error in enumerate(errors, 1):
        made = run_of_seed(seed, evaluate__top1_error_10crop=error, evaluate__top1_error=error,
                           evaluate__top5_error=0.01)
        runs.append(Run(seed, made.metrics, record={"seconds": 100.0 * seed**2},
                        curve=[f"1 2 0.5 2 {error + 0.2}", f"2 1 0.4 1 {error}"]))
    run_sets.write(RunSet(name, configuration, "", HERE, runs), folder)


def test_the_best_golden_of_the_preset_as_it_is_now_counts(tmp_path: Path) -> None:
    assert yardsticks.of_preset("sample", tmp_path) is None
    kept(tmp_path, "sample", [0.1, 0.2], "too few")
    kept(tmp_path, "sample", [0.0, 0.0, 0.0], "another", **{"network.width": "1.0"})
    kept(tmp_path, "imagenette", [0.3, 0.4, 0.5], "imagenette-1")
    assert yardsticks.of_preset("sample", tmp_path) is None
    kept(tmp_path, "sample", [0.2, 0.1, 0.3], "good")
    found = yardsticks.of_preset("sample", tmp_path)
    assert found is not None
    assert (found.name, found.runs, found.pictures, found.suffix) == ("good", 3, 1200, "_10crop")
    assert found.errors["top1_error_10crop"] == pytest.approx(0.2)
    assert (found.lowest, found.highest, found.seconds) == (0.1, 0.3, 400.0)
    assert found.curve == [(1.0, pytest.approx(0.4)), (2.0, pytest.approx(0.2))]
    other = yardsticks.of_preset("imagenette", tmp_path)
    assert other is not None
    assert other.name == "imagenette-1"


def test_the_readme_has_the_table_of_the_goldens_that_there_are(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert yardsticks.PART.updated(readme, yardsticks.table()) == readme, \
        "python -m pipeline.studies.yardsticks fixes it"
    monkeypatch.chdir(tmp_path)
    assert yardsticks.table().startswith("No runs of the presets as they are now")
    kept(tmp_path / "golden", "imagenette", [0.3, 0.4, 0.5])
    assert "| `imagenette`, 1,200 pictures | 3 | 40.0 % (30.0 to 50.0) | 0.0 % | 40.0 % | 7 min |" \
        in yardsticks.table()
