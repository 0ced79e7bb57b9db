"""The trace: what identifies a run after an update, with digests taken while training goes on.

Copies are made at once, at the speed of memory. The digests follow on threads, and from a GPU on a
stream of their own, so that a traced update costs the training little more than the copies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from alexnet.digest import combined, tensor_digest

Digests = dict[str, str]


class PendingEntry:
    """An entry of the trace whose digests are being computed.

    Args:
        step: updates done.
        loss: of the last of them; None where column 0 is not.
        tensors: {"weights": {"conv1.weight/0": tensor, ...}, "momentum": ..., "gradients": ...},
            those that are held here.
        exchange: adds the digests of the columns that other processes hold.
    """

    def __init__(self, step: int, loss: Tensor | None,
                 tensors: Mapping[str, Mapping[str, Tensor]],
                 exchange: Callable[[Digests], Digests]) -> None:
        self._step, self._exchange = step, exchange
        self._loss = None if loss is None else loss.detach().clone()
        copies = {kind: {name: tensor.detach().clone() for name, tensor in named.items()}
                  for kind, named in tensors.items()}
        on_gpu = any(copy.is_cuda for named in copies.values() for copy in named.values())
        copied = torch.cuda.Event() if on_gpu else None
        if copied:
            copied.record()
        threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        self._digests: dict[str, dict[str, Future[str]]] = {
            kind: {name: threads.submit(_digest, copy, copied) for name, copy in named.items()}
            for kind, named in copies.items()}
        threads.shutdown(wait=False)  # they end with their work

    def entry(self) -> dict[str, Any]:
        """Return the entry, as soon as its digests are there.

        All processes of a replica take part; the entry is whole where column 0 is.

        Returns:
            {"step", "loss": hexadecimal float, and for each of "weights", "momentum", "gradients":
            {"digest": over all, "tensors": {"conv1.weight/0": first 16 digits of its own, ...}}}.
        """
        loss = None if self._loss is None else float(self._loss).hex()
        entry: dict[str, Any] = {"step": self._step, "loss": loss}
        for kind, pending in self._digests.items():
            digests = self._exchange({name: digest.result() for name, digest in pending.items()})
            entry[kind] = {"digest": combined(digests),
                           "tensors": {name: digests[name][:16] for name in sorted(digests)}}
        return entry


def _digest(copy: Tensor, copied: torch.cuda.Event | None) -> str:
    """Return the digest of a copy that is there after the event; without one, it is there now."""
    if copied is None:
        return tensor_digest(copy)
    stream = torch.cuda.Stream(copy.device)
    stream.wait_event(copied)
    with torch.cuda.stream(stream):
        return tensor_digest(copy)
