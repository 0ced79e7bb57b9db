"""Goldens: which belong to a configuration, what is added to them, and that none is replaced in
silence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.commands.main import main
from pipeline.config import identity, parameters
from pipeline.config.parameters import Parameters
from pipeline.studies import run_sets
from pipeline.studies.gate import golden
from pipeline.system.errors import UserError
from tests.pipeline.studies.runs_of_seeds import run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parameters:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return parameters.load()


def test_runs_are_added_and_proved_and_replaced_with_a_reason_only(read: Parameters) -> None:
    file = golden.record(read, [run(1), run(2)])
    assert golden.record(read, [run(2), run(3)]) == file  # the second is the same once more
    assert run_sets.read(file).runs == [run(1), run(2), run(3)]
    with pytest.raises(UserError,
                       match=r"seed 2 is stored with another train.steps \(600, now 601\)"):
        golden.record(read, [run(2, train__steps=601)])
    other = replace(run(2), trace=run(4).trace)
    with pytest.raises(UserError,
                       match=r"seed 2 is stored with another train.trace, from step 1: gradients"):
        golden.record(read, [other])
    assert run_sets.read(file).runs == [run(1), run(2), run(3)]
    golden.record(read, [run(2, train__steps=601)], reason="one more step")
    kept = run_sets.read(file)
    assert kept.runs == [run(2, train__steps=601)]  # runs of one code
    assert [entry.get("reason") for entry in kept.history] == [None, None, "one more step"]
    assert kept.history[-1]["seeds"] == [2]


def test_a_run_that_diverged_is_not_recorded(read: Parameters) -> None:
    with pytest.raises(UserError, match=r"seed 4: evaluate.loss is nan"):
        golden.record(read, [run(4, evaluate__loss=float("nan"))])
    assert not golden.FOLDER.exists()


def test_a_golden_belongs_to_its_configuration_whatever_the_seed(read: Parameters) -> None:
    golden.record(read, [run(1)])
    train = read.train
    assert golden.of_configuration(
        read.model_copy(update={"train": train.model_copy(update={"seed": 9})}))
    other = read.model_copy(update={"train": train.model_copy(update={"epochs": 3.0})})
    assert golden.of_configuration(other) == []
    assert "differs in train.epochs" in golden.nearest(other)
    assert golden.name_of(other) != golden.name_of(read)


def test_a_parameter_that_is_younger_than_a_golden_does_not_orphan_it(read: Parameters) -> None:
    stored = run_sets.read(golden.record(read, [run(1)]))
    older = {name: value
             for name, value in stored.configuration.items() if name != "recipe.weight_decay"}
    run_sets.write(replace(stored, configuration=older), golden.FOLDER)
    assert [one.name for one in golden.of_configuration(read)] == [stored.name]
    assert not identity.fits(stored.configuration | {"train.epochs": "3.0"}, stored.configuration)


def stored_without(read: Parameters, name: str) -> None:
    """Record a golden of these parameters whose configuration does not have this key."""
    stored = run_sets.read(golden.record(read, [run(1)]))
    older = {key: value for key, value in stored.configuration.items() if key != name}
    run_sets.write(replace(stored, configuration=older), golden.FOLDER)


def test_a_golden_from_before_conv1s_biases_were_frozen_is_not_compared(read: Parameters) -> None:
    sample = golden.record(read, [run(1)], Path("elsewhere"))
    assert run_sets.read(sample).configuration["recipe.conv1_biases"] == "frozen"
    stored_without(read, "recipe.conv1_biases")
    done = CliRunner().invoke(main, ["check", "--sample", str(sample)])
    assert done.exit_code == 2
    assert "no golden of this configuration" in done.output
    assert ("differs in recipe.conv1_biases (never frozen, here frozen)"
            in " ".join(done.output.split()))


@pytest.mark.parametrize(("override", "key"), [
    ("recipe.conv1_freezing=false", "recipe.conv1_biases"),
    ("train.arithmetic=native", "train.arithmetic"), ("resize.filter=bicubic", "resize.filter")])
def test_what_the_code_did_before_a_key_was_there_still_fits(read: Parameters, override: str,
                                                             key: str) -> None:
    read = parameters.load(overrides=[override])
    assert key not in identity.configuration(read)
    stored_without(read, key)
    assert golden.of_configuration(read)


@pytest.mark.parametrize("override", ["train.arithmetic=portable", "resize.filter=area"])
def test_what_the_code_did_not_do_then_does_not(read: Parameters, override: str) -> None:
    key, value = override.split("=")
    other = parameters.load(overrides=[override])
    assert identity.configuration(other)[key] == value
    golden.record(parameters.load(overrides=["train.arithmetic=native"]), [run(1)])
    assert golden.of_configuration(other) == []
    assert identity.differing({f"base.{key}": value}, {}) == [f"base.{key}"]


def test_replace_and_reason_go_together(read: Parameters) -> None:
    for alone in (["--replace"], ["--reason", "because"]):
        done = CliRunner().invoke(main, ["golden", "record", *alone])
        assert done.exit_code == 1
        assert "--replace and --reason go together" in done.output


def test_without_a_golden_nothing_passes(read: Parameters) -> None:
    sample = golden.record(read, [run(1)], Path("elsewhere"))
    done = CliRunner().invoke(main, ["check", "--sample", str(sample)])
    assert done.exit_code == 2
    assert "no golden of this configuration" in done.output
    done = CliRunner().invoke(main, ["check", "--sample", str(sample), "--json", "--set",
                                     "train.epochs=3"])
    assert done.exit_code == 1
    assert "of another configuration" in done.output


def test_no_name_reaches_the_terminal_as_a_command(read: Parameters) -> None:
    stored = run(1)
    golden.record(read, [stored])
    other = replace(stored,
                    metrics=stored.metrics | {"mean": stored.metrics["mean"] | {"\x1b[2J": "\x07"}})
    sample = golden.record(read, [other], Path("elsewhere"))
    done = CliRunner().invoke(main, ["check", "--sample", str(sample)])
    assert done.exit_code == 1
    assert r"mean.\x1b[2J: None -> \x07" in done.output
    assert not {"\x1b", "\x07"} & set(done.output)


def test_several_runs_are_judged_together(read: Parameters) -> None:
    golden.record(read, [run(seed) for seed in range(1, 9)])
    worse = golden.record(read, [run(seed, worse=0.05) for seed in range(21, 24)],
                          Path("elsewhere"))
    done = CliRunner().invoke(main, ["check", "--sample", str(worse), "--json"])
    told = json.loads(done.output)
    assert (done.exit_code, told["verdict"]) == (1, "falls")
    assert any("8 stored, 3 new" in finding["test"] for finding in told["findings"])
