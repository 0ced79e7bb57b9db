"""The same run has the same bits under every placement, and after a resume under another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alexnet.digest import digest_of
from tests.alexnet.runs import Run, launch


def same(a: tuple[dict[str, Tensor], list[Any]], b: tuple[dict[str, Tensor], list[Any]]) -> bool:
    """Whether two runs left the same state and went through the same traces, to the letter."""
    return digest_of(a[0]) == digest_of(b[0]) and json.dumps(a[1]) == json.dumps(b[1])


def test_one_two_and_four_processes_give_the_same_bits(tmp_path: Path) -> None:
    run = Run(micro_batches=4)
    one = launch(run, tmp_path / "one", processes=1)
    assert torch.isfinite(torch.cat([t.flatten() for t in one[0].values()])).all()
    for split, processes in ((True, 2), (True, 4), (False, 2)):
        other = launch(replace(run, split=split), tmp_path / f"{split} {processes}", processes)
        assert same(one, other), (split, processes)


def test_so_does_the_paper_s_recipe_on_one_and_two(tmp_path: Path) -> None:
    """As printed, its colour noise is of a thousand grey levels, and its loss overflows."""
    run = Run(recipe="paper", micro_batches=4, switches={"colour_noise": "stdev"})
    one = launch(run, tmp_path / "one", processes=1)
    assert torch.isfinite(torch.cat([t.flatten() for t in one[0].values()])).all()
    assert same(one, launch(replace(run, split=True), tmp_path / "two", processes=2))


def test_bfloat16_has_the_same_bits_on_one_process_and_two(tmp_path: Path) -> None:
    run = Run(stop=2, precision="bf16")
    one = launch(run, tmp_path / "one", processes=1)
    assert same(one, launch(replace(run, split=True), tmp_path / "two", processes=2))
    assert not same(one, launch(replace(run, precision="fp32"), tmp_path / "fp32", processes=1))


def test_each_image_is_read_by_one_process(tmp_path: Path) -> None:
    # three batches of 8: each of the 24 images once
    run = Run(steps=3, stop=3, batch=8, micro_batches=2)
    launch(replace(run, split=True), tmp_path / "four", processes=4)
    read = [json.loads((tmp_path / "four" / f"read-{rank}.json").read_text()) for rank in range(4)]
    assert [len(images) for images in read] == [6, 6, 6, 6]
    assert sorted(image for images in read for image in images) == list(range(24))


def test_a_resume_under_another_placement_gives_the_same_bits(tmp_path: Path) -> None:
    run = Run(steps=4, stop=4)
    whole = launch(run, tmp_path / "whole", processes=1)
    launch(replace(run, stop=2, split=True), tmp_path / "begun", processes=2)
    ended = launch(run, tmp_path / "ended", processes=1, resume=tmp_path / "begun")
    assert same(whole, (ended[0], whole[1][:2] + ended[1]))


def test_the_full_width_net_is_the_same_everywhere(tmp_path: Path,
                                                   pytestconfig: pytest.Config) -> None:
    """The paper's net: one process; and four (2 x 2) to mid-epoch, from where two go on."""
    half = 5 if pytestconfig.getoption("--long") else 2
    run = Run(steps=2 * half, stop=2 * half, width=1.0, classes=1000, batch=4, trace_every=half)
    one = launch(run, tmp_path / "one", processes=1)
    assert sum(tensor.numel()
               for name, tensor in one[0].items() if name.startswith("weights/")) == 60_965_224
    four = launch(replace(run, split=True, stop=half), tmp_path / "four", processes=4)
    two = launch(replace(run, split=True), tmp_path / "two", processes=2, resume=tmp_path / "four")
    assert same(one, (two[0], four[1] + two[1]))


def test_one_flipped_bit_is_seen(tmp_path: Path) -> None:
    run = launch(Run(stop=1, batch=2), tmp_path / "run", processes=1)
    for name in run[0]:
        changed = {key: tensor.clone() for key, tensor in run[0].items()}
        changed[name].view(-1)[-1:].view(torch.int32).bitwise_xor_(1)
        assert not same(run, (changed, run[1])), name
    other = [run[1][0] | {"loss": (float.fromhex(run[1][0]["loss"]) * (1 + 2**-52)).hex()}]
    assert not same(run, (run[0], other))
