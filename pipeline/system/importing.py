"""The import of large packages, which takes seconds of the start of a process."""

from __future__ import annotations

import atexit
import gc
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def first_import(module: str) -> Iterator[None]:
    """Have Python's garbage collector rest within the block, which imports this module for the
    first time; do nothing where the module has been imported.

    What an import makes stays, and to look through it again and again takes a fifth of the time.
    The collector passes over all that is there at the end of the block from then on.
    """
    if module in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@atexit.register
def _unfreeze() -> None:
    """Have the last collection find what Triton's bindings would otherwise list as leaked."""
    if "triton" in sys.modules:
        gc.unfreeze()


@contextmanager
def absent(*modules: str) -> Iterator[None]:
    """Have these modules be absent for what is imported within the block; those that have been
    imported stay."""
    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Sequence[str] | None,
                      target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
            if name in modules:
                raise ModuleNotFoundError(f"{name} is not needed here", name=name)
            return None

    finder = Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
