"""One flipped bit in anything that a stage reads is found before it is used, and named."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from pipeline.training import checkpoints
from tests.faults.harness import Bench

TRAIN = ("train", "--placement", "one")
# The file, the part of its length from which on a bit is flipped, and the command that reads it.
ROTTEN = [
    pytest.param("data/store/train-00000.npy", 0.1, TRAIN, id="shard"),
    pytest.param("data/store/val-00000.npy", 0.1, ("evaluate",), id="shard-of-validation",
                 marks=pytest.mark.long),
    pytest.param("data/store/index.parquet", 0.0, TRAIN, id="index", marks=pytest.mark.long),
    pytest.param("data/store/moments.safetensors", 0.1, ("mean",), id="moments"),
    pytest.param("data/mean.npy", 0.1, TRAIN, id="mean", marks=pytest.mark.long),
    pytest.param("data/pca.json", 0.1, TRAIN, id="colours", marks=pytest.mark.long),
    pytest.param("models/model.safetensors", 0.2, ("evaluate",), id="weights",
                 marks=pytest.mark.long),
]
OUTPUTS = {"train": ("models/model.safetensors", "models/trace.jsonl", "plots",
                     "metrics/train.json"),
           "evaluate": ("models/predictions.safetensors", "metrics/evaluate.json"),
           "mean": ("data/mean.npy", "data/mean.png", "metrics/mean.json")}


@pytest.mark.parametrize(("name", "start", "command"), ROTTEN)
def test_rot(bench: Bench, outcome: Callable[[str], None], request: pytest.FixtureRequest,
             name: str, start: float, command: tuple[str, ...]) -> None:
    bench.remove(*OUTPUTS[command[0]])
    draw = random.Random(request.node.name)
    bench.flip(name, draw.uniform(start, 0.98), draw.randrange(8))
    ran = bench.run(*command).refused(name)
    assert bench.wrong() == [name]
    assert not bench.made(*OUTPUTS[command[0]])
    outcome(f"status {ran.status}; {name} is named; nothing is published")


def test_a_checkpoint_of_another_network(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*OUTPUTS["train"])
    running = bench.start(*TRAIN)
    running.until(bench.checkpoints)
    running.send(signal.SIGTERM)
    running.end().stopped_by(signal.SIGTERM)
    newest = bench.checkpoints()[-1]
    with safe_open(newest, "pt") as opened:
        header, state = opened.metadata(), {name: opened.get_tensor(name)
                                            for name in opened.keys()}  # noqa: SIM118
    state["weights/fc8.bias/0"] = torch.zeros(1000)
    header["digest"] = checkpoints._digest(state, header)  # it fits together
    newest.write_bytes(safetensors.torch.save(state, header))
    bench.run(*TRAIN).refused(newest.name, "weights/fc8.bias/0 is float32 [1000]",
                              "it is of another network")
    assert not bench.made(*OUTPUTS["train"])
    newest.unlink()
    bench.run(*TRAIN).done()
    bench.assert_right(*OUTPUTS["train"])
    outcome("status 1; the file and its first tensor that does not belong are named; without it, "
            "the same weights")


@pytest.mark.long
def test_rot_of_a_checkpoint(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*OUTPUTS["train"])
    running = bench.start(*TRAIN)
    running.until(lambda: len(bench.checkpoints()) >= 2)
    running.send(signal.SIGKILL)
    running.end()
    newest = bench.checkpoints()[-1].relative_to(bench.folder).as_posix()
    bench.flip(newest, 0.7)
    bench.run(*TRAIN).done(f"{newest.split('/')[-1]}: damaged",
                           "going on from the checkpoint of step")
    bench.assert_right(*OUTPUTS["train"])
    outcome("it is named and passed over; the one before it leads to the same weights")
