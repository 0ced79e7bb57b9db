"""The table of stages against dvc.yaml, and against what each stage really imports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.config.stages import BY_NAME, LEFT_OUT, NAMES, code_digest
from tests.closures import closure, room
from tests.test_rooms import ROOT

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SMALL = {Path("pipeline/__init__.py"), Path("alexnet/__init__.py")}  # a docstring each


def uncovered(stage: str, files: list[Path]) -> list[str]:
    """Those of the files that neither a dependency of the stage covers nor LEFT_OUT names."""
    dependencies = BY_NAME[stage].code_dependencies
    return [file.as_posix() for file in files if file not in SMALL
            and file.as_posix() not in dependencies and room(file) not in dependencies
            and room(file) not in LEFT_OUT]


def test_dvc_has_the_stages_of_the_table_in_its_order() -> None:
    assert tuple(DVC) == NAMES


@pytest.mark.parametrize("stage", NAMES)
def test_dvc_has_the_code_and_the_parameters_of_the_table(stage: str) -> None:
    listed = [name for name in DVC[stage]["deps"]
              if name.startswith(("alexnet", "pipeline"))]
    assert listed == list(BY_NAME[stage].code_dependencies)
    assert DVC[stage].get("params", []) == list(BY_NAME[stage].sections)


@pytest.mark.parametrize("stage", NAMES)
def test_all_that_a_stage_imports_is_a_dependency_or_left_out_for_a_reason(stage: str) -> None:
    files = closure(stage)
    assert Path(f"pipeline/stages/{stage}.py") in files
    assert Path("pipeline/system/errors.py") in files
    assert uncovered(stage, files) == []


def test_an_import_that_nothing_covers_is_seen() -> None:
    stray = Path("pipeline/studies/ensemble.py")
    assert uncovered("train", [*closure("train"), stray]) == [stray.as_posix()]


def test_each_room_that_is_left_out_has_a_reason_and_is_imported() -> None:
    rooms = {room(file) for stage in NAMES for file in closure(stage)}
    assert set(LEFT_OUT) <= rooms
    assert all(len(reason) > 40 for reason in LEFT_OUT.values())


def test_a_change_to_any_file_of_its_rooms_makes_a_training_another(tmp_path: Path) -> None:
    for name in ("alexnet", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_digest("train", tmp_path)
    assert before == code_digest("train", ROOT)
    for file in closure("train"):
        covered = room(file) in BY_NAME["train"].code or file.name == "train.py"
        text = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(text + b"#\n")
        assert (code_digest("train", tmp_path) != before) == ((covered and file not in SMALL)
                                                              or room(file) == "alexnet"), file
        (tmp_path / file).write_bytes(text)
    assert code_digest("train", tmp_path) == before
