"""Removes what a killed `dvc repro` may have left half written of DVC's own files.

DVC writes two files in place, not whole-or-not-at-all: dvc.lock, its record of what was run, and
.dvc/tmp/rwlock, who is at work. A kill within those milliseconds leaves them empty or cut off, and
DVC then refuses every command. Without them it takes what stages left from its cache, or runs them
again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

SECONDS_TO_WRITE = 1.0  # a file that is broken for longer than this is not just being written
READERS: dict[Path, Callable[[str], Any]] = {Path("dvc.lock"): yaml.safe_load,
                                             Path(".dvc/tmp/rwlock"): json.loads}
NEEDED = {Path("dvc.lock"): "schema"}  # the key without which DVC refuses the file


def mend() -> list[Path]:
    """Remove those of the two files that are broken, and stay so; returns them."""
    removed = broken()
    for file in removed:
        file.unlink()
    return removed


def broken() -> list[Path]:
    """Those of the two files that are broken, and not just being written."""
    found = [file for file in READERS if _broken(file)]
    if found:
        time.sleep(SECONDS_TO_WRITE)
    return [file for file in found if _broken(file)]


def _broken(file: Path) -> bool:
    try:
        content = READERS[file](file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (ValueError, yaml.YAMLError):
        return True
    return not isinstance(content, dict) or (file in NEEDED and NEEDED[file] not in content)
