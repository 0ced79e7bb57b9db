"""Checkpoints are whole, checked, pruned."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from alexnet.digest import digest_of
from pipeline.system.errors import UserError
from pipeline.system.journal import Journal
from pipeline.training import checkpoints, run


def state(step: int) -> dict[str, Tensor]:
    return {"weights/conv1.weight": torch.full((4, 3), float(step)),
            "momentum/conv1.weight": torch.zeros(4, 3)}


def saved(folder: Path, *steps: int) -> None:
    """Checkpoints of these steps, and after each a line more beside them."""
    lines = Journal(folder / "trace.jsonl")
    for step in steps:
        lines.append({"step": step})
        checkpoints.save(folder, step, state(step),
                         {"loss_sum": (0.1 * step).hex(), "loss_count": step}, [lines])
    lines.append({"step": steps[-1] + 1})


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
    assert kept == ["step-00000003.safetensors", "step-00000004.safetensors", "trace.jsonl"]


def test_one_that_is_written_beside_the_training_is_the_same(tmp_path: Path) -> None:
    """With lines that come while it is written, which are not of it."""
    for folder, writer in ((tmp_path / "a", None), (tmp_path / "b", checkpoints.Writer())):
        lines = Journal(folder / "trace.jsonl")
        for step in (1, 2, 3):
            lines.append({"step": step})
            (writer.save if writer else checkpoints.save)(folder, step, state(step), {"n": step},
                                                          [lines])
            lines.append({"after": step})
        if writer:
            writer.finish()
    assert len(list((tmp_path / "b").iterdir())) == 3
    for step in (2, 3):
        a, b = (checkpoints.read(tmp_path / name / checkpoints.file_name(step)) for name in "ab")
        assert (a[0], digest_of(a[1]), a[2]) == (b[0], digest_of(b[1]), b[2])
    assert checkpoints.newest(tmp_path / "b") is not None


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that writes nothing until the event is set."""
    free, write = threading.Event(), checkpoints._write

    def slowly(*arguments: Any) -> None:
        assert free.wait(20)
        write(*arguments)

    monkeypatch.setattr(checkpoints, "_write", slowly)
    return free


def test_the_training_goes_on_while_one_is_written(tmp_path: Path,
                                                   slow_disk: threading.Event) -> None:
    writer, lines = checkpoints.Writer(), Journal(tmp_path / "trace.jsonl")
    writer.save(tmp_path, 1, state(1), {}, [lines])  # returns: the disk is not waited for
    assert checkpoints.newest(tmp_path) is None
    lines.append({"step": 2})
    slow_disk.set()
    writer.finish()
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found[0] == 1
    assert found[2]["lines"]["trace.jsonl"]["bytes"] == 0


def test_what_befalls_a_checkpoint_is_raised_once(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = checkpoints.Writer()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_write", full)
        writer.save(tmp_path, 1, state(1), {}, [])
        with pytest.raises(OSError, match="No space left"):
            writer.save(tmp_path, 2, state(2), {}, [])
    writer.save(tmp_path, 3, state(3), {}, [])
    writer.finish()
    assert [file.name for file in tmp_path.iterdir()] == [checkpoints.file_name(3)]


@pytest.mark.parametrize(("seconds", "passed", "due"), [(0, 0.0, True), (60, 59.0, False),
                                                        (60, 60.0, True)])
def test_one_is_due_by_steps_and_by_time(seconds: int, passed: float, due: bool,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    training = object.__new__(run._Run)
    training.checkpoint_every, training.checkpoint_seconds = 10, seconds
    training.checkpointed = 1000.0
    monkeypatch.setattr(run.time, "monotonic", lambda: 1000.0 + passed)
    assert training._checkpoint_is_due(20) == due
    assert not training._checkpoint_is_due(21)


def test_as_many_are_kept_as_are_asked_for(tmp_path: Path) -> None:
    lines = Journal(tmp_path / "trace.jsonl")
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path / "kept", step, state(step), {}, [lines], recent=None)
    assert len(list((tmp_path / "kept").iterdir())) == 4
    step, tensors, memory = checkpoints.read(tmp_path / "kept" / checkpoints.file_name(2))
    assert (step, digest_of(tensors)) == (2, digest_of(state(2)))
    assert memory["lines"]["trace.jsonl"]["bytes"] == 0


@given(where=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_one_flipped_bit_it_is_told_of_and_the_one_before_used(
        tmp_path: Path, where: int, bit: int, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, 5, 10)
    whole = checkpoints.newest(tmp_path)
    assert whole is not None
    capsys.readouterr()
    file = tmp_path / "step-00000010.safetensors"
    content = bytearray(file.read_bytes())
    content[where % len(content)] ^= 1 << bit
    file.write_bytes(content)
    found = checkpoints.newest(tmp_path)
    assert found is not None
    said = capsys.readouterr().err
    if found[0] == 10:  # the same header, written otherwise
        assert (digest_of(found[1]), found[2]) == (digest_of(whole[1]), whole[2])
        assert said == ""
    else:
        assert found[0] == 5
        assert "step-00000010.safetensors: damaged" in said


@pytest.mark.parametrize(("shapes", "told"), [
    ({"conv1.weight": (4, 4)},
     r"momentum/conv1.weight is float32 \[4, 3\], where float32 \[4, 4\] belongs"),
    ({"conv1.weight": (4, 3), "fc8.bias": (2,)},
     r"momentum/fc8.bias is none, where float32 \[2\] belongs"),
    ({}, r"momentum/conv1.weight is float32 \[4, 3\], where nothing belongs")])
def test_one_of_another_network_is_refused_by_file_and_tensor(tmp_path: Path,
                                                              shapes: dict[str, tuple[int, ...]],
                                                              told: str) -> None:
    saved(tmp_path, 5)
    found = checkpoints.newest(tmp_path)
    assert found is not None  # it is whole
    with pytest.raises(UserError, match=rf"step-00000005.safetensors: {told}.*remove the file"):
        checkpoints.check_fits(tmp_path, 5, found[1], shapes)
    halves = {name: tensor.half() for name, tensor in state(5).items()}
    with pytest.raises(UserError, match="float16"):
        checkpoints.check_fits(tmp_path, 5, halves, {"conv1.weight": (4, 3)})
    checkpoints.check_fits(tmp_path, 5, found[1], {"conv1.weight": (4, 3)})


@pytest.mark.parametrize(("where", "step"), [(0, None), (13, 5)])
def test_lines_that_have_changed_take_with_them_the_checkpoints_that_stand_on_them(
        tmp_path: Path, where: int, step: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, 5, 10)
    lines = tmp_path / "trace.jsonl"
    content = bytearray(lines.read_bytes())
    content[where] ^= 1
    lines.write_bytes(content)
    found = checkpoints.newest(tmp_path)
    assert (found and found[0]) == step
    assert "damaged (trace.jsonl is not as it was" in capsys.readouterr().err


def test_a_file_cut_off_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 5, 10)
    file = tmp_path / "step-00000010.safetensors"
    for length in (0, 7, 100, file.stat().st_size - 1):
        file.write_bytes(file.read_bytes()[:length])
        found = checkpoints.newest(tmp_path)
        assert found is not None
        assert found[0] == 5
