"""Checksums of large or many files, remembered: a file is hashed again only when its size or time
has changed.

The memory (work/checksums.sqlite) is no stage's output: it outlives a kill, `dvc repro` and a
change of parameters.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.config.paths import WORK
from pipeline.data.sources.catalogue import ListedFile
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress

MEMORY = WORK / "checksums.sqlite"
CHUNK = 8 << 20
SECONDS_BETWEEN_SAVES = 10.0
SECONDS_BETWEEN_REPORTS = 0.1
ALGORITHMS = ("sha256", "md5")


def checksums(root: Path, names: Iterable[str],
              algorithms: tuple[str, ...] = ("sha256",)) -> Iterator[ListedFile]:
    """Yield size and checksums of `root / name` for each name, in the order given. `names` is
    iterated twice.

    Raises:
        UserError: a file cannot be read, or changes while it is read.
    """
    folder = str(root)
    count = total = 0
    for name in names:
        count, total = count + 1, total + _stat(f"{folder}/{name}").st_size
    with _memory() as memory, progress(f"checksums of {count:,} files", round(total / 1e6, 1),
                                       "MB") as advance:
        yield from _listed(folder, names, algorithms, memory, advance)


def remember(file: Path, hashes: Mapping[str, str]) -> None:
    """Note the checksums of a file that the caller has just written."""
    stat = _stat(str(file))
    with _memory() as memory:
        memory.store(os.path.realpath(file), (stat.st_size, stat.st_mtime_ns), hashes)


def _listed(folder: str, names: Iterable[str], algorithms: tuple[str, ...], memory: _Memory,
            advance: Callable[..., None]) -> Iterator[ListedFile]:
    real = os.path.realpath(folder)
    reported, pending = time.monotonic(), 0
    for name in names:
        path, key = f"{folder}/{name}", f"{real}/{name}"
        stat = _stat(path)
        state = (stat.st_size, stat.st_mtime_ns)
        hashes = memory.recall(key, state)
        if not all(hashes.get(algorithm) for algorithm in algorithms):
            hashes = _hashes(path, state, algorithms, advance if stat.st_size > CHUNK else None)
            memory.store(key, state, hashes)
            pending += stat.st_size if stat.st_size <= CHUNK else 0
        else:
            pending += stat.st_size
        if (now := time.monotonic()) - reported > SECONDS_BETWEEN_REPORTS:
            advance(pending / 1e6, name)
            reported, pending = now, 0
        yield ListedFile(name, stat.st_size,
                         **{algorithm: hashes[algorithm] for algorithm in algorithms})
    advance(pending / 1e6)


def _hashes(path: str, state: tuple[int, int], algorithms: tuple[str, ...],
            advance: Callable[..., None] | None) -> dict[str, str]:
    """Read the file once; `state` is its size and time, which must not change meanwhile."""
    hashes = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
    length = 0
    try:
        with open(path, "rb", buffering=0) as stream:
            while chunk := stream.read(min(CHUNK, state[0] + 1)):
                for value in hashes.values():
                    value.update(chunk)
                length += len(chunk)
                if advance:
                    advance(len(chunk) / 1e6, path)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if (length, after.st_mtime_ns) != state:
        raise UserError(f"{path}: changed while it was read; run the command again when nothing "
                        "writes to it")
    return {algorithm: value.hexdigest() for algorithm, value in hashes.items()}


class _Memory:
    """What is known of files, by their full paths. It only saves time: where it cannot be read or
    written, nothing is known."""

    def __init__(self) -> None:
        self.saved = time.monotonic()
        try:
            MEMORY.parent.mkdir(parents=True, exist_ok=True)
            self.database = self._opened()
        except (sqlite3.Error, OSError):
            self.database = sqlite3.connect(":memory:")
            self._make_table(self.database)

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(MEMORY, timeout=60)
        try:
            self._make_table(database)
        except sqlite3.DatabaseError as error:
            database.close()
            if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written to
                raise
            MEMORY.unlink()  # broken
            database = sqlite3.connect(MEMORY, timeout=60)
            self._make_table(database)
        return database

    @staticmethod
    def _make_table(database: sqlite3.Connection) -> None:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER, "
                         "mtime_ns INTEGER, sha256 TEXT, md5 TEXT) WITHOUT ROWID")
        database.execute("SELECT path, bytes, mtime_ns, sha256, md5 FROM files LIMIT 1")

    def recall(self, path: str, state: tuple[int, int]) -> dict[str, str]:
        with contextlib.suppress(sqlite3.Error):
            row = self.database.execute("SELECT bytes, mtime_ns, sha256, md5 FROM files "
                                        "WHERE path = ?", (path,)).fetchone()
            if row and row[:2] == state:
                return dict(zip(ALGORITHMS, row[2:], strict=True))
        return {}

    def store(self, path: str, state: tuple[int, int], hashes: Mapping[str, str]) -> None:
        row = (path, *state, *(hashes.get(algorithm) for algorithm in ALGORITHMS))
        with contextlib.suppress(sqlite3.Error):
            self.database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", row)
            if time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES:
                self.database.commit()
                self.saved = time.monotonic()


@contextlib.contextmanager
def _memory() -> Iterator[_Memory]:
    memory = _Memory()
    try:
        yield memory
    finally:
        with contextlib.suppress(sqlite3.Error):
            memory.database.commit()
        memory.database.close()


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
