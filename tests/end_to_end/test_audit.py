"""Audits: an honest record holds, by the real command and in this process; what a forger plants in
one, or a restore that is broken, is found where it is."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alexnet import inputs, training
from pipeline.records import exchange, kept_runs
from pipeline.studies.rerun import restoration
from pipeline.system.errors import UserError
from tests.end_to_end import forgeries, kill_and_resume
from tests.end_to_end.forgeries import IN_RECORDS, IN_TRAININGS, Draft, Workshop
from tests.end_to_end.project import Project
from tests.end_to_end.test_rerun import last_json

KEPT = {"execution.keep_every": 4, "execution.checkpoint_every": 2, "train.epochs": 4,
        "execution.threads": 1}


@pytest.fixture(scope="module")
def project(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a training of 20 updates that keeps checkpoints of 4, 8, 12, 16, and of 18, the last
    that is traced before the end."""
    project = kill_and_resume.copy(reproduced, tmp_path_factory.mktemp("audited") / "project")
    project.set(**KEPT)
    project.run("alexnet", "train")
    project.run("alexnet", "evaluate")
    project.run("alexnet", "export", "latest", "base", "--weights")
    return project


@pytest.fixture(scope="module")
def workshop(project: Project) -> Iterator[Workshop]:
    with forgeries.in_folder(project.folder), forgeries.in_this_process():
        yield Workshop(project.folder, project.folder / "base")


@pytest.fixture(scope="module")
def drafts(workshop: Workshop) -> tuple[Draft, Draft]:
    first, second = workshop.train("first", 1), workshop.train("second", 2)
    for draft in (first, second):
        draft.write()
    return first, second


def forged(drafts: tuple[Draft, Draft], kind: str, thorough: bool, folder: Path) -> Path:
    """A record in which this is forged."""
    draft = copy.deepcopy(drafts[0])
    forgeries.copy_files(draft.folder, folder)
    draft.folder, draft.thorough = folder, thorough
    IN_RECORDS[kind](draft, drafts[1])
    draft.write()
    return folder


def verdicts(result: Any) -> dict[str, str]:
    return {check.check: check.verdict for check in result.checks}


def test_the_command_shows_that_a_record_holds(project: Project) -> None:
    """Also one that travelled: of its five intervals one is trained again, and the last."""
    result = last_json(project.run("alexnet", "audit", "base", "--intervals", "1", "--seed", "3",
                                   "--json"))
    assert result["verdict"] == "holds"
    assert [(each["from"], each["to"]) for each in result["intervals"]] == [(4, 8), (18, 20)]
    assert {check["check"]: check["verdict"] for check in result["checks"]} == dict.fromkeys(
        ("chain", "checkpoints", "final weights", "learning curve", "initial weights",
         "evaluation"), "identical")
    assert (result["first_difference"], result["steps_recomputed"], result["steps"]) == (None, 6,
                                                                                         20)
    assert not list((project.folder / "work/reruns").glob("*/"))
    assert "exclude each other" in project.run("alexnet", "audit", "base", "--from", "4",
                                               "--intervals", "1", status=2)


def test_the_whole_of_an_honest_record_holds(workshop: Workshop,
                                             drafts: tuple[Draft, Draft]) -> None:
    for draft in drafts:
        result = workshop.audited(draft.folder)
        assert result.verdict == "holds"
        assert set(verdicts(result).values()) == {"identical"}
        assert result.recomputed == 20
    part = workshop.audited(drafts[0].folder, start=9, steps=2)
    assert [(each.first, each.last) for each in part.intervals] == [(8, 12)]


@pytest.mark.parametrize(("kind", "check"), [
    ("a loss", "chain"), ("an entry left out", "chain"),
    ("a checkpoint, by one ulp", "checkpoints"),
    ("final weights of another run", "final weights"), ("another seed", "initial weights")])
def test_what_does_not_fit_together_is_named(workshop: Workshop, drafts: tuple[Draft, Draft],
                                             tmp_path: Path, kind: str, check: str) -> None:
    """And nothing is trained."""
    result = workshop.audited(forged(drafts, kind, kind == "another seed", tmp_path / "record"))
    assert result.verdict == "fails"
    assert [name for name, verdict in verdicts(result).items() if verdict == "differs"] == [check]
    assert result.recomputed == 0


