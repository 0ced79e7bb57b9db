"""One flipped bit in anything that a stage reads is found before it is used, and named."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest

from tests.faults.harness import Bench

TRAIN = ("train", "--placement", "one")
# The file, the part of its length from which on a bit is flipped, and the command that reads it.
ROTTEN = [
    pytest.param("data/store/train-00000.npy", 0.1, TRAIN, id="shard"),
    pytest.param("data/store/val-00000.npy", 0.1, ("evaluate",), id="shard-of-validation", marks=pytest.mark.long),
    pytest.param("data/store/index.parquet", 0.0, TRAIN, id="index", marks=pytest.mark.long),
    pytest.param("data/store/moments.npz", 0.1, ("mean",), id="moments"),
    pytest.param("data/mean.npy", 0.1, TRAIN, id="mean", marks=pytest.mark.long),
    pytest.param("data/pca.json", 0.1, TRAIN, id="colours", marks=pytest.mark.long),
    pytest.param("models/model.safetensors", 0.2, ("evaluate",), id="weights", marks=pytest.mark.long),
]
OUTPUTS = {"train": ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json"),
           "evaluate": ("models/predictions.npz", "metrics/evaluate.json"),
           "mean": ("data/mean.npy", "data/mean.png", "metrics/mean.json")}


@pytest.mark.parametrize(("name", "start", "command"), ROTTEN)
def test_rot(bench: Bench, outcome: Callable[[str], None], request: pytest.FixtureRequest, name: str, start: float,
             command: tuple[str, ...]) -> None:
    bench.remove(*OUTPUTS[command[0]])
    draw = random.Random(request.node.name)
    bench.flip(name, draw.uniform(start, 0.98), draw.randrange(8))  # the end of a .npz says only where things are
    ran = bench.run(*command).refused(name)
    assert bench.wrong() == [name]
    assert not bench.made(*OUTPUTS[command[0]])
    outcome(f"status {ran.status}; {name} is named; nothing is published")


@pytest.mark.long
def test_rot_of_a_checkpoint(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*OUTPUTS["train"])
    running = bench.start(*TRAIN)
    running.until(lambda: len(bench.checkpoints()) >= 2)
    running.send(signal.SIGKILL)
    running.end()
    newest = bench.checkpoints()[-1].relative_to(bench.folder).as_posix()
    bench.flip(newest, 0.7)
    bench.run(*TRAIN).done(f"{newest.split('/')[-1]}: damaged", "going on from the checkpoint of step")
    bench.assert_right(*OUTPUTS["train"])
    outcome("it is named and passed over; the one before it leads to the same weights")
