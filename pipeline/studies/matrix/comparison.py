"""Compares the bits that a stage left in two folders.

`difference(stage, a, b)` returns None when all outputs are equal, else one line for people: the
file and the first tensor, image, element, line or byte that differs; for a training, the first step
of the trace and what differs there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.config.paths import TRACE, metrics_of
from pipeline.config.stages import BY_NAME
from pipeline.records.differences import compare_traces


class NothingToCompare(Exception):
    """Neither folder has an output; the message names it."""


def difference(stage: str, a: Path, b: Path) -> str | None:
    """Return the first difference between what the stage left in two project folders.

    Args:
        stage: its name.
        a: the reference run's folder.
        b: the other one.

    Raises:
        NothingToCompare: an output that both lack.
    """
    for output in (*BY_NAME[stage].outputs, metrics_of(stage)):
        for name in sorted({file.relative_to(folder) for folder in (a, b)
                            for file in _files(folder / output)}):
            missing = next((folder for folder in (a, b) if not (folder / name).is_file()), None)
            first = (f"only in {(b if missing == a else a).name}" if missing
                     else file_difference(a / name, b / name))
            if first:
                return first if name == TRACE else f"{name.as_posix()}: {first}"
        if not _files(a / output):
            raise NothingToCompare(f"{output}: no such file in either folder")
    return None


def of_arrays(a: NDArray[Any], b: NDArray[Any]) -> str | None:
    """Return the first element whose bits differ, None if none does.

    0.0 differs from -0.0, and a NaN from one with other bits. The arrays may have any shapes and
    dtypes; other ones are a difference themselves.
    """
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype}{list(a.shape)}, then {b.dtype}{list(b.shape)}"
    if a.size == 0:
        return None
    bits = [array.reshape(-1).view(numpy.uint8).reshape(array.size, -1) for array in
            map(numpy.ascontiguousarray, (a, b))]
    unequal = (bits[0] != bits[1]).any(axis=1)
    if not unequal.any():
        return None
    where = tuple(int(k) for k in numpy.unravel_index(int(unequal.argmax()), a.shape))
    return (f"element {list(where)}: {a[where]!r}, then {b[where]!r} ({int(unequal.sum())} of "
            f"{a.size} differ)")


def file_difference(a: Path, b: Path) -> str | None:
    """Return the first difference between two files, None where their bytes are equal."""
    if _same_bytes(a, b):
        return None
    try:
        return _of_contents(a, b)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile,
            safetensors.SafetensorError) as error:
        return f"other bytes, and one of them is damaged ({error})"


def _of_contents(a: Path, b: Path) -> str | None:
    if a.name == TRACE.name:
        return _of_traces(lines_of_json(a), lines_of_json(b))
    if a.suffix == ".npy":
        return of_arrays(numpy.load(a, allow_pickle=False), numpy.load(b, allow_pickle=False))
    if a.suffix == ".safetensors":
        return _of_named(*(dict(sorted(safetensors.numpy.load_file(file).items()))
                           for file in (a, b)))
    if a.suffix in (".json", ".csv"):
        for number, (ours, theirs) in enumerate(zip(*map(_text_lines, (a, b)), strict=False), 1):
            if ours != theirs:
                return f"line {number}: {ours.strip()}, then {theirs.strip()}"
        return "one is longer"
    return f"byte {next(_unequal_bytes(a, b), min(a.stat().st_size, b.stat().st_size))}"


def _of_traces(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> str:
    comparison = compare_traces(a, b)
    return (f"{comparison.first}; {comparison.steps} of {len(a)} entries compared"
            if comparison.first else "something beside the steps")


def _of_named(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> str | None:
    for name in [*a, *(name for name in b if name not in a)]:
        first = of_arrays(a[name], b[name]) if name in a and name in b else "in one of them only"
        if first:
            return f"{name}, {first}"
    return None


def lines_of_json(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of JSON."""
    return [json.loads(line) for line in _text_lines(file)]


def _text_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _files(path: Path) -> list[Path]:
    return ([file for file in path.rglob("*") if file.is_file()] if path.is_dir()
            else [path] * path.is_file())


def _same_bytes(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and next(_unequal_bytes(a, b), None) is None


def _unequal_bytes(a: Path, b: Path, block: int = 1 << 20) -> Iterator[int]:
    with a.open("rb") as one, b.open("rb") as other:
        for start in range(0, min(a.stat().st_size, b.stat().st_size), block):
            ours, theirs = one.read(block), other.read(block)
            if ours != theirs:
                yield start + next(k for k, (x, y) in enumerate(zip(ours, theirs, strict=False))
                                   if x != y)
                return
