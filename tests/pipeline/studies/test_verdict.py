"""The last line of `make repro`: this run is the golden's to the bit, or it is not, or nobody can
say, and why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from alexnet.digest import digest_of
from pipeline.config import identity, parameters
from pipeline.config.parameters import Parameters
from pipeline.config.paths import LEARNING, TRACE, WEIGHTS, metrics_of
from pipeline.config.stages import BY_NAME
from pipeline.studies import run_sets
from pipeline.studies.gate import golden
from pipeline.studies.gate.verdict import golden_verdict
from pipeline.studies.run_sets import Run
from pipeline.system.files import sha256_of, write_json
from tests.pipeline.studies.runs_of_seeds import run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parameters:
    """A project whose run of seed 1 is that of its golden."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    read = parameters.load()
    leave(read, run(1))
    golden.record(read, [golden.run_here(read)])
    return read


def leave(read: Parameters, made: Run, loss: float = 0.5, weight: float = 1.0) -> None:
    """Leave in the project what `dvc repro` would."""
    weights = {"conv1.weight": torch.tensor([weight])}
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(weights, WEIGHTS, {"digest": digest_of(weights)})
    made.metrics["train"]["weights_digest"] = digest_of(weights)
    TRACE.parent.mkdir(exist_ok=True)
    entry = {"step": 1, "loss": loss.hex(),
             **{kind: {"digest": "0" * 64} for kind in ("gradients", "momentum", "weights")}}
    TRACE.write_text(json.dumps(entry) + "\n")
    LEARNING.parent.mkdir(exist_ok=True)
    LEARNING.write_text(f"{','.join(run_sets.CURVE)}\n1,0.5,0.1,0.6,0.2\n")
    made.metrics["train"] |= {
        "seed": made.seed, "trace_digest": sha256_of(TRACE), "configuration_digest":
        identity.digest(identity.configuration(read, BY_NAME["train"].sections))}
    made.metrics["evaluate"]["weights_digest"] = made.metrics["train"]["weights_digest"]
    for stage, metrics in made.metrics.items():
        write_json(metrics_of(stage), metrics)


def test_the_stored_run_is_identical(read: Parameters) -> None:
    digest = digest_of({"conv1.weight": torch.tensor([1.0])})
    assert golden_verdict(read) == ("identical", "identical to the bit with golden sample, seed 1: "
                                                 f"weights {digest[:16]}...")


def test_one_ulp_of_a_weight_differs(read: Parameters) -> None:
    leave(read, run(1), weight=1.0 + 2.0**-23)
    verdict, line = golden_verdict(read)
    assert (verdict, "train.weights_digest" in line) == ("differs", True)


@pytest.mark.parametrize("changed", ["resize__images", "mean__mean_digest", "pca__pca_digest",
                                     "evaluate__top1_error"])
def test_any_other_bit_is_named(read: Parameters, changed: str) -> None:
    leave(read, run(1, **{changed: "other"}))
    verdict, line = golden_verdict(read)
    assert verdict == "differs"
    assert line.startswith("differs from golden sample, seed 1: ")
    assert changed.replace("__", ".") in line


def test_the_step_from_which_the_trace_differs_is_named(read: Parameters) -> None:
    leave(read, run(1), loss=0.25)
    assert "train.trace" in golden_verdict(read)[1]


def without_run(read: Parameters) -> None:
    metrics_of("evaluate").unlink()


def with_other_weights(read: Parameters) -> None:
    """Than the metrics name, beside a header that fits them."""
    weights = {"conv1.weight": torch.tensor([2.0])}
    save_file(weights, WEIGHTS, {"digest": digest_of(weights)})


def with_rotten_weights(read: Parameters) -> None:
    content = bytearray(WEIGHTS.read_bytes())
    content[-1] ^= 1
    WEIGHTS.write_bytes(content)


def of_another_number(read: Parameters) -> None:
    [stored] = golden.of_configuration(read)
    run_sets.write(replace(stored, environment={**stored.environment, "arithmetic": "2"}),
                   golden.FOLDER)
    (golden.FOLDER / stored.name / "portable-1.json").unlink()


def of_other_pixels(read: Parameters) -> None:
    [stored] = golden.of_configuration(read)
    run_sets.write(replace(stored, environment={**stored.environment, "zlib": "other"}),
                   golden.FOLDER)
    leave(read, run(1, resize__pixels_digest="other"))


@pytest.mark.parametrize(("change", "reason"), [
    (without_run, "metrics/evaluate.json: no such file"),
    (with_other_weights, "not the weights that metrics/train.json names"),
    (with_rotten_weights, "models/model.safetensors: damaged"),
    (of_another_number, "arithmetic 2"),
    (of_other_pixels, "the pixels are not those")])
def test_what_cannot_be_compared_is_no_verdict_on_bits(read: Parameters, change: Any,
                                                       reason: str) -> None:
    change(read)
    verdict, line = golden_verdict(read)
    assert verdict == "not compared"
    assert reason in line


@pytest.mark.parametrize(("overrides", "reason"), [
    (["train.seed=2"], "with seed 2"), (["train.epochs=3"], "none has this configuration"),
    (["train.arithmetic=native"], "native arithmetic")])
def test_another_run_has_no_golden(read: Parameters, overrides: list[str], reason: str) -> None:
    verdict, line = golden_verdict(parameters.load(overrides=overrides))
    assert verdict == "not compared"
    assert reason in line
