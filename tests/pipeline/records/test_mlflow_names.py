"""What runs and metrics are called in MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import datasets, parameters, presets
from pipeline.config.identity import flat_parameters
from pipeline.records.mlflow_names import (
    by_recipe,
    flat_metric,
    is_for_eyes,
    metric,
    run_name,
    short_names,
    shown_errors,
)

ROOT = Path(__file__).resolve().parents[3]
SECTIONS = tuple(parameters.Parameters.model_fields)
TRAIN = ("training_loss", "training_error", "validation_loss", "validation_error", "epoch", "steps",
         "batch_loss")
EVALUATE = ("top1_error", "top5_error", "top1_error_10crop", "top5_error_10crop", "loss",
            "loss_10crop", "distance_10crop", "images", "same_class_hidden", "same_class_pixels",
            "colour_0", "colour_1", "specialisation")


def named(*overrides: str, stage: str = "train", sections: tuple[str, ...] = SECTIONS,
          file: Path = ROOT / "params.yaml") -> str:
    return run_name(stage, flat_parameters(parameters.load(file, overrides), sections))


def test_a_run_is_named_for_what_differs() -> None:
    assert named() == "sample seed 1"
    assert named("train.seed=2", "network.width=0.5") == "sample seed 2 width 0.5"
    assert named("recipe.name=paper", "network.without=fc6") == "sample paper seed 1 without fc6"
    assert named("network.neuron=tanh", "network.normalization=false", "train.epochs=4") == (
        "sample seed 1 tanh no normalization epochs 4")
    assert named("network.architecture=half", "train.arithmetic=native", "train.precision=bf16",
                 "train.start_from=x.safetensors") == "sample seed 1 half native bf16 fine-tuned"
    assert named(stage="resize", sections=("dataset", "resize", "store")) == "resize sample"
    assert run_name("mean", {}) == "mean"


@pytest.mark.parametrize("override", ["execution.threads=2", "train.trace_every=7",
                                      "dataset.location=x", "recipe.weight_lr=0.010",
                                      "recipe.lrn_divisor=window", "network.width=0.250"])
def test_what_makes_no_difference_is_not_named(override: str) -> None:
    assert named(override) == named()


@pytest.mark.parametrize("name", datasets.NAMES)
def test_a_preset_is_named_as_itself(name: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    presets.configure(name, tmp_path, file)
    assert named(file=file) == f"{name} seed 1"


def test_errors_are_shown_in_percent_under_names_that_come_first() -> None:
    measured = {"top1_error": 1 / 3, "top5_error_10crop": 0.125, "loss": 2.0, "images": 60}
    shown = shown_errors("evaluate", measured)
    assert list(shown.items()) == [("error/top5_10crop", 12.5), ("error/top1_1crop", 33.33)]
    assert all(map(is_for_eyes, shown))
    others = [metric(stage, name) for stage, names in (("train", TRAIN), ("evaluate", EVALUATE))
              for name in names]
    assert not any(map(is_for_eyes, others))
    assert max(shown) < min(others)
    assert shown_errors("train", measured) == shown  # of one that was imported
    assert shown_errors("train", {"training_error": 0.5}) == shown_errors("pca", measured) == {}


def test_side_by_side_runs_are_called_by_what_not_all_have() -> None:
    def of(*overrides: str) -> dict[str, str]:
        return flat_parameters(parameters.load(ROOT / "params.yaml", overrides), SECTIONS)

    assert short_names([of("train.epochs=4"), of("train.epochs=4", "train.seed=2"),
                        of("train.epochs=4", "recipe.name=paper")]) == [
        "seed 1", "seed 2", "paper seed 1"]
    assert short_names([of(), of()]) == ["seed 1", "seed 1"]
    assert short_names([{}, {"train.seed": "3"}]) == ["seed ?", "seed 3"]


def test_what_the_name_of_a_recipe_says_is_known() -> None:
    port = flat_parameters(parameters.load(ROOT / "params.yaml", ["recipe.name=torchvision"]),
                           SECTIONS)
    assert {"recipe.schedule", "network.architecture"} <= by_recipe(port)
    assert "recipe.name" not in by_recipe(port)
    assert "recipe.schedule" not in by_recipe(port | {"recipe.schedule": "flat"})


def test_a_long_name_ends_with_how_many_are_untold() -> None:
    name = named(*(f"recipe.{switch}" for switch in (
        "lrn_divisor=none", "lrn_window=layer", "layer1_order=relu-norm-pool", "spatial_norm=false",
        "conv1_padding=symmetric", "conv345_init_std=0.01", "dropout_scaling=train")))
    assert name == ("sample seed 1 lrn_divisor none lrn_window layer layer1_order relu-norm-pool "
                    "no spatial_norm and 3 more")


@given(st.tuples(*[st.sampled_from([0.25, 0.5, 1.0]), st.integers(0, 9),
                   st.sampled_from(["source", "paper"])] * 2))
def test_other_parameters_have_another_name(values: tuple[float, int, str, float, int,
                                                          str]) -> None:
    a, b = ({"dataset.source": "sample", "recipe.name": name, "train.seed": str(seed),
             "network.width": str(width)} for width, seed, name in (values[:3], values[3:]))
    assert (run_name("train", a) == run_name("train", b)) == (a == b)


def test_every_metric_finds_back_to_its_name() -> None:
    shown = [metric(stage, name) for stage, names in (("train", TRAIN), ("evaluate", EVALUATE))
             for name in names]
    assert len(set(shown)) == len(shown)  # in one run
    assert {name.partition("/")[0] for name in shown} == {"train", "val", "weights", "x-axis"}
    assert [flat_metric(name) for name in shown] == [*TRAIN, *EVALUATE]
    assert metric("evaluate", "top5_error_10crop") == "val/top5_error_10crop"
    assert metric("rerun", "training_loss") == metric("train", "training_loss") == "train/loss"
    assert metric("resize", "images") == "resize/images"
    for name in ("top1_error", "top5_error_10crop", "loss"):  # of a training that was imported
        assert metric("train", name) == metric("evaluate", name)
    assert ([flat_metric(name) for name in ("top1_error", "resize/images")]
            == ["top1_error", "images"])  # before groups