@pytest.mark.parametrize(("kind", "tensor"), [
    ("a loss", "loss"), ("a checkpoint, by one ulp", "weights"),
    ("the curve of another run", "metrics")])
def test_a_forger_who_computes_the_chain_anew_is_found(
        workshop: Workshop, drafts: tuple[Draft, Draft], tmp_path: Path, kind: str,
        tensor: str) -> None:
    result = workshop.audited(forged(drafts, kind, True, tmp_path / "record"))
    assert result.verdict == "fails"
    assert "differs" not in verdicts(result).values()
    assert result.first_difference is not None
    assert result.first_difference.kind == tensor
    [interval] = [each for each in result.intervals if each.verdict == "differs"]
    assert interval.first < result.first_difference.step <= interval.last
    assert {each.verdict for each in result.intervals
            if each.last < result.first_difference.step} <= {"identical"}


def test_errors_that_the_final_weights_do_not_make_are_found(
        workshop: Workshop, drafts: tuple[Draft, Draft], tmp_path: Path) -> None:
    result = workshop.audited(forged(drafts, "an error", True, tmp_path / "record"), count=1,
                              seed=0)
    assert result.verdict == "fails"
    assert verdicts(result)["evaluation"] == "differs"
    assert {each.verdict for each in result.intervals} == {"identical"}


def test_a_restore_without_momentum_is_found_in_the_interval_where_it_was(
        workshop: Workshop) -> None:
    change, _ = IN_TRAININGS["momentum forgotten"]
    draft = workshop.train("forgotten", 1, {10: change})
    draft.write()
    caught = {first: workshop.audited(draft.folder, start=first, steps=4).verdict
              for first in (4, 8)}
    assert caught == {4: "holds", 8: "fails"}
    first = workshop.audited(draft.folder, start=8, steps=4).first_difference
    assert first is not None
    # the gradients of step 11 are those of the right weights
    assert (first.step, first.kind) == (12, "gradients")


@pytest.mark.parametrize("broken", ["momentum", "draws"])
def test_an_audit_that_restores_wrongly_accuses(workshop: Workshop, drafts: tuple[Draft, Draft],
                                                monkeypatch: pytest.MonkeyPatch,
                                                broken: str) -> None:
    """So that what holds cannot hold by chance: without the momentum, or with the draws of the
    first updates."""
    load, take = training.Training.load, inputs.InputLoader.take

    def without_momentum(self: training.Training, step: int, state: dict[str, Tensor]) -> None:
        load(self, step, {name: torch.zeros_like(tensor) if name.startswith("momentum/") else tensor
                          for name, tensor in state.items()})

    if broken == "momentum":
        monkeypatch.setattr(training.Training, "load", without_momentum)
    else:
        monkeypatch.setattr(inputs.InputLoader, "take",
                            lambda self, step, number: take(self, step - 8, number))
    result = workshop.audited(drafts[0].folder, start=8, steps=4)
    assert result.verdict == "fails"
    assert result.first_difference is not None
    assert result.first_difference.step == 10
    assert result.first_difference.kind == {"momentum": "gradients", "draws": "images"}[broken]


def test_without_data_what_can_be_shown_is_shown(workshop: Workshop, drafts: tuple[Draft, Draft],
                                                 tmp_path: Path) -> None:
    draft = copy.deepcopy(drafts[0])
    forgeries.copy_files(draft.folder, tmp_path / "record")
    draft.folder = tmp_path / "record"
    draft.facts.tags["resize.pixels_digest"] = "0" * 64
    draft.parameters["dataset"] |= {"source": "folder", "location": "gone"}
    draft.write()
    result = workshop.audited(draft.folder, count=1)
    assert result.verdict == "not compared"
    assert {verdict for name, verdict in verdicts(result).items()} == {"identical"}
    assert all("the data of the run cannot be had" in each.detail for each in result.intervals)


