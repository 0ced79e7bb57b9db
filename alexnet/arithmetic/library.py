"""The library of C kernels: compiled on first use, kept in a cache, loaded for this processor.

Each combination of sources, flags and compiler has a library of its own, so that a worktree, a
copy and restored old code use the kernels of their own sources.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KERNELS = Path(__file__).parent / "kernels"
VARIABLE = "ALEXNET_ISA"  # forces an instruction set
# Nothing that lets a compiler change a bit: it never contracts, and reorders no operation.
FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno",
         "-fno-trapping-math")
LIBRARIES = ("-lm", "-lpthread")
ISA_FLAGS: dict[str, tuple[str, ...]] = {
    "baseline": ("-DISA_BASELINE", ),
    "avx2": ("-DISA_AVX2", "-mavx2", "-mfma"),
    "avx512": ("-DISA_AVX512", "-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw",
               "-mavx512vl", "-mprefer-vector-width=512"),
    "neon": ("-DISA_NEON", ),
}
PROBE = "processor.c"  # compiled for any processor of the machine's kind: says what this one offers
FASTEST_FIRST = ("avx512", "avx2", "neon", "baseline")


class LibraryError(RuntimeError):
    """The kernels cannot be compiled or loaded on this machine; the message says what to do."""


class Library:
    """The kernels for one instruction set.

    Args:
        isa: `baseline`, `avx2`, `avx512` or `neon`, one that the processor offers.
        file: the compiled library.
    """
    def __init__(self, isa: str, file: Path) -> None:
        self.isa = isa
        try:
            self._call = ctypes.CDLL(str(file)).alexnet_call
        except OSError as error:
            raise LibraryError(f"{file}: cannot be loaded: {error}") from error
        self._call.restype = ctypes.c_int
        self._call.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
        ]

    def call(self, name: str, sizes: Sequence[int], scalars: Sequence[float],
             arrays: Sequence[NDArray[np.generic] | None], threads: int) -> None:
        """Run an operator. The caller answers for the arrays' types, shapes and contiguity.

        Raises:
            MemoryError: there was not enough memory for the operator's own arrays.
        """
        sizes_ = (ctypes.c_int64 * len(sizes))(*sizes)
        scalars_ = (ctypes.c_double * len(scalars))(*scalars)
        arrays_ = (ctypes.c_void_p * len(arrays))(
            *[None if array is None else array.ctypes.data for array in arrays])
        result = self._call(name.encode(), sizes_, scalars_, arrays_, threads)
        if result == 2:
            raise MemoryError(f"{name}: not enough memory")
        assert result == 0, f"no operator {name}"


@functools.cache
def load(isa: str) -> Library:
    """Return the library for this instruction set, compiled if it is not in the cache.

    Raises:
        LibraryError: no compiler was found, it failed, or the processor does not offer the
    instruction set.
    """
    if isa not in offered():
        raise LibraryError(f"{isa}: this processor offers {', '.join(offered())}")
    return Library(isa, built(ISA_FLAGS[isa], sources()))


@functools.cache
def offered() -> tuple[str, ...]:
    """Return the instruction sets that this processor offers, the fastest first.

    Raises:
        LibraryError: no compiler was found, or it failed.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        raise LibraryError(
            f"portable arithmetic runs on x86-64 and aarch64, and this is {platform.machine()}; "
            "`train.arithmetic: native` uses PyTorch's own kernels")
    probe = ctypes.CDLL(str(built((), [KERNELS / PROBE])))
    return tuple(isa for isa in FASTEST_FIRST if probe.alexnet_offers(isa.encode()))


def chosen() -> str:
    """Return the instruction set to use: the fastest that the processor offers, or what the
    variable ALEXNET_ISA says.

    Raises:
        LibraryError: the variable has a value that this processor does not offer.
    """
    forced = os.environ.get(VARIABLE)
    if forced and forced not in offered():
        raise LibraryError(f"{VARIABLE}={forced}: this processor offers {', '.join(offered())}")
    return forced or offered()[0]


def sources() -> list[Path]:
    """Return the C files of the kernels, in the order of their names."""
    return sorted(file for file in KERNELS.glob("*.c") if file.name != PROBE)


def built(isa_flags: Sequence[str],
          files: Sequence[Path],
          flags: Sequence[str] = FLAGS,
          folder: Path | None = None) -> Path:
    """Return the compiled library of these sources, from this folder, or the user's cache, if it is
    there.

    Raises:
        LibraryError: no compiler was found, or it failed.
    """
    compiler = _compiler()
    headers = sorted(KERNELS.glob("*.h"))
    identity = hashlib.sha256(repr((_version(compiler), *flags, *isa_flags, *LIBRARIES)).encode())
    for file in (*files, *headers):
        identity.update(f"\n{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}".encode())
    name = f"{identity.hexdigest()}.so"
    folder = folder or _cache()
    library = folder / name
    if library.exists() and _is_private(library):
        return library
    command = [*compiler, *flags, *isa_flags, *map(str, files), *LIBRARIES]
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        fresh = Path(aside) / name
        done = subprocess.run([*command, "-o", str(fresh)], capture_output=True, text=True)
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise LibraryError(f"the C compiler ({' '.join(compiler)}) cannot build the kernels; "
                               f"it says:\n{last}\n{_ADVICE}")
        fresh.chmod(0o700)
        fresh.replace(library)
    return library


_ADVICE = ("Portable arithmetic is compiled on first use. Install a C compiler: `apt-get install "
           "gcc libc6-dev` on Debian and Ubuntu, `dnf install gcc` on Fedora, `xcode-select "
           "--install` on macOS. Without one, `train.arithmetic: native` works, with PyTorch's own "
           "kernels.")


def _compiler() -> list[str]:
    named = os.environ.get("CC", "").split()
    if named and shutil.which(named[0]):
        return named
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise LibraryError(f"no C compiler was found. {_ADVICE}")


@functools.cache
def _version_of(command: tuple[str, ...], path: str) -> str:
    return "\n".join(
        subprocess.run([*command, option], capture_output=True, text=True).stdout
        for option in ("--version", "-dumpmachine"))


def _version(compiler: Sequence[str]) -> str:
    return _version_of(tuple(compiler), os.path.realpath(shutil.which(compiler[0]) or compiler[0]))


@functools.cache
def _cache() -> Path:
    """Return a folder that nobody else can write to: the user's cache, or one of this process's
    own."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "alexnet-harness" / "arithmetic"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return _own_folder()
    return folder if _is_private(folder) else _own_folder()


def _own_folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="alexnet-arithmetic-")
    _kept.append(folder)
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


def _is_private(path: Path) -> bool:
    """Return whether it is this user's, no link, and nobody else can write to it."""
    found = path.lstat()
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(
        found.st_mode) and not found.st_mode & 0o022
