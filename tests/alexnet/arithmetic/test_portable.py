"""The network in portable arithmetic: near native's numbers, and the same bits everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alexnet.architectures import architecture
from alexnet.arithmetic import library
from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.portable import Portable
from alexnet.arithmetic.table import integers
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.recipe import recipe
from alexnet.testing import probabilities
from tests.alexnet.arithmetic.narrow_nets import CASES, DIGESTS, advanced, digest, training
from tests.alexnet.runs import Run, launch


@pytest.mark.parametrize("case", CASES)
def test_its_gradients_are_those_of_native(case: str) -> None:
    """Of a first update, up to rounding; negative control: those of the next update are not."""
    ours, native = (advanced(case, arithmetic, 1) for arithmetic in (Portable(), NATIVE))
    later = advanced(case, NATIVE, 2)
    furthest, control = 0.0, 0.0
    for a, b, c in zip(ours.gradients, native.gradients, later.gradients, strict=True):
        size = float(b.abs().max()) or 1.0
        furthest = max(furthest, float((a - b).abs().max()) / size)
        control = max(control, float((c - b).abs().max()) / size)
    assert ours.loss is not None
    assert native.loss is not None
    assert abs(float(ours.loss) - float(native.loss)) < 1e-5
    assert int(ours.wrong or 0) == int(native.wrong or 0)
    assert furthest < 2e-4 < control


@pytest.mark.parametrize("case", CASES)
def test_every_machine_has_these_bits(case: str) -> None:
    assert digest(advanced(case, Portable())) == DIGESTS[case]


@pytest.mark.parametrize("isa", library.ISA_FLAGS)
def test_every_instruction_set_and_number_of_threads(
        isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isa not in library.offered():
        pytest.skip(f"{isa}: not compared, this processor does not offer it")
    monkeypatch.setenv(library.VARIABLE, isa)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert digest(advanced("source", Portable(), 2)) == DIGESTS["source"]
    finally:
        torch.set_num_threads(before)


def test_where_subnormals_are_flushed() -> None:
    torch.set_flush_denormal(True)
    try:
        run = advanced("source", Portable())
    finally:
        torch.set_flush_denormal(False)
    assert digest(run) == DIGESTS["source"]


def test_processes_replicas_and_resumption(tmp_path: Path) -> None:
    run = Run(steps=3, stop=3, micro_batches=4, arithmetic="portable", width=1 / 32,
              switches={"lrn_window": "layer"})
    one = launch(run, tmp_path / "one", 1)
    four = launch(replace(run, split=True, stop=1, threads=2), tmp_path / "four", 4)
    two = launch(replace(run, split=True, threads=3), tmp_path / "two", 2, resume=tmp_path / "four")
    assert digest_of(one[0]) == digest_of(two[0])
    assert json.dumps(one[1]) == json.dumps(four[1][:1] + two[1])


def test_testing() -> None:
    """Ten crops, their average, errors and the validation's loss, near native's."""
    pictures = torch.from_numpy(integers(4, 256, 6, 256, 256, 3).astype(np.uint8))
    labels, mean = torch.arange(6) % 5, torch.full((256, 256, 3), 127.0)
    found: list[tuple[Tensor, Tensor, float, dict[str, float]]] = []
    for arithmetic in (Portable(), NATIVE):
        run = training("source", arithmetic)
        run.network.eval()
        ten = probabilities(run.network, pictures, mean, arithmetic=arithmetic)
        found.append((ten, arithmetic.average(ten), arithmetic.errors(ten[0], labels, 1),
                      run.validate(lambda part: pictures[part], labels, batch=4)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
    assert found[0][2] == pytest.approx(found[1][2])
    assert found[0][3] == pytest.approx(found[1][3], rel=1e-5)


@pytest.mark.parametrize(("arguments", "word"), [
    ({"precision": "bf16"}, "bf16 is a precision of native arithmetic"),
    ({"precision": "tf32"}, "tf32 is a precision of native arithmetic")])
def test_what_only_native_has_is_refused(arguments: dict[str, Any], word: str) -> None:
    chosen = recipe()
    table = architecture("two-column", chosen, 5, 1 / 32)
    with pytest.raises(ValueError, match=word):
        Network(table, chosen, 1, arithmetic=Portable(), **arguments)


@pytest.mark.parametrize(("operation", "what"), [
    ("lrn", lambda x: x * (1 + 2.0**-22)), ("max_pool", lambda x: x.flip(1)),
    ("relu", lambda x: x + 1e-6), ("spatial_norm", lambda x: x * (1 + 2.0**-22))])
def test_an_operation_that_is_off_is_seen(operation: str, what: Callable[[Tensor], Tensor],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(Portable, operation)
    monkeypatch.setattr(Portable, operation, lambda self, *a: what(right(self, *a)))
    assert digest(advanced("source", Portable())) != DIGESTS["source"]
