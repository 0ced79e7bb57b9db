"""Worker processes; and a Dask cluster in their place: a real scheduler, two workers, one killed in
the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import prepare
from pipeline.system import executors
from pipeline.system.errors import UserError
from pipeline.system.executors import cluster, process_pool
from tests.pipeline.data.test_resize import contents, make, many, records, write_pictures

PROJECT = Path(__file__).parents[3]
SECONDS = 60.0


class Cluster:
    """A scheduler and two workers of one thread, each a process, in a folder that is not the
    project's."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                    "--scheduler-file", str(folder / "scheduler.json"))
        self.workers = [self._start("worker", "--scheduler-file", str(folder / "scheduler.json"),
                                    "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name",
                                    name) for name in ("a", "b")]

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "dask", kind, *arguments],
                                       cwd=self._folder, stderr=log, stdout=log,
                                       env=os.environ | {"PYTHONPATH": str(PROJECT)})
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    @property
    def address(self) -> str:
        file, latest = self._folder / "scheduler.json", time.monotonic() + SECONDS
        while not file.exists() or not file.read_text():
            assert time.monotonic() < latest, (self._folder / "scheduler.log").read_text()
            time.sleep(0.02)
        return str(json.loads(file.read_text())["address"])


class Unloadable:
    """A task for which a process that is given it lacks the memory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_memory, ()

    def __call__(self) -> None: ...


def _no_memory() -> None:
    raise MemoryError("no room")


def test_a_worker_that_cannot_load_its_task_ends_with_a_line(
        capfd: pytest.CaptureFixture[str]) -> None:
    with (pytest.raises(UserError, match="killed, perhaps for lack of memory"),
          process_pool(1) as pool):
        pool.submit(Unloadable()).result()
    told = capfd.readouterr().err
    assert "a worker process ends: MemoryError: no room" in told
    assert "Traceback" not in told


def test_a_worker_killed_while_another_starts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds the queue closed that it was to share."""
    started: list[Any] = []
    queue: Any = None
    start = executors._Worker.start

    def kill_the_first(worker: Any) -> None:
        if started:
            started[0].kill()
            latest = time.monotonic() + SECONDS
            while not queue._reader.closed and time.monotonic() < latest:
                time.sleep(0.01)
        started.append(worker)
        start(worker)

    monkeypatch.setattr(executors._Worker, "start", kill_the_first)

    def sleep_in_two(pool: Any) -> None:
        nonlocal queue
        queue = pool._call_queue
        pool.submit(time.sleep, SECONDS)
        pool.submit(time.sleep, SECONDS)

    with (pytest.raises(UserError, match="killed, perhaps for lack of memory"),
          process_pool(2) as pool):
        sleep_in_two(pool)
    assert len(started) == 2


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with ExitStack() as stack:
        yield Cluster(folder, stack)


def test_a_cluster_that_loses_a_worker_makes_the_same_bytes(
        dask_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    monkeypatch.setattr(prepare, "SHARD_IMAGES", 16)
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    killed = dask_cluster.workers[1]

    def kill_when_it_works() -> int:
        """Returns how many shards were finished when the worker was killed in the middle of one."""
        with Client(dask_cluster.address, set_as_default=False) as client:
            latest = time.monotonic() + SECONDS
            while time.monotonic() < latest:
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                if len(records(there)) >= 3 and len(busy) == 2:
                    killed.send_signal(signal.SIGKILL)
                    return len(records(there))
                time.sleep(0.01)
        raise TimeoutError

    with ThreadPoolExecutor(1) as thread, cluster(dask_cluster.address) as executor:
        client = executor._client  # type: ignore[attr-defined]
        client.wait_for_workers(2, timeout=SECONDS)
        killing = thread.submit(kill_when_it_works)
        metrics = make(many(write_pictures(there)), there, executor, allowed=10_000)
        done = killing.result()
        assert len(client.scheduler_info()["workers"]) == 1
    assert killed.wait() == -signal.SIGKILL
    assert 3 <= done < 22
    with ThreadPoolExecutor(1) as thread:
        assert metrics == make(many(write_pictures(here)), here, thread, allowed=10_000)
    assert contents(there) == contents(here)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.system.executors.SECONDS_TO_ANSWER", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with (pytest.raises(UserError, match=f"{address}: no Dask scheduler answers .*dask worker"),
              cluster(address)):
            pass


def test_without_dask_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (pytest.raises(UserError, match="needs Dask; install it with: pip install"),
          cluster("tcp://127.0.0.1:9")):
        pass
