"""What a training process settles before it trains."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alexnet.arithmetic.library import LibraryError
from pipeline.config import parameters
from pipeline.system.errors import UserError
from pipeline.training import loading
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


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_has_native_arithmetic_only(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    wanted = [f"execution.device={device}", "train.arithmetic=portable"]
    with pytest.raises(UserError, match=r"portable runs on CPUs.*or train.arithmetic to native"):
        resolve(parameters.load(ROOT / "params.yaml", wanted))
    on_cpu = resolve(parameters.load(ROOT / "params.yaml", ["execution.device=cpu", wanted[1]]))
    assert on_cpu.execution.device == "cpu"
    native = resolve(parameters.load(ROOT / "params.yaml",
                                     [*wanted[:1], "train.arithmetic=native"]))
    assert native.execution.device == "cuda"


@pytest.mark.parametrize(("wanted", "placement", "threads"), [
    ((), "one", 2),                                  # its threads use all cores
    (("execution.threads=1",), "two", 1),
    (("execution.placement=two",), "two", 1),
    (("execution.replicas=2",), "one", 1),
    (("train.arithmetic=native",), "two", 1)])       # a thread more would show in its bits
def test_auto_is_what_is_faster_without_a_bit_to_lose(
        wanted: tuple[str, ...], placement: str, threads: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    execution = resolve(parameters.load(ROOT / "params.yaml", [
        "execution.device=cpu", "train.micro_batches=2", *wanted])).execution
    assert (execution.placement, execution.threads) == (placement, threads)


def test_without_a_compiler_the_message_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise LibraryError("no C compiler was found. `apt-get install gcc libc6-dev`")

    monkeypatch.setattr(loading, "Portable", fails)
    with pytest.raises(UserError, match=r"train.arithmetic: portable: no C compiler.*libc6-dev"):
        loading.arithmetic("portable")
    assert loading.arithmetic("native").name == "native"
