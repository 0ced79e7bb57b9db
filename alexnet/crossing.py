"""Where the two columns meet: both in this process, or one on each of two (P §3.2, Fig. 2).

Every crossing has a one-process form and a two-process form with the same bits: gathering copies, and the sum of two
gradients does not depend on their order. A `Placement` says what this process holds and whom it talks to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class Placement:
    """The columns and the replica that this process holds. Ranks count columns first, then replicas.

    Attributes:
        columns: of the network, 1 or 2.
        mine: the columns held here.
        replica: number of the replica that they belong to, 0 .. replicas - 1.
        replicas: copies of the network that share the micro-batches.
        device: of the tensors here.
    """

    columns: int = 2
    mine: tuple[int, ...] = (0, 1)
    replica: int = 0
    replicas: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def split(self) -> bool:
        """Whether the columns are on different processes."""
        return len(self.mine) < self.columns

    @property
    def processes(self) -> int:
        """Processes that hold one replica together."""
        return self.columns if self.split else 1

    def rank_of(self, replica: int, column: int) -> int:
        """The rank of the process that holds this column of this replica."""
        return replica * self.processes + (column if self.split else 0)

    @property
    def peer(self) -> int:
        """Rank of the process that holds the other column of this replica."""
        return self.rank_of(self.replica, 1 - self.mine[0])

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and talks."""
        return self.replica == 0 and 0 in self.mine


def placement_here(columns: int, split: bool, device: torch.device) -> Placement:
    """This process's place among all that PyTorch's launcher started; without a launcher, it holds everything.

    Raises:
        ValueError: the number of processes is not a multiple of the columns.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    processes = columns if split else 1
    if world % processes:
        raise ValueError(f"{world} processes cannot hold replicas of {processes} columns each")
    mine = (rank % processes,) if split else tuple(range(columns))
    return Placement(columns, mine, rank // processes, world // processes, device)


def swap(mine: Tensor, peer: int, like: Tensor | None = None, group: dist.ProcessGroup | None = None) -> Tensor:
    """Send a tensor to the peer and receive one: of the same shape and type, or of those of `like`.

    Args:
        mine: of any type, on the device of the process group's backend.
        peer: rank of the other process, which calls this, too.
        like: has shape, type and device of what comes, if they are not those of `mine`.
        group: of processes; None is that of all.
    """
    return swap_begun(mine, peer, like, group)()


def swap_begun(mine: Tensor, peer: int, like: Tensor | None = None,
               group: dist.ProcessGroup | None = None) -> Callable[[], Tensor]:
    """`swap` that goes on beside what is computed until the result is called, which waits for the peer's tensor."""
    theirs, sent = _receiving(mine if like is None else like), _wire(mine).contiguous()
    requests = dist.batch_isend_irecv([dist.P2POp(dist.isend, sent, peer, group),
                                       dist.P2POp(dist.irecv, _wire(theirs), peer, group)])

    def received() -> Tensor:
        _wait(requests, sent)
        return theirs
    return received


def send(tensor: Tensor, peer: int) -> None:
    """A tensor to the peer, which calls `receive`."""
    sent = _wire(tensor).contiguous()
    _wait(dist.batch_isend_irecv([dist.P2POp(dist.isend, sent, peer)]), sent)


def receive(like: Tensor, peer: int) -> Tensor:
    """A tensor of the shape, type and device of `like`, from the peer."""
    theirs = _receiving(like)
    _wait(dist.batch_isend_irecv([dist.P2POp(dist.irecv, _wire(theirs), peer)]))
    return theirs


def _wait(requests: list[dist.Work], *sent: Tensor) -> None:
    """Until they are done; what is sent has to live until then."""
    for request in requests:
        request.wait()


def _wire(tensor: Tensor) -> Tensor:
    """A view in the order in which a tensor is sent: maps [n, c, h, w] have their channels last, as in memory."""
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def _receiving(like: Tensor) -> Tensor:
    channels_last = torch.channels_last if like.dim() == 4 else torch.contiguous_format
    return torch.empty_like(like, memory_format=channels_last)


Learned = Callable[[Tensor, Tensor, Tensor], Tensor]  # of a layer: input, weight, bias


