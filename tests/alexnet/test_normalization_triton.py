"""The GPU's kernels, interpreted on the CPU: `triton_cases.py` in a process without Triton yet.

Triton comes with PyTorch's builds for CUDA; beside a build for the CPU, `pip install --no-deps
triton` makes this run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None,
                    reason="no Triton beside this build of PyTorch")
def test_the_kernels_are_the_plain_twin() -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           str(Path(__file__).with_name("triton_cases.py"))],
                          env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b8 passed", done.stdout), done.stdout
