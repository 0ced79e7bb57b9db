"""Checkpoints of a training run: whole or absent, checked when read, the last two kept, no pickle.

A checkpoint is one safetensors file, `step-00000100.safetensors`: weights and momentum with both columns merged, so
that any placement can go on from it, and in its header the step, what the loop must remember, and a digest of the
tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from alexnet.digest import digest_of
from pipeline.files import written_whole
from pipeline.progress import say

KEPT = 2


def save(directory: Path, step: int, state: dict[str, Tensor], memory: dict[str, Any]) -> None:
    """Write the checkpoint of this step and delete those before the one before it."""
    header = {"step": str(step), "memory": json.dumps(memory), "digest": digest_of(state)}
    with written_whole(directory / f"step-{step:08d}.safetensors") as stream:
        stream.write(safetensors.torch.save(state, header))
    for old in _files(directory)[:-KEPT]:
        old.unlink(missing_ok=True)


def newest(directory: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Step, state and memory of the newest checkpoint that is whole; damaged ones are told of and passed over."""
    for file in reversed(_files(directory)):
        try:
            with safetensors.safe_open(file, framework="pt") as opened:
                header = opened.metadata()
                state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            if digest_of(state) != header["digest"]:
                raise ValueError("its tensors do not have the digest it names")
            return int(header["step"]), state, json.loads(header["memory"])
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            say(f"{file}: damaged ({error}); the one before it is used")
    return None


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*.safetensors"))
