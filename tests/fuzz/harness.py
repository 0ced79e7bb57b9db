"""Runs damaged inputs through a reader, each within bounds of time and memory, and counts what
became of them."""

from __future__ import annotations

import ctypes
import hashlib
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.fuzz.mutations import mutated
from tests.fuzz.readers import CORPUS, READERS, mended, seeds

SECONDS = 10.0  # of processor time, for one input
KILLED_AFTER = 120.0  # seconds, by SIGALRM: what hangs in C is not to be interrupted otherwise
_LIBC = ctypes.CDLL(None)
IN_MEMORY = Path(
    "/dev/shm")  # noqa: S108  (a thousand folders are made there in the time of ten on a disk)
# more than before one input; a picture may have 150 million pixels, of four bytes each
MEGABYTES = {"image": 1200}
MEGABYTES_ELSE = 256


class Failure(Exception):
    """An input of which a reader made the wrong thing."""

    def __init__(self, reader: str, name: str, content: bytes, why: str) -> None:
        super().__init__(f"{reader}: made from {name}, {len(content)} bytes: {why}")
        self.reader, self.content = reader, content
        # The reader `record` reads from the name which file it is.
        last = name.split("-", 2)[-1] if name.startswith("failed-") else name
        self.file = CORPUS / reader / f"failed-{hashlib.sha256(content).hexdigest()[:8]}-{last}"


def input_number(reader: str, seed: int, number: int) -> tuple[str, bytes]:
    """The name of the seed that it is made from, and the input; the same ones always give the
    same."""
    draw = random.Random(f"{seed}/{reader}/{number}")
    corpus = seeds_of(reader)
    name = draw.choice(sorted(corpus))
    return name, mended(reader, mutated(corpus[name], list(corpus.values()), draw), draw)


_SEEDS: dict[str, dict[str, bytes]] = {}


def seeds_of(reader: str) -> dict[str, bytes]:
    return _SEEDS.setdefault(reader, seeds(reader))


def tried(reader: str, name: str, content: bytes) -> str:
    """What became of it. Raises Failure."""
    with _folder() as folder:
        start, before = time.process_time(), _peak(anew=True)
        signal.setitimer(signal.ITIMER_REAL, KILLED_AFTER)
        try:
            outcome = READERS[reader](content, name, folder)
        except (Exception, RecursionError) as error:
            raise Failure(reader, name, content, f"{type(error).__name__}: {error}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if (took := time.process_time() - start) > SECONDS:
            raise Failure(reader, name, content, f"took {took:.1f} s")
        if (grown := _peak() - before) > MEGABYTES.get(reader, MEGABYTES_ELSE):
            raise Failure(reader, name, content, f"took {grown:.0f} MB")
    return outcome


def whole_corpus(reader: str) -> Counter[str]:
    """Each seed as it is, and all that once failed."""
    return Counter(tried(reader, name, content) for name, content in seeds_of(reader).items())


def run(reader: str, seed: int, numbers: Iterator[int]) -> Counter[str]:
    return Counter(tried(reader, *input_number(reader, seed, number)) for number in numbers)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _peak(anew: bool = False) -> float:
    """Megabytes that this process has had at most, from here on if `anew` (Linux)."""
    if anew:
        with suppress(AttributeError):
            _LIBC.malloc_trim(0)  # what was freed and kept would be taken again without being seen
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
