"""What the two columns exchange on the way through the network, and its gradients (P §3.2, Fig. 2).

Every exchange has a form for two columns in one process and a form for one column on each of two,
with the same bits: gathering copies, and the sum of two gradients does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from alexnet.arithmetic.native import NATIVE, Arithmetic, LayerOperator
from alexnet.messages import receive, send, start_swap, swap
from alexnet.placement import Placement


def gather_and_apply(maps: list[Tensor], placement: Placement, operator: LayerOperator,
                     parameters: list[tuple[Tensor, Tensor]],
                     arithmetic: Arithmetic = NATIVE) -> list[Tensor]:
    """Apply a layer that sees the maps of both columns, column 0's first.

    Args:
        maps: [n, c, ...] of each column held here.
        placement: which columns they are.
        operator: the layer as a function of input [n, 2c, ...], weight and bias.
        parameters: weight and bias of each column held here.
        arithmetic: that adds the gradients of the two columns.

    Returns:
        The layer's output for each column held here.
    """
    if placement.columns == 1:
        return [operator(maps[0], *parameters[0])]
    if not placement.split:
        both = arithmetic.branch(torch.cat(maps, dim=1), len(parameters))
        return [operator(x, *own) for x, own in zip(both, parameters, strict=True)]
    column, peer = placement.held[0], placement.peer
    if torch.is_grad_enabled():
        return [_GatherAndApply.apply(maps[0], *parameters[0], operator, arithmetic, column, peer)]
    return [operator(_all_gather(maps[0], column, peer), *parameters[0])]


def gather_on_first(maps: list[Tensor], placement: Placement) -> list[Tensor]:
    """Return the maps of both columns, [n, 2c, ...], for a layer that column 0 alone has.

    Where column 0 is not, the list holds a scalar that carries the gradient back: its value means
    nothing, and its `backward()` waits for column 0's.
    """
    if placement.columns == 1:
        return maps
    if placement.split:
        return [_GatherOnFirst.apply(maps[0], placement.held[0], placement.peer)]
    return [torch.cat(maps, dim=1)]


def with_halo(maps: list[Tensor], count: int, placement: Placement,
              arithmetic: Arithmetic = NATIVE) -> list[Tensor]:
    """Return each column's maps with the `count` maps of the other column that are next to them.

    Args:
        maps: [n, c, ...] of each column held here.
        count: maps that each column lends to the other, at most c.
        placement: which columns they are.
        arithmetic: that adds the gradients of the halo to its owner's.

    Returns:
        [n, c + count, ...] of each column: the halo is after the maps of column 0, and before those
        of column 1.
    """
    if placement.columns == 1:
        return maps
    if placement.split:
        return [_HaloFromPeer.apply(maps[0], count, arithmetic, placement.held[0],
                                    placement.peer)]
    return list(_Halo.apply(maps[0], maps[1], count, arithmetic))


def _all_gather(maps: Tensor, column: int, peer: int) -> Tensor:
    pair = [maps, swap(maps, peer)]
    return torch.cat(pair if column == 0 else pair[::-1], dim=1)


class _GatherAndApply(Function):
    """The exchange and the layer after it in one function, so that the backward pass can send the
    other column's gradient before it computes those of weight and bias."""

    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor,
                operator: LayerOperator, arithmetic: Arithmetic, column: int,
                peer: int) -> Tensor:
        context.column, context.peer, context.operator = column, peer, operator
        context.arithmetic = arithmetic
        output, context.saved = operator.forward(_all_gather(maps, column, peer), weight, bias)
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_maps = context.operator.input_gradient(context.saved, gradient)
        halves = of_maps.chunk(2, dim=1)
        peers = start_swap(halves[1 - context.column], context.peer)
        of_parameters = context.operator.parameter_gradients(context.saved, gradient)
        of_maps = context.arithmetic.add(halves[context.column], peers())
        return of_maps, *of_parameters, None, None, None, None


class _GatherOnFirst(Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, column: int, peer: int) -> Tensor:
        context.column, context.peer = column, peer
        if column == 0:
            return torch.cat([maps, receive(maps, peer)], dim=1)
        send(maps, peer)
        context.save_for_backward(maps)
        return maps.new_zeros(())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if context.column == 0:
            own, peers = gradient.chunk(2, dim=1)
            send(peers, context.peer)
            return own, None, None
        return receive(context.saved_tensors[0], context.peer), None, None


class _Halo(Function):
    @staticmethod
    def forward(context: Any, maps0: Tensor, maps1: Tensor, count: int,
                arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        context.count, context.arithmetic = count, arithmetic
        return (torch.cat([maps0, maps1[:, :count]], dim=1),
                torch.cat([maps0[:, -count:], maps1], dim=1))

    @staticmethod
    def backward(context: Any, gradient0: Tensor,
                 gradient1: Tensor) -> tuple[Tensor | None, ...]:
        count, add = context.count, context.arithmetic.add
        return (_add_at_edge(gradient0[:, :-count], gradient1[:, :count], 0, count, add),
                _add_at_edge(gradient1[:, count:], gradient0[:, -count:], 1, count, add),
                None, None)


class _HaloFromPeer(Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, count: int, arithmetic: Arithmetic, column: int,
                peer: int) -> Tensor:
        context.count, context.column, context.peer = count, column, peer
        context.arithmetic = arithmetic
        if column == 0:
            return torch.cat([maps, swap(maps[:, -count:], peer)], dim=1)
        return torch.cat([swap(maps[:, :count], peer), maps], dim=1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count, column = context.count, context.column
        of_halo = gradient[:, -count:] if column == 0 else gradient[:, :count]
        own = gradient[:, :-count] if column == 0 else gradient[:, count:]
        lent = swap(of_halo, context.peer)
        own = _add_at_edge(own, lent, column, count, context.arithmetic.add)
        return own, None, None, None, None


def _add_at_edge(own: Tensor, lent: Tensor, column: int, count: int,
                 add: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return a column's gradient, with the gradient of the maps it lent to the other column added
    at the edge where the two are next to each other."""
    own = own.clone(memory_format=torch.channels_last)
    edge = own[:, -count:] if column == 0 else own[:, :count]
    edge.copy_(add(edge, lent))
    return own
