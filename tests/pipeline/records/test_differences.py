"""Comparison of traces and records: equal ones are equal, and one changed digit anywhere is found
where it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import code_archive, differences, environment
from pipeline.records.differences import (
    Difference,
    common_steps,
    compare_traces,
    curve_difference,
    deciding_differences,
    record_differences,
)
from pipeline.records.kept_runs import Facts, KeptRun

TENSORS = ("conv1.weight/0", "conv1.weight/1", "fc8.bias/0")
STEPS = (1, 50, 100, 120)


def trace(steps: tuple[int, ...] = STEPS) -> list[dict[str, Any]]:
    return [{"step": step, "loss": (1.0 / step).hex()}
            | {kind: {"digest": f"{kind} {step}",
                      "tensors": {name: f"{kind} {name} {step}" for name in TENSORS}}
               for kind in ("weights", "momentum", "gradients")} for step in steps]


def test_equal_traces_are_equal() -> None:
    found = compare_traces(trace(), trace())
    assert (found.steps, found.last, found.first) == (4, 120, None)
    assert compare_traces(trace(), trace(), until=99) == differences.Comparison(2, 50, None)
    assert json.loads(json.dumps(found.as_json()))["first_difference"] is None


@given(at=st.integers(0, 3), kind=st.sampled_from(["weights", "momentum", "gradients"]),
       name=st.sampled_from(TENSORS), swapped=st.booleans())
def test_one_changed_tensor_is_named(at: int, kind: str, name: str, swapped: bool) -> None:
    a, b = trace(), trace()
    b[at][kind]["tensors"][name] += "x"
    found = compare_traces(b, a) if swapped else compare_traces(a, b)
    tensor, _, column = name.partition("/")
    assert found.first == Difference(STEPS[at], kind, tensor, int(column), 1)
    assert found.steps == at + 1
    assert f"step {STEPS[at]}: {kind} of {tensor}" in str(found.first)
    if at:
        assert compare_traces(a, b, until=STEPS[at] - 1).first is None


def test_the_cause_comes_before_what_follows_from_it() -> None:
    a, b = trace(), trace()
    for later in b[1:]:
        for kind in ("weights", "momentum", "gradients"):
            later[kind]["tensors"] = dict.fromkeys(TENSORS, "other")
    assert compare_traces(a, b).first == Difference(50, "gradients", "conv1.weight", 0, 9)


def test_loss_alone_and_digest_alone_are_differences() -> None:
    a, b = trace(), trace()
    b[2]["loss"] = (0.25).hex()
    assert compare_traces(a, b).first == Difference(100, "loss",
                                                    values=((0.01).hex(), (0.25).hex()))
    b = trace()
    b[1]["momentum"]["digest"] = "other"
    assert compare_traces(a, b).first == Difference(50, "momentum", "unknown", 0, 1)


def with_chain(steps: tuple[int, ...] = STEPS) -> list[dict[str, Any]]:
    return [{**entry, "images": f"images {entry['step']}", "losses": f"losses {entry['step']}",
             "previous": f"previous {entry['step']}"} for entry in trace(steps)]


def test_what_went_in_is_the_first_cause_and_the_losses_between_are_the_last_word() -> None:
    a, b = with_chain(), with_chain()
    b[1]["images"] = "other"
    b[1]["weights"]["tensors"] = dict.fromkeys(TENSORS, "other")
    assert compare_traces(a, b).first == Difference(50, "images")
    assert "step 50: the images of its batch" in str(compare_traces(a, b).first)
    b = with_chain()
    b[2]["losses"] = "other"
    assert compare_traces(a, b).first == Difference(100, "losses")
    assert "the losses of the updates since the step traced before" in str(
        compare_traces(a, b).first)
    b[2]["loss"] = "other"
    first = compare_traces(a, b).first
    assert first is not None
    assert first.kind == "loss"


def test_records_without_a_chain_are_compared_in_what_they_have() -> None:
    old, new = trace(), with_chain()
    assert compare_traces(old, new).first is None
    new[1]["weights"]["tensors"]["fc8.bias/0"] = "other"
    assert compare_traces(old, new).first == Difference(50, "weights", "fc8.bias", 0, 1)


def test_losses_between_are_compared_only_over_the_same_updates() -> None:
    a, b = common_steps(with_chain((1, 50, 100)), with_chain((1, 20, 50, 100)))
    assert [entry["losses"] for entry in a] == ["losses 1", None, "losses 100"]
    b[1]["losses"] = "other"
    assert compare_traces(a, b).first is None
    b[2]["losses"] = "other"
    assert compare_traces(a, b).first == Difference(100, "losses")


def test_a_missing_step_or_tensor_is_a_difference() -> None:
    assert compare_traces(trace(), trace((1, 50, 120))).first == Difference(100, "missing")
    assert compare_traces(trace((1, 50)), trace()).first == Difference(100, "missing")
    assert compare_traces(trace((1, 50)), trace(), until=50).first is None
    shorter = trace()
    del shorter[0]["weights"]["tensors"]["fc8.bias/0"]
    for pair in ((trace(), shorter), (shorter, trace())):
        assert compare_traces(*pair).first == Difference(1, "weights", "fc8.bias", 0, 1)


def test_traces_of_other_steps_are_compared_where_both_have_one() -> None:
    a, b = common_steps(trace((1, 50, 100)), trace((1, 20, 100, 120)))
    assert compare_traces(a, b) == differences.Comparison(2, 100, None)
    assert common_steps(trace((1,)), trace((2,))) == ([], [])


def test_learning_curves() -> None:
    rows = [{"step": "5", "loss": "0.1", "error": "0.5"},
            {"step": "10", "loss": "0.05", "error": "0.25"}]
    assert curve_difference(rows, copy.deepcopy(rows)) is None
    other = copy.deepcopy(rows)
    other[1]["error"] = "0.2500001"
    assert curve_difference(rows, other) == Difference(10, "metrics", "error",
                                                values=("0.25", "0.2500001"))
    assert curve_difference(rows, rows[:1]) == Difference(10, "metrics", "step", values=(2, 1))
    assert curve_difference(rows[:1], rows) == Difference(10, "metrics", "step", values=(1, 2))
    assert (curve_difference(rows, [rows[0], {"step": "10", "loss": "0.05"}]).tensor
            == "error")  # type: ignore[union-attr]


CAN_CHANGE_BITS = {"machine": "x86_64", "libc": "glibc 2.36", "native_probe": "a1",
                   "torch": "2.13.0", "torch_build": "cpu", "cpu_capability": "AVX2",
                   "onednn": "3.7", "blas": "mkl", "mkl": "2025"}
FOUND = CAN_CHANGE_BITS | {
    "cpu": "A", "gpu": "none", "python": "3.11.7", "os": "Linux 6", "pillow": "pillow-simd 12",
    "cores": "2", "variable OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("field", FOUND)
def test_only_what_can_change_bits_decides(field: str) -> None:
    assert deciding_differences(FOUND, dict(FOUND), "cpu") == {}
    found = deciding_differences(FOUND, FOUND | {field: "other"}, "cpu")
    assert found == ({field: (FOUND[field], "other")} if field in CAN_CHANGE_BITS else {})


def test_without_a_probe_the_processors_name_stands_for_it() -> None:
    before = {name: value for name, value in FOUND.items() if name != "native_probe"}
    assert deciding_differences(before, FOUND | {"native_probe": "b2"}, "cpu") == {}
    for recorded, here in ((before, FOUND), (FOUND, before), (before, before)):
        assert deciding_differences(recorded, here | {"cpu": "B"}, "cpu") == {
            "native_probe": ("A", "B")}


def test_gpus_decide_on_gpus_and_their_number_does_not() -> None:
    here = FOUND | {"gpu": "H200, H200", "driver": "1", "cudnn": "9"}
    assert deciding_differences(FOUND, here, "cpu") == {}
    assert deciding_differences(here | {"gpu": "H200"}, here, "cuda") == {}
    assert set(deciding_differences(FOUND, here, "cuda")) == {"gpu", "driver", "cudnn"}


def kept(folder: Path, **changed: Any) -> KeptRun:
    facts = {"params": {"train.seed": "1", "execution.placement": "auto"}, "metrics": {"loss": 0.5},
             "tags": {"resize.pixels_digest": "p", "placement": "one", "process.id": "1"}}
    for topic, values in changed.items():
        facts[topic] = facts.get(topic, {}) | values
    found = facts.pop("environment", {})
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps(FOUND | found))
    for name, text in {"alexnet/net.py": "x = 1\n", "pipeline/a.py": "",
                       **facts.pop("code", {})}.items():
        (folder / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "code" / name).write_text(text)
    (folder / "code.tar.gz").write_bytes(code_archive.pack_code(folder / "code"))
    facts["tags"].setdefault("code_digest", environment.code_digest(folder / "code"))
    named = Facts("r" * 32, "train", "FINISHED", 0, 1, **{"curve": []} | facts)
    return KeptRun(named, lambda name: folder / name if (folder / name).exists() else None,
                in_store=False)


@pytest.mark.parametrize(("changed", "topic", "pairs"), [
    ({}, None, {}),
    ({"params": {"train.seed": "2"}}, "parameters", {"train.seed": ("1", "2")}),
    ({"params": {"train.new": "2"}}, "parameters", {"train.new": (None, "2")}),
    ({"params": {"execution.placement": "one"}}, None, {}),
    ({"tags": {"resize.pixels_digest": "q"}}, "data", {"resize.pixels_digest": ("p", "q")}),
    ({"tags": {"placement": "two"}}, "execution", {"placement": ("one", "two")}),
    ({"tags": {"process.id": "2"}}, None, {}),
    ({"environment": {"torch": "2.14"}}, "environment", {"torch": ("2.13.0", "2.14")}),
    ({"metrics": {"loss": 0.25}}, "metrics", {"loss": (0.5, 0.25)}),
    ({"code": {"params.yaml": "a: 1"}}, None, {}),
])
def test_what_differs_between_records(tmp_path: Path, changed: dict[str, Any], topic: str | None,
                                      pairs: dict[str, Any]) -> None:
    found = record_differences(kept(tmp_path / "a"), kept(tmp_path / "b", **changed))
    assert {name: values for name, values in found.items() if values} == ({topic: pairs} if topic
                                                                          else {})


def test_code_is_told_by_file_or_without_a_snapshot_by_digest(tmp_path: Path) -> None:
    a = kept(tmp_path / "a")
    b = kept(tmp_path / "b", code={"alexnet/net.py": "x = 2\n", "alexnet/new.py": ""},
             )
    found = record_differences(a, b)["code"]
    assert list(found) == ["alexnet/net.py", "alexnet/new.py"]
    assert found["alexnet/new.py"][0] is None
    (tmp_path / "a" / "code.tar.gz").unlink()
    assert record_differences(a, b)["code"] == {"code_digest": tuple(
        environment.code_digest(tmp_path / side / "code") for side in "ab")}


def test_what_the_records_do_not_say_is_not_compared(tmp_path: Path) -> None:
    a, b = (kept(tmp_path / name) for name in "ab")
    assert differences.not_compared(a, b) == {}
    for facts in (a.facts, b.facts):
        facts.metrics.clear()
        facts.tags.pop("resize.pixels_digest")
    (tmp_path / "b/environment.json").unlink()
    assert differences.not_compared(a, b) == {
        "data": "no digest of data is in both records",
        "environment": "no fact of the environment is in both records",
        "metrics": "no metric is in both records"}


def test_the_last_points_of_curves_are_metrics(tmp_path: Path) -> None:
    a, b = (kept(tmp_path / name) for name in "ab")
    for facts, loss in ((a.facts, 2.470), (b.facts, 2.518)):
        facts.curve[:] = [{"step": 1, "training_loss": 3.0, "time": 1},
                          {"step": 2, "training_loss": loss, "batch_loss": loss}]
    assert record_differences(a, b)["metrics"] == {"training_loss": (2.470, 2.518)}
    assert "metrics" not in differences.not_compared(a, b)
