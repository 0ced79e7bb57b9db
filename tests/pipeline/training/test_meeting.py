"""Training processes find those of their own attempt in a store that earlier ones have used."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pipeline.training.meeting import agree

SIZE = 3


@pytest.fixture
def server() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def client(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=30))


def attempt(server: TCPStore, order: list[int]) -> list[str]:
    """The names that the processes of one attempt agree on; they come in this order."""
    with ThreadPoolExecutor(SIZE) as threads:
        started = []
        for rank in order:
            started.append(threads.submit(agree, client(server), rank, SIZE))
            time.sleep(0.1)
        return [one.result(timeout=30) for one in started]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_each_attempt_has_a_name_of_its_own(server: TCPStore, order: list[int]) -> None:
    names = [attempt(server, order) for _ in range(3)]
    assert [len(set(each)) for each in names] == [1, 1, 1]
    assert len({each[0] for each in names}) == 3


def test_what_a_killed_process_has_left_is_not_taken_for_its_successor(server: TCPStore) -> None:
    """Where it came before the first process, or had been told a name and not answered."""
    store = client(server)
    store.set("here/1", "of a process that has been killed")
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(agree, client(server), 0, 2)
        told = store.get("name for of a process that has been killed").decode()
        time.sleep(0.3)
        assert not first.done()
        assert agree(client(server), 1, 2) == first.result(timeout=30) == told


def test_the_first_process_waits_for_all(server: TCPStore) -> None:
    names: list[str] = []
    threads = [threading.Thread(target=lambda rank=rank: names.append(
        agree(client(server), rank, SIZE)), daemon=True) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    threads[1].join(30)
    assert len(names) == 1
    assert threads[0].is_alive()
    agree(client(server), 2, SIZE)
    threads[0].join(30)
    assert len(set(names)) == 1
