"""Checkpoints are whole, checked, pruned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from alexnet.digest import digest_of
from pipeline import checkpoints


def state(step: int) -> dict[str, Tensor]:
    return {"weights/conv1.weight": torch.full((4, 3), float(step)), "momentum/conv1.weight": torch.zeros(4, 3)}


def saved(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoints.save(folder, step, state(step), {"loss_sum": (0.1 * step).hex(), "loss_count": step})


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, 5, 10)
    found = checkpoints.newest(tmp_path)
    assert found is not None
    step, tensors, memory = found
    assert step == 10
    assert digest_of(tensors) == digest_of(state(10))
    assert float.fromhex(memory["loss_sum"]) == 0.1 * 10


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None


def test_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4)
    kept = [file.name for file in sorted(tmp_path.iterdir())]
    assert kept == ["step-00000003.safetensors", "step-00000004.safetensors"]


@pytest.mark.parametrize("where", [8, 200, -1])
def test_a_damaged_one_is_told_of_and_the_one_before_used(
        tmp_path: Path, where: int, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, 5, 10)
    file = tmp_path / "step-00000010.safetensors"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found[0] == 5
    assert "step-00000010.safetensors: damaged" in capsys.readouterr().err


def test_a_file_cut_off_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 5, 10)
    file = tmp_path / "step-00000010.safetensors"
    for length in (0, 7, 100, file.stat().st_size - 1):
        file.write_bytes(file.read_bytes()[:length])
        found = checkpoints.newest(tmp_path)
        assert found is not None
        assert found[0] == 5
