"""Training processes find those of their own attempt in a store that earlier ones have used."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pipeline.training.meeting import agree

SECONDS = 20.0


class Coming(threading.Thread):
    """A process that comes to the store; `name_of_attempt` is what it was told."""

    def __init__(self, server: TCPStore, rank: int, size: int) -> None:
        super().__init__(daemon=True)
        self.store = client(server)
        self.rank, self.size, self.told = rank, size, ""
        self.start()

    def run(self) -> None:
        self.told = agree(self.store, self.rank, self.size)

    def name_of_attempt(self) -> str:
        self.join(SECONDS)
        assert self.told, f"rank {self.rank} still waits"
        return self.told


@pytest.fixture
def server() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def client(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=SECONDS))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_each_attempt_has_a_name_of_its_own(server: TCPStore, order: list[int]) -> None:
    attempts = []
    for _ in range(3):
        processes = []
        for rank in order:
            processes.append(Coming(server, rank, 3))
            time.sleep(0.1)
        attempts.append({process.name_of_attempt() for process in processes})
    assert [len(names) for names in attempts] == [1, 1, 1]
    assert len(set.union(*attempts)) == 3


def test_what_a_killed_process_has_left_is_not_taken_for_its_successor(server: TCPStore) -> None:
    """It came before the first process, was told a name and did not acknowledge it."""
    store = client(server)
    store.set("here/1", "of a process that has been killed")
    first = Coming(server, 0, 2)
    told = store.get("name for of a process that has been killed").decode()
    time.sleep(0.3)
    assert first.is_alive()
    second = Coming(server, 1, 2)
    assert second.name_of_attempt() == first.name_of_attempt() == told


def test_the_first_process_waits_for_all(server: TCPStore) -> None:
    first, second = Coming(server, 0, 3), Coming(server, 1, 3)
    name = second.name_of_attempt()
    assert first.is_alive()
    assert Coming(server, 2, 3).name_of_attempt() == first.name_of_attempt() == name
