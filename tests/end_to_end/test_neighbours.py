"""What one stage has made under other parameters than those in force, the next one refuses."""

from __future__ import annotations

import json

import pytest

from tests.end_to_end.project import Project

STORE, MODEL = "data/store: made with", "models/model.safetensors: trained with"
AGAIN = {STORE: "make it again with `dvc repro resize`",
         MODEL: "train again with `dvc repro train`"}


@pytest.mark.parametrize(("stage", "changed", "was", "said"), [
    ("mean", "dataset.sample.seed=7", "2012", STORE),
    ("pca", "resize.order_seed=3", "2012", STORE),
    ("train", "dataset.sample.seed=7", "2012", STORE),
    ("train", "dataset.source=cifar10", "sample", STORE),
    ("train", "store.encoding=jpeg", "raw", STORE),
    ("evaluate", "resize.order_seed=3", "2012", STORE),
    ("evaluate", "train.seed=9", "1", MODEL),
    ("evaluate", "recipe.dropout_scaling=train", "test", MODEL),
    ("report", "dataset.sample.seed=7", "2012", STORE)])
def test_a_store_or_a_model_of_other_parameters_is_refused(
        reproduced: Project, stage: str, changed: str, was: str, said: str) -> None:
    name, _, value = changed.partition("=")
    told = reproduced.run("alexnet", stage, "--set", changed, status=1)
    assert f"{said} {name} {was}, and now it is {value}; {AGAIN[said]}" in told


def test_what_says_nothing_of_the_weights_may_change(reproduced: Project) -> None:
    """The negative control, and what a user may do."""
    before = {name: (reproduced.folder / name).read_bytes()
              for name in ("metrics/evaluate.json", "models/predictions.safetensors")}
    try:
        reproduced.run("alexnet", "evaluate", "--set", "train.validate_every=2")
        assert all((reproduced.folder / name).read_bytes() == content
                   for name, content in before.items())
    finally:
        reproduced.run("dvc", "checkout")


def test_describe_counts_the_classes_of_the_data_set_that_is_asked_for(reproduced: Project) -> None:
    def parameters(*changed: str) -> int:
        options = [option for change in changed for option in ("--set", change)]
        told = reproduced.run("alexnet", "describe", "--json", "--set", "network.width=1", *options)
        return int(json.loads(told[told.index("{"):])["parameters"])

    assert parameters() == 56_909_194  # of the sample, whose store lies here
    assert parameters("dataset.source=imagenet2012") == 60_965_224
