"""Stochastic gradient descent as in 2012: v <- 0.9 v - 0.0005 lr w - lr g;  w <- w + v (P §5).

The learning rate is inside the velocity. torch.optim.SGD multiplies it on the outside, which is the
same while the rate is constant and differs for some ten updates after every drop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.arithmetic.native import NATIVE, Arithmetic
from alexnet.schedule import MOMENTUM, Rate


@torch.no_grad()
def update(weight: Tensor, velocity: Tensor, gradient: Tensor, rate: Rate,
           arithmetic: Arithmetic = NATIVE) -> None:
    """Do one update in place. A rate of 0 leaves everything as it is.

    Args:
        weight, velocity: contiguous tensors of one shape and type, which are changed.
        gradient: of the loss, the mean over the batch; of the same shape.
        rate: learning rate and decay of this parameter.
        arithmetic: that computes it.

    Source: S src/weights.cu update(), in its order: momentum and gradient, then decay, then the
    weight.
    """
    if rate.lr != 0.0:
        arithmetic.update(weight, velocity, gradient, MOMENTUM, rate.lr, rate.decay)


@torch.no_grad()
def rescale(velocity: Tensor, before: Rate, now: Rate, arithmetic: Arithmetic = NATIVE) -> None:
    """Multiply the velocity by the quotient of the rates, in place, as torch.optim.SGD has it.

    This is the switch momentum_at_drop=rescaled. A rate of 0 before, or one that stays, changes
    nothing.

    Args:
        velocity: of any shape.
        before, now: the rates of the last update and of this one.
        arithmetic: that computes it.
    """
    if before.lr != now.lr and before.lr > 0.0:
        arithmetic.rescale(velocity, now.lr / before.lr)
