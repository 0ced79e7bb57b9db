"""The kernels are compiled once, for their own sources, where nobody else can write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alexnet.arithmetic import library
from alexnet.arithmetic.library import LibraryError
from alexnet.arithmetic.operators import Operators
from alexnet.arithmetic.table import values

ROOT = Path(__file__).resolve().parents[3]
PROBE = [library.KERNELS / library.PROBE]


@pytest.fixture(autouse=True)
def own_cache() -> Iterator[None]:
    """What is remembered of the cache's folder is forgotten before and after."""
    library._cache.cache_clear()
    yield
    library._cache.cache_clear()


def test_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = library.built((), PROBE)
    assert first.is_relative_to(tmp_path)
    before = first.stat()
    assert library.built((), PROBE) == first
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    assert before.st_mode & 0o077 == 0
    assert first.parent.stat().st_mode & 0o077 == 0
    assert [file.name
            for file in first.parent.iterdir()] == [first.name]  # nothing half made is left


def test_other_sources_flags_or_compilers_have_another_library(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / library.PROBE
    changed.write_text(PROBE[0].read_text(encoding="utf-8") + "\n", encoding="utf-8")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    names = {
        library.built((), PROBE, folder=cache),
        library.built((), [changed], folder=cache),
        library.built(("-DX", ), PROBE, folder=cache),
        library.built((), PROBE, ("-O1", "-fPIC", "-shared"), cache)
    }
    monkeypatch.setattr(library, "_version", lambda compiler: "another one")
    assert len(names | {library.built((), PROBE, folder=cache)}) == 5


def test_what_others_can_write_is_not_loaded(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = library.built((), PROBE)
    first.write_bytes(b"planted")
    first.chmod(0o777)
    again = library.built((), PROBE)
    assert again.read_bytes() != b"planted"
    assert again.stat().st_mode & 0o022 == 0
    first.parent.chmod(0o777)
    library._cache.cache_clear()
    elsewhere = library.built((), PROBE)
    assert not elsewhere.is_relative_to(tmp_path)
    assert elsewhere.parent.stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert library.built((), PROBE).exists()


def test_two_at_once(tmp_path: Path) -> None:
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(library.built((), PROBE, folder=tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert len(set(paths)) == 1


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(
            LibraryError,
            match=r"no C compiler was found.*apt-get install gcc libc6-dev.*native` works"):
        library.built((), PROBE)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'fatal error: stdint.h: No such file' >&2\nexit 1\n",
                        encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(LibraryError, match=r"(?s)cannot build the kernels.*stdint\.h.*libc6-dev"):
        library.built((), PROBE, folder=tmp_path)


def test_the_variable_forces_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "baseline")
    assert library.chosen() == "baseline"
    missing = next(isa for isa in library.ISA_FLAGS if isa not in library.offered())
    for wrong in (missing, "mmx"):
        monkeypatch.setenv(library.VARIABLE, wrong)
        with pytest.raises(LibraryError,
                           match=f"ALEXNET_ISA={wrong}: this processor offers .*baseline"):
            library.chosen()
    monkeypatch.delenv(library.VARIABLE)
    assert library.chosen() == library.offered()[0]


def test_the_sources_have_no_warnings(tmp_path: Path) -> None:
    for flags in library.ISA_FLAGS[library.chosen()], ():
        files = library.sources() if flags else PROBE
        library.built(flags, files, (*library.FLAGS, "-Wall", "-Wextra", "-Werror", "-O1"),
                      tmp_path)


def test_no_more_than_libc_libm_and_pthread() -> None:
    if not shutil.which("readelf"):
        pytest.skip("readelf: not compared")
    file = library.built(library.ISA_FLAGS["baseline"], library.sources())
    dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, text=True,
                             check=True).stdout
    needed = {
        line.split("[")[1].split(".so")[0]
        for line in dynamic.splitlines() if "NEEDED" in line
    }
    assert needed <= {"libc", "libm", "libpthread"}


def test_after_a_fork_and_from_many_threads() -> None:
    """The pool's threads do not exist in a child; a caller that finds the pool busy works alone."""
    operators = Operators(library.load(library.chosen()), 3)
    x, weight = values(1, 40, 700), values(2, 50, 700)
    wanted = operators.linear(x, weight, None).tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if operators.linear(x, weight, None).tobytes() == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.extend(
            operators.linear(x, weight, None).tobytes() for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert set(results) == {wanted}


def test_the_table_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "alexnet.arithmetic.table"],
                          cwd=ROOT,
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert f"{library.chosen()}: identical" in done.stdout
    assert all(f"{isa}: not compared" in done.stdout for isa in library.ISA_FLAGS
               if isa not in library.offered())


def test_memory_that_is_not_there() -> None:
    operators = Operators(library.load(library.chosen()))
    one = np.zeros(1, np.float32)
    with pytest.raises(MemoryError, match="convolution"):  # 4 kernels of 2 ** 40 channels
        operators.library.call("convolution", [1, 1 << 40, 1, 1, 4, 1, 1, 0, 1, 1], [],
                               [one, one, None, one], 1)
