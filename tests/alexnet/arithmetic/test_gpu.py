"""Portable arithmetic's kernels for GPUs, interpreted on the CPU and compiled for a GPU:
`gpu_cases.py` and `gpu_compiled.py` in processes without Triton yet.

Triton comes with PyTorch's builds for CUDA; beside a build for the CPU, `pip install --no-deps
triton` makes these run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet.arithmetic.gpu import check


@pytest.mark.skipif(importlib.util.find_spec("triton") is None,
                    reason="no Triton beside this build of PyTorch")
@pytest.mark.parametrize(("file", "interpreted", "cases"), [("gpu_cases.py", "1", 55),
                                                            ("gpu_compiled.py", "0", 3)])
def test_the_kernels(file: str, interpreted: str, cases: int, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", "-p",
                           "no:cacheprovider", str(Path(__file__).with_name(file))],
                          env=os.environ | {"TRITON_INTERPRET": interpreted,
                                            "TRITON_CACHE_DIR": str(tmp_path)},
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) == cases, done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main() == 2
    assert capsys.readouterr().err == "not compared: no GPU that PyTorch can use\n"
