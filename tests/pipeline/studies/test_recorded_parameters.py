"""What of a record a rerun obeys: each thing that a stranger could ask for, in a record that is
otherwise right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.parameters import load
from pipeline.records.kept_runs import Facts, KeptRun
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.recorded_parameters import (
    is_portable,
    processes_of,
    recorded_parameters,
    variables,
)
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of

ROOT = Path(__file__).resolve().parents[3]
TAGS = {"stage": "train", "device": "cpu", "threads": "1", "deterministic": "true"}
FACTS = Facts("a" * 32, "train", "FINISHED", 1, 2, {}, TAGS, {}, [])


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the parameters of the sample."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(folder)
    return folder


def kept(tmp_path: Path, tags: dict[str, str] | None = None,
         **sections: dict[str, Any]) -> KeptRun:
    """A record with this project's parameters, some of them changed."""
    parameters = load().model_dump(mode="json")
    for name, values in sections.items():
        parameters[name] |= values
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps(parameters))
    return KeptRun(replace(FACTS, tags=TAGS | (tags or {})),
                lambda name: file if name == file.name else None, in_store=False)


def test_what_decides_the_bits_is_taken(tmp_path: Path) -> None:
    parameters = recorded_parameters(kept(tmp_path, {"threads": "7", "deterministic": "false"},
                                          train={"seed": 9, "arithmetic": "native"},
                                          network={"width": 0.5}), False)
    assert parameters["train"]["seed"] == 9
    assert parameters["network"]["width"] == 0.5
    assert (parameters["execution"]["threads"],
            parameters["execution"]["deterministic"]) == (7, False)


def test_of_portable_arithmetic_no_execution_decides_bits(tmp_path: Path) -> None:
    parameters = recorded_parameters(kept(
        tmp_path, {"threads": "7", "deterministic": "false", "device": "cuda"}), False)
    execution = parameters["execution"]
    assert (execution["device"], execution["deterministic"]) == ("cpu", True)
    assert execution["threads"] != 7


def test_a_record_from_before_the_choice_is_of_native_arithmetic(tmp_path: Path) -> None:
    record = kept(tmp_path, {"threads": "7"})
    values = json.loads((tmp_path / "parameters.json").read_text())
    del values["train"]["arithmetic"]
    (tmp_path / "parameters.json").write_text(json.dumps(values))
    parameters = recorded_parameters(record, False)
    assert (parameters["train"]["arithmetic"], parameters["execution"]["threads"]) == ("native", 7)


@pytest.mark.parametrize("trusted", [False, True])
def test_execution_comes_from_here(tmp_path: Path, trusted: bool) -> None:
    parameters = recorded_parameters(kept(
        tmp_path, {"replicas": "100000000", "placement": "two"},
        execution={"scheduler": "tcp://evil:8786", "replicas": 1024, "workers": 999}), trusted)
    execution, here = parameters["execution"], load().execution
    assert (execution["scheduler"], execution["workers"]) == (here.scheduler, here.workers)
    assert processes_of(execution) <= 2


def test_more_processes_than_the_net_or_the_machine_has_become_one(tmp_path: Path,
                                                                   project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("placement: auto", "placement: two"))
    assert load().execution.placement == "two"
    parameters = recorded_parameters(kept(tmp_path, network={"architecture": "half"}), False)
    assert processes_of(parameters["execution"]) == 1


def test_no_place_of_a_strangers_is_used(tmp_path: Path) -> None:
    places = {"source": "imagenet2012", "location": "/etc", "origin": "https://evil.example/x"}
    strangers = recorded_parameters(kept(tmp_path, dataset=places), False)["dataset"]
    assert (strangers["location"], strangers["origin"]) == (None, None)
    trusted = recorded_parameters(kept(tmp_path, dataset=places), True)["dataset"]
    assert trusted["location"] == "/etc"


def test_another_machine_keeps_only_native_arithmetic_from_being_compared(tmp_path: Path) -> None:
    assert is_portable(kept(tmp_path, train={"arithmetic": "portable"}))
    assert not is_portable(kept(tmp_path, train={"arithmetic": "native"}))
    (tmp_path / "parameters.json").write_text("[]")
    assert not is_portable(KeptRun(FACTS, lambda name: tmp_path / name, in_store=False))


@pytest.mark.parametrize(("section", "values"), [
    ("train", {"batch": 10**9}), ("train", {"epochs": 10**9}), ("train", {"seed": "1"}),
    ("network", {"width": 1e9}), ("network", {"architecture": "../x"}), ("train", {"more": 1}),
    ("dataset", {"sample": {"seed": 1, "train_images": 10**9, "val_images": 10}}),
    ("resize", {"side": 100_000})])
def test_what_is_out_of_range_is_refused_by_its_name(tmp_path: Path, section: str,
                                                     values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"parameters\.json is refused: .*{section}\."
                                        rf"{next(iter(values))}"):
        recorded_parameters(kept(tmp_path, **{section: values}), False)


@pytest.mark.parametrize("tags", [{"threads": "100000000"}, {"threads": "many"},
                                  {"device": "cuda:9; rm"}, {"deterministic": "[1]"}])
def test_tags_of_another_form_are_refused(tmp_path: Path, tags: dict[str, str]) -> None:
    with pytest.raises(UserError, match="not those of a training"):
        recorded_parameters(kept(tmp_path, tags, train={"arithmetic": "native"}), True)


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000, "1\n2", "$(rm)", "é"])
def test_a_variable_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(UserError, match=r"variable MKL_CBWR: .* is no value"):
        variables({"variable MKL_CBWR": value})


@pytest.mark.parametrize("value", ["0", "100000000", "-1", "two", ""])
def test_a_number_of_threads_is_one(value: str) -> None:
    with pytest.raises(UserError, match="variable OMP_NUM_THREADS"):
        variables({"variable OMP_NUM_THREADS": value})
    assert variables({"variable OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_device_is_not_read_as_weights(tmp_path: Path, trusted: bool) -> None:
    record = kept(tmp_path, {"start_from_digest": "0" * 64}, train={"start_from": "/dev/zero"})
    with pytest.raises(UserError, match="started from weights with the SHA-256 0000"):
        recorded_parameters(record, trusted)


def test_weights_are_found_by_their_digest_where_weights_lie_here(tmp_path: Path,
                                                                  project: Path) -> None:
    mine = project / "models/model.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(b"weights")
    theirs = tmp_path / "theirs.safetensors"
    theirs.write_bytes(b"weights")
    record = kept(tmp_path, {"start_from_digest": sha256_of(mine)},
                  train={"start_from": str(theirs)})
    assert recorded_parameters(record, False)["train"]["start_from"] == str(mine)
    assert recorded_parameters(record, True)["train"]["start_from"] == str(theirs)


@pytest.mark.parametrize("rows", [
    [{"relpath": "../../escaped", "md5": "0" * 32}], [{"relpath": "/etc/x", "md5": "0" * 32}],
    [{"relpath": "store.json", "md5": "../../../../etc/passwd"}], [{"relpath": "a//b", "md5": ""}],
    [{"relpath": "a\nb", "md5": "0" * 32}], [7], {"a": 1}])
def test_a_listing_that_leads_out_of_its_folder_is_not_used(tmp_path: Path, rows: Any) -> None:
    file = tmp_path / "x.dir"
    file.write_text(json.dumps(rows))
    assert list(recorded_data._listed(file)) == []
    file.write_text(json.dumps([{"relpath": "store.json", "md5": "0" * 32}]))
    assert list(recorded_data._listed(file)) == [("store.json", "0" * 32)]
