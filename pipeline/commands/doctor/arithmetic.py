"""Whether this machine computes as docs/arithmetic.md defines it: every operator of portable
arithmetic against the table of digests, in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.doctor.finding import Finding

BF16 = ("; this processor multiplies bfloat16: train.arithmetic native with train.precision bf16 "
        "is faster, and its bits are this kind of processor's only (docs/performance.md)")

if TYPE_CHECKING:
    from pipeline.config.parameters import Parameters


def arithmetic(parameters: Parameters) -> Finding:
    """Check portable arithmetic; the finding's facts are `number`, `isa`, `operators`, `agree`."""
    from alexnet.arithmetic import NUMBER, library, table
    from alexnet.arithmetic.operators import Operators

    facts: dict[str, Any] = {"number": NUMBER, "isa": None, "operators": len(table.CASES),
                             "agree": None}
    try:
        isa = library.chosen()
        wrong = table.differing(Operators(library.load(isa), threads=2))
    except library.LibraryError as error:
        needed = parameters.train.arithmetic == "portable"
        return Finding("fails" if needed else "warning", f"no portable arithmetic: {error}",
                       "install a C compiler; until then set train.arithmetic to native", facts)
    facts |= {"isa": isa, "agree": not wrong}
    if wrong:
        return Finding("fails", f"{isa}: {', '.join(wrong)} differ from arithmetic {NUMBER}: what "
                                "is computed here is not what others compute",
                       "report it with the compiler's version (`cc --version`); set "
                       "train.arithmetic to native", facts)
    return Finding("ok", f"arithmetic {NUMBER}: {len(table.CASES)} operators agree to the bit "
                         f"({isa}); train.arithmetic is {parameters.train.arithmetic}"
                         f"{BF16 * has_bf16(Path('/proc/cpuinfo'))}", "", facts)


def has_bf16(cpuinfo: Path) -> bool:
    """Return whether Linux says, in this file, that the processor multiplies bfloat16."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
