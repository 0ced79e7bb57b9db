"""Which columns and which replica of the network a process holds (P §3.2, Fig. 2).

Both columns are in one process, or one is on each of two; and several replicas, which share the
micro-batches of a batch, can be beside each other. No placement changes a bit of what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Placement:
    """The columns and the replica that this process holds. Ranks count columns, then replicas.

    Attributes:
        columns: number of columns of the network, 1 or 2.
        held: the columns that this process holds.
        replica: number of the replica that they belong to, 0 .. replicas - 1.
        replicas: copies of the network that share the micro-batches.
        device: where this process has its tensors.
    """

    columns: int = 2
    held: tuple[int, ...] = (0, 1)
    replica: int = 0
    replicas: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def split(self) -> bool:
        """Return whether the columns are on different processes."""
        return len(self.held) < self.columns

    @property
    def processes(self) -> int:
        """Return the number of processes that hold one replica together."""
        return self.columns if self.split else 1

    def rank_of(self, replica: int, column: int) -> int:
        """Return the rank of the process that holds this column of this replica."""
        return replica * self.processes + (column if self.split else 0)

    @property
    def peer(self) -> int:
        """Return the rank of the process that holds the other column of this replica."""
        return self.rank_of(self.replica, 1 - self.held[0])

    @property
    def first(self) -> bool:
        """Return whether this is rank 0, which writes files and reports to the user."""
        return self.replica == 0 and 0 in self.held


def placement_here(columns: int, split: bool, device: torch.device) -> Placement:
    """Return this process's placement among all that PyTorch's launcher started.

    Without a launcher, it holds everything.

    Args:
        columns: number of columns of the network.
        split: whether each column has a process of its own.
        device: where this process has its tensors.

    Raises:
        ValueError: the number of processes is not a multiple of the columns.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    processes = columns if split else 1
    if world % processes:
        raise ValueError(f"{world} processes cannot hold replicas of {processes} columns each")
    held = (rank % processes,) if split else tuple(range(columns))
    return Placement(columns, held, rank // processes, world // processes, device)