def gathered(xs: list[Tensor], place: Placement, learned: Learned,
             parameters: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """A layer of each column held here that sees the maps of both, column 0's first: [n, c, ...] -> [n, 2c, ...].

    Args:
        xs: the columns' maps.
        learned: the layer, a function of input, weight and bias.
        parameters: weight and bias of each column.
    """
    if place.columns == 1:
        return [learned(xs[0], *parameters[0])]
    if not place.split:
        both = torch.cat(xs, dim=1)
        return [learned(both, *own) for own in parameters]
    if torch.is_grad_enabled():
        return [_Gathered.apply(xs[0], *parameters[0], learned, place.mine[0], place.peer)]
    return [learned(_of_both(xs[0], place.mine[0], place.peer), *parameters[0])]


def _of_both(x: Tensor, column: int, peer: int) -> Tensor:
    pair = [x, swap(x, peer)]
    return torch.cat(pair if column == 0 else pair[::-1], dim=1)


def gather_on_first(xs: list[Tensor], place: Placement) -> list[Tensor]:
    """As `gather`, for a layer that column 0 alone has. Elsewhere the list holds a scalar that carries the gradient
    back: its value means nothing, its `backward()` waits for column 0's."""
    if place.columns == 1:
        return xs
    if place.split:
        return [_GatherOnFirst.apply(xs[0], place.mine[0], place.peer)]
    return [torch.cat(xs, dim=1)]


def with_neighbours(xs: list[Tensor], count: int, place: Placement) -> list[Tensor]:
    """Each column's maps with the `count` that touch them in the other: [n, c, ...] -> [n, c + count, ...]; behind the
    maps of column 0, before those of column 1."""
    if place.columns == 1:
        return xs
    if place.split:
        return [_NeighboursApart.apply(xs[0], count, place.mine[0], place.peer)]
    return list(_Neighbours.apply(xs[0], xs[1], count))


class _Gathered(Function):
    """The swap and the layer behind it in one, so that the way back can send the other column's gradient before it
    works out those of weight and bias."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, learned: Learned, column: int,
                peer: int) -> Tensor:
        context.column, context.peer = column, peer
        with torch.enable_grad():
            context.leaves = [leaf.detach().requires_grad_() for leaf in (_of_both(x, column, peer), weight, bias)]
            context.found = learned(*context.leaves)
        found: Tensor = context.found.detach()
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        both, *parameters = context.leaves
        halves = torch.autograd.grad(context.found, both, gradient, retain_graph=True)[0].chunk(2, dim=1)
        theirs = swap_begun(halves[1 - context.column], context.peer)
        of_parameters = torch.autograd.grad(context.found, parameters, gradient)
        return halves[context.column] + theirs(), *of_parameters, None, None, None


class _GatherOnFirst(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, column: int, peer: int) -> Tensor:
        context.column, context.peer = column, peer
        if column == 0:
            return torch.cat([x, receive(x, peer)], dim=1)
        send(x, peer)
        context.save_for_backward(x)
        return x.new_zeros(())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if context.column == 0:
            mine, theirs = gradient.chunk(2, dim=1)
            send(theirs, context.peer)
            return mine, None, None
        return receive(context.saved_tensors[0], context.peer), None, None


class _Neighbours(Function):
    @staticmethod
    def forward(context: Any, x0: Tensor, x1: Tensor, count: int) -> tuple[Tensor, Tensor]:
        context.count = count
        return torch.cat([x0, x1[:, :count]], dim=1), torch.cat([x0[:, -count:], x1], dim=1)

    @staticmethod
    def backward(context: Any, g0: Tensor, g1: Tensor) -> tuple[Tensor | None, ...]:
        count = context.count
        return (_returned(g0[:, :-count], g1[:, :count], 0, count),
                _returned(g1[:, count:], g0[:, -count:], 1, count), None)


class _NeighboursApart(Function):
    @staticmethod
    def forward(context: Any, x: Tensor, count: int, column: int, peer: int) -> Tensor:
        context.count, context.column, context.peer = count, column, peer
        if column == 0:
            return torch.cat([x, swap(x[:, -count:], peer)], dim=1)
        return torch.cat([swap(x[:, :count], peer), x], dim=1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count, column = context.count, context.column
        lent = gradient[:, -count:] if column == 0 else gradient[:, :count]
        own = gradient[:, :-count] if column == 0 else gradient[:, count:]
        return _returned(own, swap(lent, context.peer), column, count), None, None, None


def _returned(own: Tensor, lent: Tensor, column: int, count: int) -> Tensor:
    """A column's gradient with that of the maps it lent to the other added at the edge where they touch."""
    own = own.clone(memory_format=torch.channels_last)
    edge = own[:, -count:] if column == 0 else own[:, :count]
    edge += lent
    return own
