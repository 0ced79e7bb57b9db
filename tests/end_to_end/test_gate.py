"""The real commands of the gate and of the claims, on a copy of the project that `dvc repro` has
been through."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.studies.gate.decision import GATED
from tests.end_to_end.project import Project


@pytest.fixture
def gate(reproduced: Project) -> Iterator[Project]:
    """Without goldens and results, before and after; the store of runs is put back as it was."""
    store = reproduced.folder / "mlflow.db"
    shutil.copy(store, store.with_suffix(".before"))
    folders = [reproduced.folder / "golden", reproduced.folder / "experiments/results"]
    aside = [folder.rename(reproduced.folder / f"work/{folder.name}-before") if folder.exists()
             else None for folder in folders]
    yield reproduced
    for folder, before in zip(folders, aside, strict=True):
        shutil.rmtree(folder, ignore_errors=True)
        if before:
            before.rename(folder)
    store.with_suffix(".before").replace(store)


def test_a_golden_is_recorded_held_against_and_never_replaced_in_silence(gate: Project) -> None:
    for name in GATED:  # the names of the gate are those that DVC and MLflow show
        stage, _, metric = name.partition(".")
        assert metric in gate.metrics(stage)
    told = gate.run("alexnet", "check", status=2)
    assert "no golden of this configuration; golden is empty" in told
    file = gate.folder / gate.run("alexnet", "golden", "record").splitlines()[-1]
    told = gate.run("alexnet", "check")
    assert "equal to the stored runs to the bit, traces included" in told

    whole = file.read_text()
    step, loss, gradients = re.findall(r'"(4) (\S+) (\w+) ', whole)[0]
    other = gradients[:-1] + ("0" if gradients[-1] != "0" else "1")
    file.write_text(whole.replace(f"{step} {loss} {gradients}", f"{step} {loss} {other}"))
    told = json.loads(gate.run("alexnet", "check", "--json", status=1))
    assert told["verdict"] == "falls"
    [fall] = [finding for finding in told["findings"] if finding["verdict"] == "falls"]
    assert (fall["metric"], fall["found"]) == ("train.trace",
                                               "other from step 4: gradients (equal at step 2)")

    gate.run("alexnet", "golden", "record", "--replace", "--reason", "a digit had been changed")
    kept = json.loads(file.read_text())
    assert kept["history"][-1]["reason"] == "a digit had been changed"
    assert kept["runs"] == json.loads(whole)["runs"]

    told = gate.run("alexnet", "check", "--set", "train.epochs=7", status=1)
    assert "of other parameters than params.yaml has; run `dvc repro`" in told


def test_a_claim_is_run_as_an_experiment_and_shown_with_its_evidence(gate: Project) -> None:
    book = gate.folder / "experiments/claims.yaml"
    text = book.read_text()
    small = text.replace("images: [1200, 300], classes: 10, seeds: 10}",
                         "images: [40, 20], classes: 10, seeds: 1, set: {network.width: 0.0625, "
                         "train.epochs: 2, train.batch: 8, train.trace_every: 2}}", 1)
    small = small.replace("sample.train_images: 1200", "sample.train_images: 40").replace(
        "sample.val_images: 300", "sample.val_images: 20")
    assert small != text
    book.write_text(small)
    try:
        started = ["alexnet", "claims", "run", "--scale", "sample", "--seeds", "3", "--yes"]
        assert "experiment sample-base-seed-3" in gate.run(*started, "retrieval")
        kept = gate.run(*started, "retrieval", "ten-crops-top1")
        assert "experiment sample-base-seed-3" not in kept
        assert re.search(r"base: seeds 3 on 3\d pictures, portable arithmetic, made in "
                         r"portable-1: kept, not run again", kept)
        assert "sample-base-seed-3" in gate.run("dvc", "exp", "list")
        told = {(row["claim"], row["scale"]): row
                for row in json.loads(gate.run("alexnet", "claims", "--json"))}
        verify = ["alexnet", "claims", "verify", "retrieval", "--seed", "3"]
        same = gate.run(*verify)
        assert "Stage 'train' didn't change" not in same  # it was trained again
        assert "identical: base, seed 3, sample: weights, losses and errors, after " in same
        assert "stored raw, decoded by pillow" in same
        [file] = Path(gate.folder / "experiments/results/sample/base").glob("*.json")
        content = file.read_text()
        weights = json.loads(content)["runs"][0]["metrics"]["train"]["weights_digest"]
        file.write_text(content.replace(weights, "0" * 64))
        other = gate.run(*verify, status=1)
        assert f"differs: base, seed 3, sample: train.weights_digest {'0' * 64}, here {weights}" \
            in other
        assert "run anew" in gate.run(*started, "retrieval", "--again")
        assert json.loads(file.read_text())["runs"][0]["metrics"]["train"][
            "weights_digest"] == weights
    finally:
        book.write_text(text)
        gate.run("dvc", "exp", "remove", "sample-base-seed-3", "sample-base-seed-3-verify")
    row = told["retrieval", "sample"]
    [file] = Path(gate.folder / "experiments/results/sample/base").glob("*.json")
    [run] = json.loads(file.read_text())["runs"]
    found = run["metrics"]["evaluate"]
    assert row["ours"] == pytest.approx(found["same_class_hidden"] - found["same_class_pixels"])
    # a claim never rests on one run
    assert (row["seeds"], row["verdict"]) == (1, "undecided at this scale (needs 3 seeds)")
    assert (run["seed"], run["record"]["experiment"]) == (3, "sample-base-seed-3")
    assert len(run["curve"]) == 2
    with sqlite3.connect(gate.folder / "mlflow.db") as store:
        parents = store.execute("select name from runs join tags on tags.value = runs.run_uuid "
                                "where tags.key = 'mlflow.parentRunId'").fetchall()
    assert set(parents) == {("claims sample: retrieval",)}
