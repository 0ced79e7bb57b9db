"""What a training process settles before it trains."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alexnet.arithmetic import NUMBER, gpu
from alexnet.arithmetic.library import LibraryError
from alexnet.arithmetic.portable import Portable
from pipeline.config import parameters
from pipeline.system.errors import UserError
from pipeline.training import execution, loading
from pipeline.training.execution import prepare, resolve

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_is_not_deterministic_is_refused_unless_it_is_asked_for(deterministic: bool) -> None:
    told = str(deterministic).lower()
    prepare(resolve(parameters.load(ROOT / "params.yaml",
                                    ["execution.device=cpu",
                                     f"execution.deterministic={told}"])))
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_is_taken_for_either_arithmetic(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for arithmetic in ("portable", "native"):
        wanted = [f"execution.device={device}", f"train.arithmetic={arithmetic}"]
        assert resolve(parameters.load(ROOT / "params.yaml", wanted)).execution.device == "cuda"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators that the check of a GPU, which is not at hand, finds to differ."""
    wrong: list[str] = []
    module = types.ModuleType("alexnet.arithmetic.gpu.check")
    monkeypatch.setattr(module, "differing", lambda device: wrong, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(gpu, "check", module, raising=False)
    monkeypatch.setattr(loading, "Portable", lambda gpu: Portable())
    loading._check_gpu.cache_clear()
    return wrong


def test_a_gpu_that_has_the_bits_computes_portable_arithmetic(checked: list[str]) -> None:
    assert loading.arithmetic("portable", CUDA).name == "portable"


@pytest.mark.parametrize(("operators", "said"), [
    (["lrn"], r"on this GPU lrn does not have the bits"),
    (["convolution", "linear"], r"convolution, linear do not have the bits.*to native")])
def test_a_gpu_that_has_not_is_refused(checked: list[str], operators: list[str],
                                       said: str) -> None:
    checked += operators
    with pytest.raises(UserError, match=said):
        loading.arithmetic("portable", CUDA)


def test_a_kernel_that_does_not_run_is_refused(checked: list[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def differing(device: torch.device) -> list[str]:
        raise RuntimeError("no ptxas")

    monkeypatch.setattr(gpu.check, "differing", differing)
    with pytest.raises(UserError, match=r"do not run on this GPU \(RuntimeError: no ptxas\)"):
        loading.arithmetic("portable", CUDA)


def test_without_triton_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [name for name in sys.modules if name.startswith("alexnet.arithmetic.gpu.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"needs Triton on a GPU.*to native"):
        loading.arithmetic("portable", CUDA)


@pytest.mark.parametrize(("wanted", "placement", "threads"), [
    ((), "two", 2),
    (("execution.threads=1",), "two", 1),
    (("execution.placement=one",), "one", 4),           # its threads use all cores
    (("network.architecture=half",), "one", 4),
    (("execution.replicas=2",), "two", 1),
    (("train.arithmetic=native",), "two", 1),           # a thread more would show in its bits
    (("train.arithmetic=native", "execution.placement=one"), "one", 1)])
def test_auto_is_what_is_faster_without_a_bit_to_lose(
        wanted: tuple[str, ...], placement: str, threads: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    execution = resolve(parameters.load(ROOT / "params.yaml", [
        "execution.device=cpu", "train.micro_batches=2", *wanted])).execution
    assert (execution.placement, execution.threads) == (placement, threads)


def test_the_record_names_the_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "prepared_by", lambda store: {})
    on_cpu = ["execution.device=cpu"]
    assert execution.tags(parameters.load(ROOT / "params.yaml", on_cpu))["arithmetic"] == (
        f"portable {NUMBER}")
    native = parameters.load(ROOT / "params.yaml", [*on_cpu, "train.arithmetic=native"])
    assert execution.tags(native)["arithmetic"] == "native"


def test_without_a_compiler_the_message_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise LibraryError("no C compiler was found. `apt-get install gcc libc6-dev`")

    monkeypatch.setattr(loading, "Portable", fails)
    with pytest.raises(UserError, match=r"train.arithmetic: portable: no C compiler.*libc6-dev"):
        loading.arithmetic("portable")
    assert loading.arithmetic("native").name == "native"
