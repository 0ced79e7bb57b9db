"""The folder of a training: named by all that decides its bits, and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import parameters
from pipeline.config.paths import MEAN, PCA, STORE
from pipeline.training.execution import resolve
from pipeline.training.run_folder import run_folder

ROOT = Path(__file__).resolve().parents[3]
ON_CPU = "execution.device=cpu"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (STORE / "store.json", MEAN, PCA):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def name(*overrides: str) -> str:
    return run_folder(resolve(parameters.load(ROOT / "params.yaml", [ON_CPU, *overrides]))).name


EXECUTION = ["execution.threads=3", "execution.deterministic=false"]


def other_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0")


@pytest.mark.parametrize("override", [*EXECUTION, "execution.placement=one"])
def test_by_portable_arithmetic_no_execution_is_part_of_it(override: str) -> None:
    assert name(override) == name()


def test_nor_is_the_version_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = name()
    other_pytorch(monkeypatch)
    assert name() == before


@pytest.mark.parametrize("override", EXECUTION)
def test_by_native_arithmetic_it_is(override: str) -> None:
    assert name("train.arithmetic=native", override) != name("train.arithmetic=native")


def test_and_so_is_the_version_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = name("train.arithmetic=native")
    other_pytorch(monkeypatch)
    assert name("train.arithmetic=native") != before


@pytest.mark.parametrize("override", ["train.seed=2", "train.arithmetic=native",
                                      "recipe.weight_decay=0.0001", "network.width=0.5"])
def test_what_decides_bits_is_part_of_it(override: str) -> None:
    assert name(override) != name()


def change(path: Path) -> None:
    path.write_text("other")


@pytest.mark.parametrize("path", [STORE / "store.json", MEAN, PCA], ids=str)
def test_and_so_are_the_data(path: Any) -> None:
    before = name()
    change(path)
    assert name() != before
