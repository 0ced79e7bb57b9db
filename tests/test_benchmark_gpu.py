"""`python -m benchmarks.gpu`: a rehearsal on the CPU, without what a borrowed machine lacks, and
each phase made to fail once, at its own cost alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import gpu, gpu_part, gpu_portable

ROOT = Path(__file__).resolve().parents[1]
LACKING = ("dvc", "mlflow", "PIL", "click", "pydantic", "safetensors", "yaml", "rich", "pyarrow",
           "pandas", "scipy")
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] not in {LACKING!r}:
            return PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture(autouse=True)
def _a_phase_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time runs from the import, which here may be long ago."""
    monkeypatch.setattr(gpu_part, "START", time.monotonic())



def rehearse(tmp_path: Path, *arguments: str) -> tuple[int, str, list[dict[str, Any]]]:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--output",
                           str(tmp_path / "out"), *arguments], cwd=ROOT, text=True,
                          capture_output=True, timeout=400, env=os.environ | {
                              "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
                              "OMP_NUM_THREADS": "1"})
    file = tmp_path / "out" / "gpu.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in lines]


def test_a_rehearsal_without_what_a_borrowed_machine_lacks(tmp_path: Path) -> None:
    status, printed, rows = rehearse(tmp_path)
    assert status == 0, printed
    assert [row["phase"] for row in rows if row["what"] == "the phase"] == list(gpu.PHASES)
    verdicts = {row["what"]: row.get("verdict") for row in rows}
    assert verdicts["4 updates, one process and two over gloo"] == "identical"
    assert verdicts["4 updates of the rehearsal, weights and momentum"] == "identical"
    assert verdicts["gradients against float64, recipe paper"] == "agrees"
    assert any("images/s" in row for row in rows)
    assert len(printed.splitlines()) >= len(rows)  # each is a line of the table


def test_what_is_lacking_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", "import PIL"], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert "No module named 'PIL'" in done.stderr


GOOD = [sys.executable, "-c", """print('{"what": "w", "verdict": "identical"}')"""]
ENDS = {"raises": ("raise SystemExit('no kernel image')", "no kernel image"),
        "is killed": ("import os; os.kill(os.getpid(), 9)", "status -9"),
        "hangs": ("import time; time.sleep(100)", "s were up")}


@pytest.mark.parametrize("phase", gpu.PHASES)
@pytest.mark.parametrize("end", ENDS)
def test_a_phase_that_fails_costs_itself(phase: str, end: str, tmp_path: Path) -> None:
    code, said = ENDS[end]
    broken = [sys.executable, "-c",
              f"""print('{{"what": "before", "verdict": "agrees"}}', flush=True); {code}"""]
    rows = gpu.conduct({name: broken if name == phase else GOOD for name in gpu.PHASES}, 8.0,
                       tmp_path, show=False)
    ends = {row["phase"]: row for row in rows if row["what"] == "the phase"}
    assert ends[phase]["verdict"] == "failed"
    assert said in ends[phase]["detail"]
    assert any(row["phase"] == phase and row["what"] == "before" for row in rows)
    for other in set(gpu.PHASES) - {phase}:
        # a last phase that hangs takes what is left, and one before it its share alone
        assert ends[other]["verdict"] == "done"
    written = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert written == rows


def test_without_time_a_phase_is_not_compared(tmp_path: Path) -> None:
    rows = gpu.conduct(dict.fromkeys(gpu.PHASES, GOOD), 0.5, None, show=False)
    assert {row["verdict"] for row in rows} == {"not compared"}


def rows_of(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_a_part_that_fails_costs_itself(capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    ended: list[int] = []
    monkeypatch.setattr(gpu_part.os, "_exit", ended.append)
    monkeypatch.setattr(gpu_part, "interpreted", lambda device: False)
    monkeypatch.setattr(sys, "argv", ["x", "cpu"])
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        gpu_part.each({"first": fails, "second": lambda device: gpu_part.emit("it", verdict="ok")})
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
    first, second = rows_of(capsys.readouterr().out)
    assert (first["what"], first["verdict"]) == ("first", "failed")
    assert "illegal memory" in first["detail"]
    assert second["verdict"] == "ok"
    assert ended == [1]


def test_another_digest_and_the_operator_behind_it_are_named(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU that is off by an ulp in one operator."""
    device, host = torch.device("cpu"), gpu_portable.Portable().host

    class Off:
        def __getattr__(self, name: str) -> Any:
            return getattr(host, name)

        def lrn(self, x: Tensor, constants: Any) -> Any:
            y, quotient = host.lrn(x, constants)
            y.view(-1)[5] = torch.nextafter(y.view(-1)[5], torch.tensor(9.0))
            return y, quotient

    class OffPortable(gpu_portable.Portable):
        def __init__(self, gpu: bool = False) -> None:
            super().__init__()
            self._gpu = Off() if self.first else None
            OffPortable.first = False

        first = True

    monkeypatch.setattr(gpu_portable, "Portable", OffPortable)
    gpu_portable.sample(device)
    state, operator = rows_of(capsys.readouterr().out)
    assert state["verdict"] == operator["verdict"] == "differs"
    assert state["digest"] != state["stored"]
    assert operator["detail"].startswith("lrn: 1 elements differ, the first at [0, 0, 2, 1] ")


def test_pictures_that_are_drawn_otherwise_are_named(capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_portable.pictures

    def changed(count: int) -> Any:
        images = right(count)
        images[0, 0, 0, 0] ^= 1
        return images

    monkeypatch.setattr(gpu_portable, "pictures", changed)
    gpu_portable.sample(torch.device("cpu"))
    first = rows_of(capsys.readouterr().out)[0]
    assert (first["what"], first["verdict"]) == ("pictures of the sample", "differs")
