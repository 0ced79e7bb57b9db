"""What a training process settles before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config import parameters
from pipeline.training.execution import prepare

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
    prepare(parameters.load(ROOT / "params.yaml",
                            ["execution.device=cpu", f"execution.deterministic={told}"]))
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
