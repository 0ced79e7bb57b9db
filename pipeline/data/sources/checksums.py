"""Checksums of large or many files, remembered: a file is hashed again only when its size or time
has changed.

The memory (work/checksums.json) is no stage's output: it outlives a kill, `dvc repro` and a change
of parameters.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.config.paths import WORK
from pipeline.data.sources.catalogue import ListedFile
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.terminal import progress

MEMORY = WORK / "checksums.json"
CHUNK = 8 << 20
SECONDS_BETWEEN_SAVES = 30.0


def checksums(root: Path, names: Iterable[str],
              algorithms: tuple[str, ...] = ("sha256",)) -> list[ListedFile]:
    """Size and checksums of `root / name` for each name, in the order given.

    Raises:
        UserError: a file cannot be read.
    """
    known = _recall()
    listed = []
    saved = time.monotonic()
    sizes = {name: _stat(root / name).st_size for name in names}
    with progress(f"checksums of {len(sizes)} files", round(sum(sizes.values()) / 1e6, 1),
                  "MB") as advance:
        for name in sizes:
            file = root / name
            stat = _stat(file)
            key = str(file.resolve())
            entry = known.get(key, {})
            if (entry.get("bytes"), entry.get("mtime_ns")) != (stat.st_size, stat.st_mtime_ns):
                entry = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            done = 0
            if lacking := [algorithm for algorithm in algorithms if algorithm not in entry]:
                hashes = [hashlib.new(algorithm) for algorithm in lacking]
                try:
                    with file.open("rb", buffering=0) as stream:
                        while chunk := stream.read(CHUNK):
                            for one in hashes:
                                one.update(chunk)
                            done += len(chunk)
                            advance(len(chunk) / 1e6, name)
                except OSError as error:
                    raise UserError(f"{file}: {error.strerror}") from None
                if done != stat.st_size or _stat(file).st_mtime_ns != stat.st_mtime_ns:
                    raise UserError(f"{file}: changed while it was read; run the command again "
                                    "when it is at rest")
                entry |= {algorithm: one.hexdigest()
                          for algorithm, one in zip(lacking, hashes, strict=True)}
                known[key] = entry
            advance((stat.st_size - done) / 1e6, name)
            listed.append(ListedFile(name, stat.st_size,
                                 **{algorithm: str(entry[algorithm]) for algorithm in algorithms}))
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                write_json(MEMORY, known)
                saved = time.monotonic()
    write_json(MEMORY, known)
    return listed


def remember(file: Path, hashes: Mapping[str, str]) -> None:
    """That these are a file's checksums, computed by whoever has just written it."""
    stat = _stat(file)
    entry = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **hashes}
    write_json(MEMORY, _recall() | {str(file.resolve()): entry})


def _recall() -> dict[str, dict[str, int | str]]:
    try:
        known = json.loads(MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # it only saves time
    return known if isinstance(known, dict) else {}


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
