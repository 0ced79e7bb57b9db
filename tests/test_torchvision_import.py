"""torchvision through its one door, in a process of its own: the shim must be the first to import
it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USE = """
from benchmarks import torchvision_import as vision
import torch
crops = vision.transforms.TenCrop(4)(torch.arange(3 * 6 * 6.).reshape(3, 6, 6))
picture = torch.arange(3 * 6 * 6.).reshape(3, 6, 6)
assert len(crops) == 10
assert torch.equal(crops[0], picture[:, :4, :4])
assert torch.equal(crops[4], picture[:, 1:5, 1:5])
assert torch.equal(crops[5], picture.flip(2)[:, :4, :4])
assert vision.make_grid(torch.rand(4, 3, 5, 5), nrow=2, padding=1).shape == (3, 13, 13)
import torchvision
print("declared" if vision._declared else "loaded")
"""


def test_ten_crops_and_grids_work() -> None:
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("declared", "loaded")


def test_nothing_else_imports_torchvision() -> None:
    importers = [file.relative_to(ROOT).as_posix()
                 for package in ("alexnet", "pipeline", "benchmarks")
                 for file in (ROOT / package).rglob("*.py")
                 if any(line.lstrip().startswith(("import torchvision", "from torchvision"))
                        for line in file.read_text(encoding="utf-8").splitlines())]
    assert importers == ["benchmarks/torchvision_import.py"]
