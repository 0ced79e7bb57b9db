"""The trace: what identifies a run after an update, with digests taken while training goes on.

Copies are made at once, at the speed of memory. The digests follow on threads, and from a GPU on a
stream of their own, so that a traced update costs the training little more than the copies.

The entries are a hash chain: `linked()` has each name the digest of the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from alexnet.digest import combined, tensor_digest

Digests = dict[str, str]


class PendingDigests:
    """Digests of tensors that do not change any more, computed on threads from now on."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        copied = torch.cuda.Event() if any(one.is_cuda for one in tensors.values()) else None
        if copied:
            copied.record()
        threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        self._digests: dict[str, Future[str]] = {
            name: threads.submit(_digest, tensor, copied) for name, tensor in tensors.items()}
        threads.shutdown(wait=False)  # they end with their work

    def result(self) -> Digests:
        """Return the digest of each tensor, as soon as all are there."""
        return {name: digest.result() for name, digest in self._digests.items()}


class PendingEntry:
    """An entry of the trace whose digests are being computed.

    Args:
        step: updates done.
        loss: of the last of them; None where column 0 is not.
        images: of each micro-batch of that update that was computed here, in their order; empty
            where column 0 is not, or the update was not announced as one to be traced.
        tensors: {"weights": {"conv1.weight/0": tensor, ...}, "momentum": ..., "gradients": ...},
            those that are held here; none on other replicas than the first.
        gather_images: adds the digests of the micro-batches that other replicas computed.
        gather: adds the digests of the columns that other processes hold.
    """

    def __init__(self, step: int, loss: Tensor | None, images: Sequence[PendingDigests],
                 tensors: Mapping[str, Mapping[str, Tensor]],
                 gather_images: Callable[[list[str]], list[str]],
                 gather: Callable[[Digests], Digests]) -> None:
        self._step, self._images, self._gather_images = step, images, gather_images
        self._gather = gather
        self._loss = None if loss is None else loss.detach().clone()
        self._digests = {kind: PendingDigests({name: tensor.detach().clone()
                                               for name, tensor in named.items()})
                         for kind, named in tensors.items()}

    def entry(self) -> dict[str, Any]:
        """Return the entry, as soon as its digests are there.

        All processes take part; the entry is whole where column 0 of the first replica is.

        Returns:
            {"step", "loss": hexadecimal float, "images": the digest of what went into the network,
            pixels and labels (null of an update that was not announced), and for each of
            "weights", "momentum", "gradients": {"digest": over all, "tensors": {"conv1.weight/0":
            first 16 digits of its own, ...}}}.
        """
        loss = None if self._loss is None else float(self._loss).hex()
        parts = self._gather_images([combined(part.result()) for part in self._images])
        images = combined({f"{number:08}": part for number, part in enumerate(parts)})
        entry: dict[str, Any] = {"step": self._step, "loss": loss,
                                 "images": images if parts else None}
        for kind, pending in self._digests.items():
            digests = self._gather(pending.result())
            entry[kind] = {"digest": combined(digests),
                           "tensors": {name: digests[name][:16] for name in sorted(digests)}}
        return entry


def linked(entry: Mapping[str, Any], losses: str, previous: str) -> dict[str, Any]:
    """Return an entry as a link of the chain.

    Args:
        entry: as `PendingEntry.entry` returns it.
        losses: what `loss_chain` has come to with this update.
        previous: `link_digest` of the entry before it; of the first, the digest of the initial
            weights and momentum.
    """
    return {**entry, "losses": losses, "previous": previous}


def link_digest(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry as it is written, which covers all entries before it."""
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()


def loss_chain(before: str, loss: float) -> str:
    """Return the digest of the losses of all updates since an entry of the trace.

    Args:
        before: what it was with the update before; empty after an entry.
        loss: of this update.
    """
    return hashlib.sha256(f"{before} {loss.hex()}".encode()).hexdigest()


def _digest(copy: Tensor, copied: torch.cuda.Event | None) -> str:
    """Return the digest of a tensor that is there after the event; without one, it is there now."""
    if copied is None:
        return tensor_digest(copy)
    stream = torch.cuda.Stream(copy.device)
    stream.wait_event(copied)
    with torch.cuda.stream(stream):
        return tensor_digest(copy)
