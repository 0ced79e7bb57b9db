"""The kernels read and write nothing beyond their arrays: all of them under AddressSanitizer."""

from __future__ import annotations

import os
import shutil
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


def sanitized(isa: str, folder: Path, sanitizer: str) -> subprocess.CompletedProcess[str]:
    file = library.built(library.ISA_FLAGS[isa], library.sources(),
                         [*library.FLAGS, "-O1", "-fsanitize=address"], folder)
    environment = os.environ | {"LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([sys.executable, "-m", "tests.alexnet.arithmetic.sanitized", isa, file],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", library.offered())
def test_nothing_beyond_an_array_is_touched(isa: str, sanitizer: str, tmp_path: Path) -> None:
    done = sanitized(isa, tmp_path, sanitizer)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("file", "right", "wrong"), [
    ("normalization.c", "first < v->size || all - first < most + v->size", "first == 0"),
    ("products.c", "(images * padded_image + WIDE)", "(images * padded_image)")])
def test_a_kernel_that_reads_on_is_seen(file: str, right: str, wrong: str, sanitizer: str,
                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = shutil.copytree(library.KERNELS, tmp_path / "kernels")
    source = (kernels / file).read_text(encoding="utf-8")
    assert right in source
    (kernels / file).write_text(source.replace(right, wrong), encoding="utf-8")
    monkeypatch.setattr(library, "KERNELS", kernels)
    done = sanitized("baseline", tmp_path, sanitizer)  # which is compiled soonest
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