def test_a_difference_in_another_environment_accuses_nobody(
        workshop: Workshop, drafts: tuple[Draft, Draft], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoration, "is_portable", lambda kept: False)
    draft = copy.deepcopy(drafts[0])
    forgeries.copy_files(draft.folder, tmp_path / "record")
    draft.folder = tmp_path / "record"
    recorded = json.loads((draft.folder / "environment.json").read_text())
    (draft.folder / "environment.json").write_text(json.dumps(recorded | {"torch": "1.0"}))
    entry = next(entry for entry in draft.trace if entry["step"] == 10)
    entry["loss"], draft.thorough = "0x1p0", True
    draft.write()
    assert workshop.audited(draft.folder, start=8, steps=4).verdict == "not compared"
    result = workshop.audited(draft.folder, start=8, steps=4, anyway=True)
    assert result.verdict == "not compared"
    assert "the environment is another: torch: 1.0 ->" in result.intervals[0].detail


def test_data_that_have_rotted_accuse_nobody(workshop: Workshop,
                                             drafts: tuple[Draft, Draft]) -> None:
    shard = workshop.project / "data/store/train-00000.npy"
    whole = shard.read_bytes()
    shard.unlink()  # another name for DVC's cached file
    shard.write_bytes(whole[:4096] + bytes(byte ^ 1 for byte in whole[4096:]))
    try:
        with pytest.raises(UserError, match=r"train-00000\.npy: damaged"):
            workshop.audited(drafts[0].folder, start=8, steps=4)
    finally:
        shard.write_bytes(whole)
        shutil.rmtree("work/reruns")


def test_a_record_without_a_chain_is_not_compared(workshop: Workshop, drafts: tuple[Draft, Draft],
                                                  tmp_path: Path) -> None:
    """Though its intervals are equal."""
    draft = copy.deepcopy(drafts[0])
    forgeries.copy_files(draft.folder, tmp_path / "record")
    draft.folder = tmp_path / "record"
    for entry in draft.trace:
        for name in ("images", "losses", "previous"):
            del entry[name]
    draft.states.clear()
    draft.write()
    result = workshop.audited(draft.folder)
    assert result.verdict == "not compared"
    assert verdicts(result)["chain"] == "not compared"
    assert result.checks[0].detail == "this record has no chain"
    assert [(each.verdict, each.detail) for each in result.intervals] == [("identical", "")]


def _long(draft: Draft) -> None:
    draft.facts.tags["images.train"] = "9" * 400


def _last_step(draft: Draft) -> None:
    draft.trace[-1]["step"] = 2**53 - 1
    del draft.facts.tags["images.train"]


def _loss(draft: Draft) -> None:
    draft.trace[0]["loss"] = "0x1p5000"


def _memory(draft: Draft) -> None:
    draft.states[8][1]["loss_count"] = 10**30


@pytest.mark.parametrize("hostile", [_long, _last_step, _loss, _memory])
def test_numbers_of_a_stranger_are_refused_and_not_counted_to(
        workshop: Workshop, drafts: tuple[Draft, Draft], tmp_path: Path, hostile: Any) -> None:
    draft = copy.deepcopy(drafts[0])
    forgeries.copy_files(draft.folder, tmp_path / "record")
    draft.folder = tmp_path / "record"
    hostile(draft)
    draft.write()
    result = workshop.audited(draft.folder)
    assert result.verdict == "fails"
    assert result.recomputed == 0


def test_a_link_in_place_of_the_checkpoints_is_refused(project: Project, tmp_path: Path) -> None:
    record = tmp_path / "record"
    forgeries.copy_files(project.folder / "base", record)
    (record / "checkpoints").rename(tmp_path / "elsewhere")
    (record / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert "checkpoints: a link" in project.run("alexnet", "audit", str(record), status=1)


def test_checkpoints_travel_with_a_record(project: Project) -> None:
    kept = kept_runs.read_folder(project.folder / "base")
    assert kept.kept_steps() == [4, 8, 12, 16, 18]
    with forgeries.in_folder(project.folder):
        run_id, _ = exchange.import_record(project.folder / "base")
        assert kept_runs.find(run_id).kept_steps() == [4, 8, 12, 16, 18]
    listed = json.loads((project.folder / "base/record.json").read_text())["files"]
    assert "checkpoints/step-00000004.safetensors" in listed
