"""The kernels of portable arithmetic compiled for GPUs that are not here, and what they became.

Triton's compiler needs no GPU. `test_gpu.py` runs this file in a process of its own. What is seen
here is that the kernels compile, that nothing is approximated, flushed or contracted, and that a
product of tiles is made of fused multiply-adds alone.
"""

from __future__ import annotations

import collections
import re
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from alexnet.arithmetic import table
from alexnet.arithmetic.gpu import check, draws_triton
from alexnet.arithmetic.gpu.operators_triton import GpuOperators

FLOATING = re.compile(r"^\s+(?:@\S+ )?([a-z0-9_.]*\.(?:f32|f64)\S*)", re.M)
# rounded to nearest, or nothing to round
RIGHT = re.compile(r"(fma|add|sub|mul|div|sqrt|cvt)\.rn\.(f32|f64)(\.\w+)?|cvt\.f64\.f32|"
                   r"cvt\.rzi\.s64\.f64|(setp|selp|mov|abs|neg|min|max)\.\S+")


class Elsewhere:
    """What Triton asks of a driver, of a GPU that is not here."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> dict[str, str]:
    """The PTX of each kernel that is asked to run, by its name; each once, and none runs."""
    ptx: dict[str, str] = {}
    launch = JITFunction.run

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        operation = named.get("OPERATION")
        name = self.fn.__name__ + ("" if operation is None else f" {operation.value}")
        if name not in ptx:
            kernel = launch(self, *arguments, grid=grid, warmup=True, **named)
            ptx[name] = kernel.asm["ptx"]
            assert kernel.asm["cubin"]

    monkeypatch.setattr(JITFunction, "run", run)
    driver.set_active(Elsewhere(request.param))
    return ptx


def all_kernels() -> None:
    adapter: Any = check.OnArrays(torch.device("cpu"))
    for name in check.CASES:
        table.CASES[name](adapter)
    GpuOperators().mean_loss(torch.zeros(1, dtype=torch.float64), 2)
    draws_triton.coins((1, 0), (2**31 + 7, 2**32 - 1), 0, 3, 300, torch.device("cpu"))


@pytest.mark.parametrize("compiled", [90], indirect=True)
def test_nothing_is_approximated(compiled: dict[str, str]) -> None:
    all_kernels()
    assert len(compiled) == 24
    for name, ptx in compiled.items():
        instructions = set(FLOATING.findall(ptx))
        wrong = {one for one in instructions if not RIGHT.fullmatch(one) or "ftz" in one}
        assert not wrong, (name, wrong)
        assert "mma" not in ptx, name
    chains = ("_product", "_convolution", "_weight_gradient")
    for name in chains:
        kinds = collections.Counter(FLOATING.findall(compiled[name]))
        assert kinds["fma.rn.f32"] >= 32, name
        assert not kinds["mul.rn.f32"], name


@triton.jit
def _product_and_sum(x, y, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, TILE)
    value = tl.load(x + at)
    tl.store(y + at, value * value + value)


@pytest.mark.parametrize("compiled", [90], indirect=True)
@pytest.mark.parametrize("fusion", [False, True])
def test_a_contraction_would_be_seen(compiled: dict[str, str], fusion: bool) -> None:
    x = torch.ones(128)
    _product_and_sum[(1,)](x, x, TILE=128, enable_fp_fusion=fusion)
    kinds = set(FLOATING.findall(compiled["_product_and_sum"]))
    assert ("fma.rn.f32" in kinds) == fusion
    assert ("mul.rn.f32" in kinds) != fusion
