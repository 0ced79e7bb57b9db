"""The kernels read and write nothing beyond their arrays: all of them under AddressSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.arithmetic import library

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sanitizer() -> str:
    """The library that has to be loaded first."""
    found = subprocess.run([*library._compiler(), "-print-file-name=libasan.so"],
                           capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(found):
        pytest.skip("not checked: this compiler comes without AddressSanitizer")
    return found


def test_nothing_beyond_an_array_is_touched(sanitizer: str, tmp_path: Path) -> None:
    file = library.built(library.ISA_FLAGS[library.chosen()], library.sources(),
                         [*library.FLAGS, "-O1", "-fsanitize=address"], tmp_path)

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0"}
        return subprocess.run(
            [sys.executable, "-m", "tests.alexnet.arithmetic.sanitized", str(file), *more],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 0, done.stderr
    wrong = run("wrong")
    assert wrong.returncode != 0
    assert "AddressSanitizer" in wrong.stderr
