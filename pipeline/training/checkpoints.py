"""Checkpoints of a training run: whole or absent, checked when read, no pickle.

A checkpoint is one safetensors file, `step-00000100.safetensors`: weights and momentum with both
columns merged, so that any placement can go on from it, and in its header the step, what the loop
must remember, and a digest of all that. Lines that the run has written beside it
(pipeline.system.journal) belong to it: it remembers how many, and their digest.

The last two are there to go on from. `execution.keep_every` has some kept besides, in a folder of
their own, from which an audit starts. A `Writer` writes them on a thread, while the training goes
on.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from alexnet.digest import digest_of
from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, atomic_write
from pipeline.system.journal import Journal, read_marked
from pipeline.system.terminal import say

RECENT = 2
KEPT_FOLDER = "kept"  # in the folder of a run
# what the reading of a file that is no whole checkpoint raises
BROKEN = (safetensors.SafetensorError, OSError, KeyError, TypeError, AttributeError, *BROKEN_JSON)


def save(directory: Path, step: int, state: dict[str, Tensor], memory: dict[str, Any],
         beside: Sequence[Journal], recent: int | None = RECENT) -> None:
    """Write the checkpoint of this step; keep so many of the most recent, or with None all."""
    _write(directory, step, state, memory | _marks(beside), recent)


class Writer:
    """Writes checkpoints as `save` does, each on a thread of its own, one at a time.

    A state that is handed over is not to be changed. The lines beside it are on the disk, and
    marked, when `save` returns: what the training appends after that is none of the checkpoint's.
    """

    def __init__(self) -> None:
        self._written: Future[None] | None = None

    def save(self, directory: Path, step: int, state: dict[str, Tensor], memory: dict[str, Any],
             beside: Sequence[Journal], recent: int | None = RECENT) -> None:
        """Begin to write; wait for the one before it first, and raise what befell it."""
        self.finish()
        written = self._written = Future[None]()
        memory = memory | _marks(beside)

        def run() -> None:
            try:
                _write(directory, step, state, memory, recent)
                written.set_result(None)
            except BaseException as error:
                written.set_exception(error)

        # No daemon: one that is within PyTorch when Python ends aborts the process.
        threading.Thread(target=run).start()

    def finish(self) -> None:
        """Wait until what was handed over is on the disk; raise what befell it, once."""
        written, self._written = self._written, None
        if written is not None:
            written.result()


def _marks(beside: Sequence[Journal]) -> dict[str, Any]:
    return {"lines": {lines.file.name: lines.mark() for lines in beside}}


def _write(directory: Path, step: int, state: dict[str, Tensor], memory: dict[str, Any],
           recent: int | None) -> None:
    header = {"step": str(step), "memory": json.dumps(memory)}
    header["digest"] = _digest(state, header)
    with atomic_write(directory / file_name(step)) as stream:
        stream.write(safetensors.torch.save(state, header))
    for old in _files(directory)[:-recent] if recent else ():
        old.unlink(missing_ok=True)


def newest(directory: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return step, state and memory of the newest checkpoint that is whole; None if there is none.
    Damaged ones are named and passed over.

    The memory has a mark for each file of lines, under `lines`: Journal(file, mark) cuts the file
    back to it.
    """
    for file in reversed(_files(directory)):
        try:
            step, state, memory = read(file)
            for name, mark in memory["lines"].items():
                read_marked(directory / name, mark)
            return step, state, memory
        except BROKEN as error:
            say(f"{file}: damaged ({error}); it is passed over")
    return None


def read(file: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
    """Return step, state and memory of the checkpoint in a file.

    Raises:
        One of BROKEN: it is missing, damaged, or none.
    """
    with safetensors.safe_open(file, framework="pt") as opened:
        header = opened.metadata()
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if _digest(state, header) != header["digest"]:
        raise ValueError("its contents do not have the digest it names")
    memory = json.loads(header["memory"])
    if not isinstance(memory, dict):
        raise TypeError("its memory is none")
    return int(header["step"]), state, memory


def check_fits(directory: Path, step: int, state: Mapping[str, Tensor],
               shapes: Mapping[str, Sequence[int]]) -> None:
    """Require that a whole checkpoint is of the network with these weights: one from elsewhere may
    hold anything.

    Raises:
        UserError: names the file and the first tensor, by name, that does not belong.
    """
    belong = {f"{kind}/{name}": list(shape) for kind in ("weights", "momentum")
              for name, shape in shapes.items()}
    for name in sorted(belong.keys() | state.keys()):
        expected = f"float32 {belong[name]}" if name in belong else "nothing"
        tensor = state.get(name)
        actual = ("none" if tensor is None
                 else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}")
        if actual != expected:
            raise UserError(f"{directory / file_name(step)}: {name} is {actual}, where {expected} "
                            "belongs: it is of another network; remove the file, and the same "
                            "command goes on from the one before it, or from the start")


def file_name(step: int) -> str:
    """Return the name of the checkpoint of this step."""
    return f"step-{step:08d}.safetensors"


def _digest(state: dict[str, Tensor], header: dict[str, str]) -> str:
    return hashlib.sha256("\n".join([digest_of(state), header["step"],
                                     header["memory"]]).encode()).hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*.safetensors"))
