"""What survives a power loss: the order in which files, and the names of files, reach the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.records import mlflow_connection, unsent
from pipeline.records.record import Record
from pipeline.system.files import atomic_write, make_folder
from pipeline.system.journal import Journal
from pipeline.training import checkpoints

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that matter, in their order: what was done, and the last name of what it was done
    to."""
    seen: list[tuple[str, str]] = []

    def trace(name: str, of: Callable[..., str]) -> None:
        call = getattr(os, name)

        def traced(*arguments: Any, **named: Any) -> Any:
            seen.append((name, Path(of(*arguments)).name))
            return call(*arguments, **named)

        monkeypatch.setattr(os, name, traced)

    trace("fsync", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
    trace("replace", lambda _, target: str(target))
    trace("rename", lambda _, target: str(target))
    trace("unlink", lambda path, **_: str(path))
    return seen


def test_a_file_reaches_the_disk_before_its_name_and_then_its_folder_does(
        tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with atomic_write(tmp_path / "new/deep/file") as stream:
        stream.write(b"content")
    names = [(call, re.sub(r"^[.](file)[.].*[.]part$", "the part", name)) for call, name in calls]
    assert names[:5] == [("fsync", "new"), ("fsync", tmp_path.name), ("fsync", "the part"),
                         ("replace", "file"), ("fsync", "deep")]


def test_a_folder_is_known_to_the_one_above_it(
        tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    make_folder(tmp_path / "a/b")
    assert calls == [("fsync", "a"), ("fsync", tmp_path.name)]
    make_folder(tmp_path / "a/b")
    assert len(calls) == 2


def test_lines_reach_the_disk_before_the_checkpoint_that_counts_them_and_it_before_the_old_one_goes(
        tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    journal = Journal(tmp_path / "trace.jsonl")
    for step in range(1, 4):
        journal.append({"step": step})
        calls.clear()
        checkpoints.save(tmp_path, step, {"weights/a": torch.zeros(2)}, {}, [journal])
    order = [(call, name) for call, name in calls if name and not name.endswith(".part")]
    assert order == [("fsync", "trace.jsonl"), ("replace", "step-00000003.safetensors"),
                     ("fsync", tmp_path.name), ("unlink", "step-00000001.safetensors")]
    assert calls[1][0] == "fsync"
    assert calls[1][1].startswith(".step-00000003.safetensors.")


def test_a_database_of_runs_reaches_the_disk_before_its_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, str]]) -> None:
    monkeypatch.chdir(tmp_path)
    mlflow_connection.client()
    (first, part), *rest = calls[-3:]
    assert (first, part.endswith(".part")) == ("fsync", True)
    assert rest == [("rename", "mlflow.db"), ("fsync", tmp_path.name)]


def test_a_record_that_was_not_sent_reaches_the_disk_before_its_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, str]]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").write_bytes(b"weights")
    record = Record("pca", 1000, {}, {"record": "r" * 32}, {})
    record.add_artifact(Path("weights"))
    unsent.keep(record)
    [kept] = Path("work/unsent").iterdir()
    at = calls.index(("rename", kept.name))
    assert {("replace", "weights"), ("replace", "record.json")} <= set(calls[:at])
    assert calls[at + 1:] == [("fsync", "unsent")]


def test_the_kernel_is_asked_for_it(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True,
                                        check=False).returncode:
        pytest.skip("no strace here, or no right to use it")
    script = ("from pathlib import Path; from pipeline.system.files import write_json;"
              "write_json(Path('file.json'), 1)")
    done = subprocess.run([strace, "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2",
                           sys.executable, "-c", script], cwd=tmp_path, capture_output=True,
                          text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    asked = [line for line in done.stderr.splitlines() if "file.json" in line
             or f"<{tmp_path}>" in line]
    assert [re.sub(r"^(\[pid +\d+\] )?(\w+)\(.*", r"\2", line) for line in asked] == [
        "fsync", "rename", "fsync"], done.stderr
