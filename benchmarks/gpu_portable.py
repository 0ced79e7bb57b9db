"""The phase `portable` of `benchmarks.gpu`: has portable arithmetic the CPU's bits on this device?

First every operator's digest, then the states of a training after its first updates. Where one
differs, the first operator, shape and element that do are named, with both values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alexnet.arithmetic.portable import Portable
from alexnet.placement import Placement
from benchmarks.gpu_part import each, emit, interpreted, seconds_left, synchronize
from benchmarks.gpu_sample import (
    REHEARSAL,
    SAMPLE,
    digest_of_pictures,
    pictures,
    state_digest,
    stored,
    training,
)

# in a rehearsal, where each is interpreted; the tests have all of them
FEW = ("linear", "max_pool", "lrn", "cross_entropy", "update")


def operators(device: torch.device) -> None:
    """Hold every operator against its digest."""
    from alexnet.arithmetic.gpu import check

    if device.type == "cpu" and not interpreted(device):
        emit("operators", verdict="not compared", detail="there is no Triton")
        return
    names = check.CASES if device.type == "cuda" else FEW
    wrong = 0
    for name in names:
        difference = check.difference(name, device)
        if difference is not None:
            wrong += 1
            emit(f"operator {name}", verdict="differs", detail=str(difference))
    emit(f"{len(names)} operators against the CPU's", verdict="differs" if wrong else "identical",
         differing=wrong)


def sample(device: torch.device) -> None:
    """Train, and compare states."""
    chosen = SAMPLE if device.type == "cuda" else REHEARSAL
    images, expected = pictures(chosen.pictures), stored(chosen)
    if digest_of_pictures(images) != expected["pictures"]:
        emit("pictures of the sample", verdict="differs",
             detail="they are drawn otherwise here: nothing after this can agree")
    portable = Portable(gpu=device.type == "cuda")
    run = training(chosen, images, portable, Placement(device=device))
    start = time.perf_counter()
    for update in range(1, chosen.updates[-1] + 1):
        run.advance()
        if str(update) in expected["updates"]:
            synchronize(device)
            wanted = expected["updates"][str(update)]
            digest = state_digest(run)
            same = digest == wanted["state"]
            emit(f"{update} updates of the {chosen.name}, weights and momentum",
                 verdict="identical" if same else "differs", digest=digest[:16],
                 stored=wanted["state"][:16], loss=float(run.loss or 0.0).hex(),
                 loss_stored=wanted["loss"], s=time.perf_counter() - start)
            if not same:
                run.finish()
                _first_difference(device, portable, images)
                return
            if seconds_left() < 10:
                break
    run.finish()


def _first_difference(device: torch.device, portable: Portable, images: Any) -> None:
    """Repeat the first update with every operator beside the CPU's, and name the first that
    differs."""
    chosen = SAMPLE if device.type == "cuda" else REHEARSAL
    portable._gpu = Compared(portable.operators, Portable().host)
    run = training(chosen, images, portable, Placement(device=device))
    try:
        for _ in range(2):
            run.advance()
        emit("every operator of the first two updates", verdict="identical")
    except FirstDifference as difference:
        emit("the first operator that differs in an update", verdict="differs",
             detail=str(difference))
    finally:
        run.finish()


class FirstDifference(Exception):
    """Says where."""


class Compared:
    """Operators of a device, each beside the CPU's on the same inputs; stops at the first
    difference."""

    def __init__(self, here: Any, defined: Any) -> None:
        self._here, self._defined = here, defined

    def __getattr__(self, name: str) -> Callable[..., Any]:
        own = getattr(self._here, name)
        if name in ("mean_loss", "centred"):  # centred is called on a thread, where none listens
            return own  # type: ignore[no-any-return]

        def call(*arguments: Any) -> Any:
            copies = [argument.cpu().clone() if isinstance(argument, Tensor) else argument
                      for argument in arguments]
            result, expected = own(*arguments), getattr(self._defined, name)(*copies)
            if result is None:  # changed in place
                compare(name, arguments[:2], copies[:2])
            else:
                compare(name, _tuple(result), _tuple(expected))
            return result
        return call


def compare(name: str, here: Any, defined: Any) -> None:
    """Raise FirstDifference where two results of an operator differ in a bit."""
    for a, b in zip(here, defined, strict=True):
        a, b = (part if isinstance(part, Tensor) else torch.tensor([part]).to(
            torch.float64 if isinstance(part, float) else torch.int64) for part in (a, b))
        flat, right = a.detach().cpu().reshape(-1), b.reshape(-1)
        if flat.contiguous().view(torch.uint8).equal(right.contiguous().view(torch.uint8)):
            continue
        size = flat.element_size()
        differs = (flat.contiguous().view(torch.uint8).view(-1, size)
                   != right.contiguous().view(torch.uint8).view(-1, size)).any(1).nonzero()
        place = int(differs[0])
        element = [int(part) for part in torch.unravel_index(torch.tensor(place), a.shape or (1,))]
        raise FirstDifference(
            f"{name}: {len(differs)} elements differ, the first at {element} of {list(a.shape)}: "
            f"{float(flat[place]).hex()} here, {float(right[place]).hex()} by the definition")


def _tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


if __name__ == "__main__":
    each({"operators": operators, "sample": sample})
