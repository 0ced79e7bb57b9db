"""Stochastic gradient descent as in 2012: v <- 0.9 v - 0.0005 lr w - lr g;  w <- w + v (P §5).

The learning rate is inside the velocity. torch.optim.SGD multiplies it on the outside, which is the
same while the rate is constant and differs for some ten updates after every drop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.schedule import MOMENTUM, Rate

CACHE_VALUES = 1 << 19  # updated at a time on the CPU, to go through memory once, not four times


@torch.no_grad()
def update(weight: Tensor, velocity: Tensor, gradient: Tensor, rate: Rate) -> None:
    """Do one update in place. A rate of 0 leaves everything as it is.

    Args:
        weight, velocity: contiguous tensors of one shape and type, which are changed.
        gradient: of the loss, the mean over the batch; of the same shape.
        rate: learning rate and decay of this parameter.

    Source: S src/weights.cu update(), in its order: momentum and gradient, then decay, then the
    weight.
    """
    if rate.lr == 0.0:
        return
    w, v, g = weight.view(-1), velocity.view(-1), gradient.reshape(-1)
    part = CACHE_VALUES if w.device.type == "cpu" else max(1, len(w))
    for start in range(0, len(w), part):
        _update(w[start: start + part], v[start: start + part], g[start: start + part], rate)


def _update(weight: Tensor, velocity: Tensor, gradient: Tensor, rate: Rate) -> None:
    velocity.mul_(MOMENTUM).add_(gradient, alpha=-rate.lr)
    if rate.decay:
        velocity.add_(weight, alpha=-rate.decay * rate.lr)
    weight.add_(velocity)


@torch.no_grad()
def rescale(velocity: Tensor, before: Rate, now: Rate) -> None:
    """Multiply the velocity by the quotient of the rates, in place, as torch.optim.SGD has it.

    This is the switch momentum_at_drop=rescaled. A rate of 0 before, or one that stays, changes
    nothing.

    Args:
        velocity: of any shape.
        before, now: the rates of the last update and of this one.
    """
    if before.lr != now.lr and before.lr > 0.0:
        velocity.mul_(now.lr / before.lr)
