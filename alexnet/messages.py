"""Tensors sent from one process to another, point to point.

Between GPUs they go by NCCL. Gloo has no messages from a GPU: there they go through the CPU's
memory, so that two processes can share one GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


def send(tensor: Tensor, peer: int) -> None:
    """Send a tensor to the process of this rank, which calls `receive`."""
    sent = _staged(_memory_order(tensor).contiguous())
    _wait(dist.batch_isend_irecv([dist.P2POp(dist.isend, sent, peer)]), sent)


def receive(like: Tensor, peer: int) -> Tensor:
    """Return a tensor of the shape, type and device of `like` from the process of this rank."""
    received = _staged(_buffer(like))
    _wait(dist.batch_isend_irecv([dist.P2POp(dist.irecv, _memory_order(received), peer)]))
    return received.to(like.device)


def swap(tensor: Tensor, peer: int, like: Tensor | None = None,
         group: dist.ProcessGroup | None = None) -> Tensor:
    """Send a tensor to the peer and return the one that the peer sends.

    Args:
        tensor: of any type, on the device of the process group's backend.
        peer: rank of the other process, which calls this, too.
        like: has shape, type and device of the peer's tensor, if they are not those of `tensor`.
        group: group of processes; None is the group of all.
    """
    return start_swap(tensor, peer, like, group)()


def start_swap(tensor: Tensor, peer: int, like: Tensor | None = None,
               group: dist.ProcessGroup | None = None) -> Callable[[], Tensor]:
    """Begin a `swap` that goes on while something else is computed.

    Returns:
        A function that waits for the peer's tensor and returns it.
    """
    like = tensor if like is None else like
    received = _staged(_buffer(like), group)
    sent = _staged(_memory_order(tensor).contiguous(), group)
    requests = dist.batch_isend_irecv([
        dist.P2POp(dist.isend, sent, peer, group),
        dist.P2POp(dist.irecv, _memory_order(received), peer, group)])

    def finish() -> Tensor:
        _wait(requests, sent)
        return received.to(like.device)
    return finish


def _staged(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Return the tensor, or its copy in the CPU's memory where the group cannot send a GPU's."""
    return tensor.cpu() if tensor.is_cuda and dist.get_backend(group) == "gloo" else tensor


def _wait(requests: list[dist.Work], *sent: Tensor) -> None:
    """Wait until the requests are done; what is sent has to live until then."""
    for request in requests:
        request.wait()


def _memory_order(tensor: Tensor) -> Tensor:
    """Return a view in the order in which a tensor is sent: maps [n, channels, height, width] have
    their channels last, as in memory."""
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def _buffer(like: Tensor) -> Tensor:
    """Return an uninitialised tensor of this shape, type and device, maps with channels last."""
    layout = torch.channels_last if like.dim() == 4 else torch.contiguous_format
    return torch.empty_like(like, memory_format=layout)
