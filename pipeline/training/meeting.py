"""Where the training processes meet: a part of the launcher's store that no earlier attempt has
written to.

torchrun restarts all processes when one has failed, and keeps its store. PyTorch would read from it
the addresses of processes that have ended, and wait for them or be refused. The number of restarts
does not tell the attempts apart: on several machines each torchrun counts its own.
"""

from __future__ import annotations

import secrets
import time

from torch.distributed import PrefixStore, Store, rendezvous  # type: ignore[attr-defined]

SECONDS_BETWEEN_LOOKS = 0.02


def meet() -> tuple[str, Store, int, int]:
    """Return the name of this attempt, a store that only its processes use, this one's rank and how
    many they are; found by the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    Raises:
        RuntimeError: the launcher's store cannot be reached, or a process has not come, within half
            an hour.
    """
    store, rank, size = next(rendezvous("env://"))
    name = agree(store, rank, size)
    return name, PrefixStore(name, store), rank, size


def agree(store: Store, rank: int, size: int) -> str:
    """Return a name that the processes which call this at the same time share, and no others; the
    first one chooses it.

    What processes of earlier attempts have left in the store is answered, too, but never
    acknowledged.
    """
    own = secrets.token_hex(8)
    if rank > 0:
        store.set(f"here/{rank}", own)
        name = store.get(f"name for {own}").decode()
        store.set(f"{name}/knows/{rank}", "")
        return name
    answered: dict[int, bytes] = {}
    waiting = list(range(1, size))
    while waiting:
        for other in waiting:
            if store.check([f"here/{other}"]):
                who = store.get(f"here/{other}")
                if who != answered.get(other):
                    store.set(f"name for {who.decode()}", own)
                    answered[other] = who
        waiting = [other for other in waiting if not store.check([f"{own}/knows/{other}"])]
        time.sleep(SECONDS_BETWEEN_LOOKS if waiting else 0)
    return own
