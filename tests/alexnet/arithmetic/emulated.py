"""The table of digests on processors that this machine does not have.

`python -m tests.alexnet.arithmetic.emulated` compiles the kernels with a driver in C, for each
processor below, and runs every operator of the table under QEMU. It needs Debian's `qemu-user`,
`gcc` and, for aarch64, `gcc-aarch64-linux-gnu`; what is not there is not compared.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from alexnet.arithmetic import library, table
from alexnet.arithmetic.library import Library
from alexnet.arithmetic.operators import Operators

QUIET = subprocess.DEVNULL  # QEMU warns of every feature of a processor that it lacks
DRIVER = Path(__file__).with_name("driver.c")


@dataclass(frozen=True)
class Processor:
    """One to emulate, and the instruction set that its kernels are compiled for."""

    name: str
    isa: str
    compiler: str
    emulator: tuple[str, ...]


X86 = "x86_64-linux-gnu-gcc"
ARM = "aarch64-linux-gnu-gcc"
PROCESSORS = (
    Processor("Intel Haswell", "avx2", X86, ("qemu-x86_64", "-cpu", "Haswell")),
    Processor("AMD EPYC", "avx2", X86, ("qemu-x86_64", "-cpu", "EPYC")),
    Processor("Intel Nehalem", "baseline", X86, ("qemu-x86_64", "-cpu", "Nehalem")),
    Processor("aarch64", "neon", ARM, ("qemu-aarch64",)),
    Processor("aarch64", "baseline", ARM, ("qemu-aarch64",)),
)


def compiled(processor: Processor, folder: Path, *more: str) -> Path:
    """The driver with the kernels for this processor, statically linked."""
    program = folder / f"{processor.compiler}-{processor.isa}"
    flags = [flag for flag in library.FLAGS if flag not in ("-shared", "-fPIC")]
    subprocess.run([processor.compiler, *flags, *more, "-static", *library.ISA_FLAGS[processor.isa],
                    *map(str, library.sources()), str(library.KERNELS / library.PROBE), str(DRIVER),
                    "-o", str(program), *library.LIBRARIES], check=True)
    return program


class Driven(Library):
    """The library at the other end of a pipe."""

    def __init__(self, isa: str, command: Sequence[str]) -> None:
        self.isa = isa
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=QUIET)

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def call(self, name: str, sizes: Sequence[int], scalars: Sequence[float],
             arrays: Sequence[NDArray[np.generic] | None], threads: int) -> None:
        """Send the call and its arrays, and put what comes back in their place."""
        assert self.process.stdin
        assert self.process.stdout
        message = struct.pack("=64s4q", name.encode(), threads, len(sizes), len(scalars),
                              len(arrays))
        message += struct.pack(f"={len(sizes)}q{len(scalars)}d", *sizes, *scalars)
        message += struct.pack(f"={len(arrays)}q",
                               *(-1 if array is None else array.nbytes for array in arrays))
        given = [array for array in arrays if array is not None]
        self.process.stdin.write(message + b"".join(array.tobytes() for array in given))
        self.process.stdin.flush()
        for array in given:
            raw = self.process.stdout.read(array.nbytes)
            assert len(raw) == array.nbytes, f"{name}: the driver ended"
            array[...] = np.frombuffer(raw, array.dtype).reshape(array.shape)


def compare(processor: Processor, folder: Path) -> str:
    """The verdict on a processor: identical, differs or not compared, and on what."""
    missing = [program for program in (processor.compiler, processor.emulator[0])
               if not shutil.which(program)]
    if missing:
        return f"not compared: {' and '.join(missing)} not found"
    program = str(compiled(processor, folder))
    if subprocess.run([*processor.emulator, program, processor.isa],
                      stderr=QUIET).returncode:
        return f"differs: the processor is said not to offer {processor.isa}"
    with Driven(processor.isa, [*processor.emulator, program]) as driven:
        wrong = table.differing(Operators(driven, threads=2))
    return f"differs: {', '.join(wrong)}" if wrong else "identical"


def main() -> int:
    """Compare every processor; 1 when one of them differs."""
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for processor in PROCESSORS:
            start = time.perf_counter()
            verdict = compare(processor, Path(folder))
            worst |= verdict.startswith("differs")
            print(f"{processor.name}, {processor.isa}: {verdict}"
                  f" ({time.perf_counter() - start:.1f} s)", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
