"""Signals; workers and training processes that are killed, hang or lack memory: it is said, and
nothing runs on."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.faults.harness import Bench

TRAINED = ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json")
PREPARED = ("data/store", "metrics/resize.json")
ONE, TWO = ("train", "--placement", "one"), ("train", "--placement", "two")
TRAINING = "-m pipeline train "  # in the command line of each training process


def test_a_preparation_worker_is_killed(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*PREPARED)
    running = bench.start("resize", "--workers", "2")
    running.until(lambda: running.children("spawn_main"))[0].kill()
    running.end().refused("a worker process was killed, perhaps for lack of memory")
    assert not bench.made(*PREPARED)
    bench.run("resize", "--workers", "1").done()
    bench.assert_right(*PREPARED)
    outcome("status 1, named; the same command then makes the same bytes")


@pytest.mark.long
def test_a_preparation_worker_runs_out_of_memory(bench: Bench,
                                                 outcome: Callable[[str], None]) -> None:
    bench.remove(*PREPARED)
    running = bench.start("resize", "--workers", "1")
    worker: psutil.Process = running.until(lambda: running.children("spawn_main"))[0]
    # it has loaded what it needs
    running.until(lambda: any("PIL" in each.path for each in worker.memory_maps()))
    room = worker.memory_info().vms + 200_000
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (room, room))
    ran = running.end()
    assert ("worker process was killed" in ran.said
            or "memory, and give the same" in ran.said), (ran.said)
    ran.refused()
    assert not bench.made(*PREPARED)
    bench.run("resize", "--workers", "1").done()
    bench.assert_right(*PREPARED)
    outcome("status 1, named; no picture is quarantined for it; the same command then makes the "
            "same bytes")


@pytest.mark.long
def test_the_training_runs_out_of_memory(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*ONE)
    running.until(bench.checkpoints)
    room = psutil.Process(running.pid).memory_info().vms + 1_000_000
    resource.prlimit(running.pid, resource.RLIMIT_AS, (room, room))
    ran = running.end()
    if ran.status:  # within that room, it may also have come to its end
        ran.refused("memory, and give the same command again")
    assert not bench.wrong()
    bench.run(*ONE).done()
    bench.assert_right(*TRAINED)
    outcome("status 1, named; the same command goes on to the same weights")


def test_one_of_two_training_processes_is_killed(bench: Bench,
                                                 outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TWO)
    running.until(bench.checkpoints)
    running.children(TRAINING)[1].kill()
    running.end().refused("a training process was killed by SIGKILL",
                          "goes on from the last checkpoint")
    assert not bench.made(*TRAINED)
    bench.run(*ONE).done("going on from the checkpoint")
    bench.assert_right(*TRAINED)
    outcome("the other ends at once, status 1, named; the same command goes on to the same weights")


@pytest.mark.long
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_training_processes_hangs(bench: Bench, outcome: Callable[[str], None],
                                             which: int) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TWO)
    running.until(bench.checkpoints)
    hung = running.children(TRAINING)[which]
    hung.suspend()
    running.end(seconds=60).refused(f"training process {which} (process {hung.pid} on ",
                                    "has given no sign of life for 30 s",
                                    "goes on from the last checkpoint")
    assert not bench.made(*TRAINED)
    bench.run(*TWO).done("going on from the checkpoint")
    bench.assert_right(*TRAINED)
    outcome("the other ends within a minute, status 1, the hung one is named and ended; resumed to "
            "the same weights")


@pytest.mark.long
def test_a_whole_training_that_stands_still_is_no_hang(bench: Bench,
                                                       outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TWO)
    running.until(bench.checkpoints)
    everyone = [psutil.Process(running.pid), *running.children(TRAINING)]
    for one in everyone:
        one.suspend()
    with pytest.raises(psutil.TimeoutExpired):
        everyone[0].wait(40)
    for one in everyone:
        one.resume()
    running.end().done()
    bench.assert_right(*TRAINED)
    outcome("it goes on: silence is counted in own beats (Ctrl-Z, a machine that slept)")


def test_sigterm_then_sigint(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    steps = [0]
    for number in (signal.SIGTERM, signal.SIGINT):
        running = bench.start(*ONE)
        running.until(lambda: bench.step() > steps[-1])
        running.send(number)
        ran = running.end().stopped_by(number)
        assert f"the checkpoint of step {bench.step()} of 10 is written" in ran.said
        assert len(steps) == 1 or f"going on from the checkpoint of step {steps[-1]}" in ran.said
        assert not bench.made(*TRAINED)
        steps.append(bench.step())
    bench.run(*ONE).done(f"going on from the checkpoint of step {steps[-1]}")
    bench.assert_right(*TRAINED)
    outcome("a checkpoint after the update; status 143, then 130; the same command goes on to the "
            "same weights")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_preparation(bench: Bench, outcome: Callable[[str], None],
                                     number: signal.Signals) -> None:
    bench.remove(*PREPARED)
    running = bench.start("resize", "--workers", "1")
    running.until(lambda: running.children("spawn_main"))
    running.send(number)
    running.end().stopped_by(number)
    assert not bench.made(*PREPARED)
    bench.run("resize", "--workers", "1").done()
    bench.assert_right(*PREPARED)
    outcome(f"status {128 + number}; the workers end, too; the same command then makes the same "
            "bytes")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_two_training_processes(bench: Bench, outcome: Callable[[str], None],
                                            number: signal.Signals) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TWO)
    running.until(bench.checkpoints)
    running.send(number)
    ran, step = running.end(), bench.step()
    ran.stopped_by(number).says(f"the checkpoint of step {step} of 10 is written")
    bench.run(*TWO).done(f"going on from the checkpoint of step {step}")
    bench.assert_right(*TRAINED)
    outcome(f"both stop after the same update with a checkpoint, status {128 + number}; the same "
            "weights in the end")
