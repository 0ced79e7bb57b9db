"""Samples on disk: what is read is what was written, and nothing that was tampered with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.stages import MEASURED
from pipeline.studies import run_sets
from pipeline.studies.run_sets import first_difference, spread, trace_lines
from pipeline.system.errors import UserError
from tests.pipeline.studies.runs_of_seeds import ELSEWHERE, HERE, run, sample


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    wanted = sample([run(3), run(1)])
    file = run_sets.write(replace(wanted,
                                  history=[{"command": "alexnet golden record", "seeds": [1, 3]}]),
                          tmp_path)
    found = run_sets.read(file)
    assert found.seeds == [1, 3]
    assert (found.runs, found.configuration, found.environment) == ([run(1), run(3)],
                                                                    wanted.configuration, HERE)
    assert file.name == f"{run_sets.environment_key(HERE)}.json"
    assert run_sets.in_folder(tmp_path) == [found]
    assert all(len(line) <= 130 for line in file.read_text().splitlines())
    assert json.loads(file.read_text())["spread"]["evaluate.top1_error"]["highest"] == max(
        one.number("evaluate.top1_error") for one in wanted.runs)


@pytest.mark.parametrize(("old", "new"),
                         [('"seeds": [1, 2]', '"seeds": [1, 3]'), ('"steps": 600', '"steps": 6x'),
                          ('"format": 1', '"format": 2'), ('"mean": 0.', '"mean": 1.'),
                          ('"training_loss": 0.', '"training_loss": 1.')])
def test_a_file_that_was_edited_is_refused(tmp_path: Path, old: str, new: str) -> None:
    file = run_sets.write(sample([run(1), run(2)]), tmp_path)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=file.name):
        run_sets.read(file)


def test_what_decides_bits_decides_the_files_name() -> None:
    key = run_sets.environment_key(HERE)
    for name in ("native_probe", "torch", "pillow", "libjpeg", "threads", "device",
                 "deterministic"):
        assert run_sets.environment_key(HERE | {name: "other"}) != key, name
    for name in ("cpu", "cores", "os", "python", "numpy"):
        assert run_sets.environment_key(HERE | {name: "other"}) == key, name
    assert run_sets.environment_key(ELSEWHERE) != key


def test_portable_runs_of_all_machines_have_one_file() -> None:
    keys = {run_sets.environment_key(environment | {"arithmetic": "1"})
            for environment in (HERE, ELSEWHERE, HERE | {"torch": "2.6", "threads": "8"})}
    assert keys == {"portable-1"}
    assert run_sets.environment_key(HERE | {"arithmetic": "2"}) == "portable-2"


def entries(count: int) -> list[dict[str, object]]:
    return [{"step": 10 * n + 1, "loss": float(n).hex(),
             **{kind: {"digest": hashlib.sha256(f"{kind} {n}".encode()).hexdigest()}
                for kind in ("gradients", "momentum", "weights")}} for n in range(count)]


@given(count=st.integers(1, 400))
def test_a_trace_keeps_its_ends_and_at_most_a_hundred_entries(count: int) -> None:
    lines = trace_lines(entries(count))
    steps = [int(line.split()[0]) for line in lines]
    assert len(lines) == min(count, 100)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 10 * count - 9)


@given(count=st.integers(2, 30), place=st.data(),
       kind=st.sampled_from(["loss", "gradients", "momentum", "weights"]))
def test_the_first_step_that_differs_is_told(count: int, place: st.DataObject, kind: str) -> None:
    at = place.draw(st.integers(0, count - 1))
    changed = entries(count)
    for entry in changed[at:]:  # a run that parts stays parted
        for one in ("momentum", "weights") if kind == "momentum" else (kind,):
            entry[one] = "0x9p+0" if one == "loss" else {"digest": "f" * 64}
    told = first_difference(trace_lines(entries(count)), trace_lines(changed))
    assert told
    assert told.startswith(f"step {10 * at + 1}: {kind}")
    assert first_difference(trace_lines(entries(count)), trace_lines(entries(count))) is None


def test_a_trace_that_is_not_the_one_the_metrics_name_is_refused() -> None:
    trace = "".join(json.dumps(one) + "\n" for one in entries(3)).encode()
    metrics = {"trace_digest": hashlib.sha256(trace).hexdigest()}
    files = {run_sets.TRACE: trace, run_sets.LEARNING:
             b"step,epoch,training_loss,training_error,validation_loss,validation_error\n"
             b"1,1.0,2,0.5,3,0.75\n",
             **{run_sets.metrics_of(stage): b"{}" for stage in MEASURED},
             run_sets.metrics_of("train"): json.dumps(metrics).encode()}
    run_ = run_sets.run_of(files.__getitem__, 1, {}, True)
    assert (run_.trace, run_.curve) == (trace_lines(entries(3)), ["1 2 0.5 3 0.75"])
    assert run_.points("validation_error") == [(1.0, 0.75)]
    files[run_sets.TRACE] = trace[:-9] + bytes([trace[-9] ^ 1]) + trace[-8:]
    with pytest.raises(UserError, match=r"not the trace that metrics/train\.json names"):
        run_sets.run_of(files.__getitem__, 1, {}, True)


def test_traces_of_other_lengths_or_steps_differ() -> None:
    lines = trace_lines(entries(5))
    assert "ends" in str(first_difference(lines, lines[:4]))
    assert "only one" in str(first_difference(lines, [lines[0], *lines[2:]]))


def test_the_spread_is_that_of_the_numbers() -> None:
    found = spread([run(seed) for seed in range(4)])["train.training_loss"]
    values = [run(seed).number("train.training_loss") for seed in range(4)]
    mean = sum(values) / 4
    assert found["mean"] == pytest.approx(mean)
    assert found["sd"] == pytest.approx((sum((value - mean) ** 2 for value in values) / 3) ** 0.5)
    assert (found["lowest"], found["highest"]) == (min(values), max(values))
    assert spread([run(1)])["train.training_loss"]["sd"] == 0.0
