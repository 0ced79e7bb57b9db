"""The other end of the emulators' pipe, on this processor, and a fault that it must see."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alexnet.arithmetic import table
from alexnet.arithmetic.operators import Operators
from tests.alexnet.arithmetic.emulated import PROCESSORS, Driven, Processor, compare, compiled


@pytest.mark.parametrize("flags", [(), ("-ffast-math",)])
def test_the_driver(flags: tuple[str, ...], tmp_path: Path) -> None:
    here = Processor("this one", "baseline", shutil.which("gcc") or "cc", ())
    with Driven(here.isa, [str(compiled(here, tmp_path, "-O1", *flags))]) as driven:
        assert bool(table.differing(Operators(driven, threads=2))) == bool(flags)


def test_without_an_emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    verdict = compare(PROCESSORS[0], tmp_path)
    assert verdict == "not compared: x86_64-linux-gnu-gcc and qemu-x86_64 not found"
