"""The garbage collector rests during the first import of a large package, and only then."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.system.importing import absent, first_import

ABSENT = "no_module_of_this_name"


def test_the_collector_rests_within_the_block_and_works_after_it() -> None:
    frozen = gc.get_freeze_count()
    try:
        with first_import(ABSENT):
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


AT_EXIT = """
import atexit, gc, sys, types
atexit.register(lambda: print(bool(gc.get_freeze_count())))  # after what is registered later
from pipeline.system.importing import first_import
if {triton}:
    sys.modules["triton"] = types.ModuleType("triton")
with first_import("no_module_of_this_name"):
    pass
"""


@pytest.mark.parametrize("triton", [True, False])
def test_at_the_end_tritons_bindings_are_collected(triton: bool) -> None:
    """They list what is left as leaked, thirty lines after each command."""
    done = subprocess.run([sys.executable, "-c", AT_EXIT.format(triton=triton)], check=True,
                          capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout == f"{not triton}\n"


def test_it_works_after_an_import_that_fails() -> None:
    try:
        with pytest.raises(ModuleNotFoundError), first_import(ABSENT):
            import_module(ABSENT)
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_nothing_is_done_where_the_module_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, ABSENT, gc)
    frozen = gc.get_freeze_count()
    with first_import(ABSENT):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with first_import(ABSENT):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_module_is_absent_within_the_block_unless_it_has_been_imported(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with absent("wave"):
        with pytest.raises(ModuleNotFoundError):
            import_module("wave")
        assert import_module("json") is sys.modules["json"]
    wave = import_module("wave")
    with absent("wave"):
        assert import_module("wave") is wave
