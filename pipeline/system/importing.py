"""The import of large packages, which takes seconds of the start of a process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
