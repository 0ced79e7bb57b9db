"""Training processes that hang are noticed, slow and stopped ones are not; and what is lost ends in
a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

PROCESS = """
import os, sys, time
import torch.distributed as dist
from pipeline.training.heartbeat import Heartbeat

dist.init_process_group("gloo")
with Heartbeat("test", silence=float(sys.argv[1]), between=0.1):
    print("beating", flush=True)
    time.sleep(float(sys.argv[2]))
print("over", flush=True)
if dist.get_rank() == 1:
    time.sleep(float(sys.argv[3]))  # the other beats no more
"""


def start(silence: float, seconds: float,
          longer: float = 0.0) -> tuple[object, list[subprocess.Popen[str]]]:
    """A store and two processes that beat for so long, and have begun to."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
                 "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True",
                 "PYTHONPATH": str(Path(__file__).parents[3])}
    both = [subprocess.Popen([sys.executable, "-c", PROCESS,
                              str(silence), str(seconds), str(longer)],
                             text=True, env=os.environ | variables | {"RANK": str(rank)},
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for rank in range(2)]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "beating\n"
    return store, both


def test_a_hung_process_is_named_by_the_other() -> None:
    store, (first, second) = start(silence=1.5, seconds=300)
    second.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert 1.0 < time.monotonic() - begun < 50
    assert first.returncode == 4
    assert said.count(f"error: training process 1 (process {second.pid} on ") == 1
    assert "has given no sign of life for 1.5 s" in said
    second.kill()
    second.communicate()
    del store


def test_neither_is_it_a_hang_to_be_stopped_together_nor_to_have_ended() -> None:
    store, both = start(silence=1.5, seconds=2, longer=3)
    for one in both:
        one.send_signal(signal.SIGSTOP)
    time.sleep(3)
    for one in both:
        one.send_signal(signal.SIGCONT)
    for one in both:
        said = one.communicate(timeout=60)
        assert one.returncode == 0, said
        assert said[0] == "over\n"
    del store
