"""The table of digests holds on every instruction set and number of threads, and whatever breaks
a bit is seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexnet.arithmetic import NUMBER, library, table
from alexnet.arithmetic.library import Library
from alexnet.arithmetic.operators import Operators

PAGE = Path(__file__).resolve().parents[3] / "docs" / "arithmetic.md"
NAMES = set(
    re.findall(r'\{"(\w+)", \w+\}', (library.KERNELS / "operators.c").read_text(encoding="utf-8")))


def chosen() -> Library:
    return library.load(library.chosen())


@pytest.mark.parametrize("isa", library.ISA_FLAGS)
def test_every_instruction_set_agrees(isa: str) -> None:
    if isa not in library.offered():
        pytest.skip(f"{isa}: not compared, this processor does not offer it")
    assert table.differing(Operators(library.load(isa))) == []


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_do_not_show(threads: int) -> None:
    assert table.differing(Operators(chosen(), threads)) == []


def test_every_operator_of_the_library_is_in_the_table() -> None:
    called: set[str] = set()

    class Noting(Library):
        def __init__(self) -> None:
            self.isa = chosen().isa

        def call(self, name: str, *rest: object) -> None:
            called.add(name)
            chosen().call(name, *rest)  # type: ignore[arg-type]

    table.computed(Operators(Noting()))
    assert called == NAMES
    assert len(NAMES) > 25


def test_the_page_has_the_number() -> None:
    assert f"    arithmetic: {NUMBER}\n" in PAGE.read_text(encoding="utf-8")


# --- negative controls ---


class OneUlpOff(Library):
    """Changes the last bit of one element of what an operator writes."""
    def __init__(self, operator: str) -> None:
        self.isa, self.operator, self.before = chosen().isa, operator, 0

    def call(self, name: str, sizes: Sequence[int], scalars: Sequence[float],
             arrays: Sequence[NDArray[np.generic] | None], threads: int) -> None:
        before = [None if a is None else a.tobytes() for a in arrays]
        chosen().call(name, sizes, scalars, arrays, threads)
        if name != self.operator:
            return
        for array, old in zip(arrays, before, strict=True):
            if array is not None and (array is arrays[-1] or
                                      array.tobytes() != old) and array.dtype != np.int64:
                flat = array.reshape(-1).view(np.uint8)
                flat[flat.size // array.itemsize // 2 * array.itemsize] ^= 1


@pytest.mark.parametrize("operator", sorted(NAMES))
def test_one_ulp_anywhere_is_seen(operator: str) -> None:
    wrong = table.differing(Operators(OneUlpOff(operator)))
    owner = {"scale": "dropout"}.get(operator, operator)
    assert owner in wrong


@pytest.mark.parametrize("case", ["eigen", "rates", "error_rate"])
def test_one_ulp_in_what_is_not_c_is_seen(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(o: Operators,
            right: Callable[[Operators], table.Results] = table.CASES[case]) -> table.Results:
        results = right(o)
        results[0].reshape(-1)[0] = np.nextafter(results[0].reshape(-1)[0], 2.0)
        return results

    monkeypatch.setitem(table.CASES, case, off)
    assert table.differing(Operators(chosen())) == [case]


@pytest.fixture
def subnormals() -> Iterator[None]:
    """Loading what was built with -ffast-math makes this thread flush subnormals."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("subnormals")
@pytest.mark.parametrize(("isa", "flag"), [(library.chosen(), "-ffp-contract=fast"),
                                           (library.chosen(), "-ffast-math"),
                                           ("baseline", "-ffast-math")])
def test_a_compiler_that_may_change_bits_is_seen(isa: str, flag: str, tmp_path: Path) -> None:
    flags = [*(own for own in library.FLAGS if not own.startswith("-ffp-contract")), flag]
    file = library.built(library.ISA_FLAGS[isa], library.sources(), flags, tmp_path)
    wrong = table.differing(Operators(Library(isa, file)))
    assert wrong
    assert table.differing(Operators(library.load(isa))) == []


def test_a_changed_source_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 129, and a window that is added backwards."""
    for file in library.KERNELS.iterdir():
        text = file.read_text(encoding="utf-8")
        text = text.replace("enum { BLOCK = 128 };", "enum { BLOCK = 129 };")
        text = text.replace("masked(x + i + j, mask)", "masked(x + i - j, mask - 2 * j * LANES)")
        text = text.replace("masked(u + i + j, mask)",
                            "masked(u + i + v->size - 1 - j, mask + (v->size - 1 - 2 * j) * LANES)")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(library, "KERNELS", tmp_path)
    isa = library.chosen()
    wrong = table.differing(
        Operators(
            Library(isa, library.built(library.ISA_FLAGS[isa], library.sources(),
                                       folder=tmp_path))))
    assert wrong == [
        "linear", "linear_input_gradient", "linear_weight_gradient", "local_weight_gradient", "lrn",
        "lrn_gradient", "squares"
    ]


def test_the_state_of_the_processor_does_not_show_and_is_put_back() -> None:
    """A library that was built with -ffast-math makes the whole process flush subnormals when it
    is loaded."""
    tiny = torch.tensor([2.0**-130])
    assert torch.set_flush_denormal(True)
    try:
        assert float(tiny * 0.5) == 0.0
        assert table.differing(Operators(chosen(), 3)) == []
        assert float(tiny * 0.5) == 0.0
    finally:
        torch.set_flush_denormal(False)
    assert float(tiny * 0.5) == 2.0**-131
