"""In what recipes differ, and what `configure --recipe` writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner

from alexnet.ports import PORTS
from alexnet.recipe import NAMES, Name, recipe, switches
from pipeline.commands.main import main
from pipeline.commands.tools import RECIPES
from pipeline.config import identity, parameters, recipes
from pipeline.config.parameters import architecture_of
from pipeline.config.presets import TEMPLATE, configure
from pipeline.config.safe_yaml import flatten, read_sections
from pipeline.config.sections import RecipeSection
from pipeline.system.errors import UserError

PORTED: tuple[Name, ...] = ("caffe", "caffenet", "torchvision", "one-weird-trick")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy2(TEMPLATE, tmp_path / "params.yaml"))


def test_the_lists_of_recipes_agree() -> None:
    assert RECIPES == NAMES
    assert get_args(RecipeSection.model_fields["name"].annotation) == NAMES
    listed = {name for name in RecipeSection.model_fields if name != "name"}
    assert listed == {switch.name for switch in switches()}
    assert {f"recipe.{name}" for name in listed} <= flatten(read_sections(TEMPLATE)).keys()


@pytest.mark.parametrize("name", PORTED)
@pytest.mark.parametrize("other", NAMES)
def test_differences_are_all_of_them_with_their_sources(name: Name, other: Name) -> None:
    found = {each.key: each for each in recipes.differences(name, other)}
    for switch in switches():
        values = tuple(getattr(recipe(each), switch.name) for each in (name, other))
        key = f"recipe.{switch.name}"
        assert (key in found) == (values[0] != values[1])
        if key in found:
            assert found[key].values == values
    assert ("network.architecture" in found) == (architecture_of("auto", name)
                                                 != architecture_of("auto", other))
    assert all(all(each.evidence) for each in found.values())
    assert (found == {}) == (name == other)
    back = {each.key: each for each in recipes.differences(other, name)}
    assert {key: each.values[::-1] for key, each in back.items()} == {
        key: each.values for key, each in found.items()}


def test_a_difference_names_file_and_line_of_both() -> None:
    found = {each.key: each for each in recipes.differences("caffe", "paper")}
    assert found["recipe.lrn_k"].evidence == (
        "train_val.prototxt:73: lrn_param has no k, caffe.proto's default is 1", "P §3.3: k = 2")
    assert found["train.batch"].values == (256, 128)
    assert found["resize.mode"].values == ("squash", "centre")


def test_describe_prints_them() -> None:
    done = CliRunner().invoke(main, ["describe", "--recipe", "torchvision", "--against", "source",
                                     "--json"])
    printed = json.loads(done.stdout)
    assert printed["recipe"] == "torchvision"
    by_key = {each["key"]: each for each in printed["differences"]}
    assert by_key["recipe.dropout_place"]["torchvision"] == "before"
    assert by_key["recipe.dropout_place"]["evidence"]["torchvision"] == "alexnet.py:37-45"
    assert printed["remains"]["torchvision"]
    text = CliRunner().invoke(main, ["describe", "--recipe", "one-weird-trick", "--against",
                                     "source"]).stdout
    assert "[fc1000] initB=-7" in text  # brackets are no markup
    net = json.loads(CliRunner().invoke(main, ["describe", "--recipe", "torchvision", "--classes",
                                               "1000", "--set", "network.width=1",
                                               "--json"]).stdout)
    assert (net["recipe"], net["architecture"], net["parameters"]) == (
        "torchvision", "one-weird-trick", 61_100_840)


@pytest.mark.parametrize("name", PORTED)
def test_configure_writes_batch_epochs_and_input(file: Path, name: Name) -> None:
    before = file.read_bytes()
    configure("imagenet2012", file=file, recipe=name)
    read = parameters.load(file)
    written = flatten(yaml.safe_load(file.read_text()))
    for key, decided in PORTS[name].settings.items():
        assert written[key] == decided.value
    assert read.effective_recipe() == recipe(name)
    assert read.architecture == PORTS[name].architecture
    assert read.layer_table(1000).parameters == PORTS[name].parameters
    configure("sample", file=file, recipe="source")
    assert file.read_bytes() == before


def test_without_a_recipe_it_stays(file: Path) -> None:
    configure("sample", file=file, recipe="caffe")
    configure("imagenette", file=file)
    read = parameters.load(file)
    assert (read.recipe.name, read.resize.mode) == ("caffe", "squash")


def test_a_net_of_another_port_is_refused(file: Path) -> None:
    for arguments in (["recipe.name=torchvision", "network.architecture=two-column"],
                      ["recipe.name=caffe", "network.architecture=undivided"],
                      ["recipe.name=caffe", "network.architecture=cifar"]):
        with pytest.raises(UserError, match=r"network\.architecture: .* but the recipe"):
            parameters.load(file, arguments)
    with pytest.raises(UserError, match="cifar, but the recipe caffe"):
        configure("cifar10", file=file, recipe="caffe")
    assert file.read_bytes() == TEMPLATE.read_bytes()
    same = parameters.load(file, ["recipe.name=caffe", "network.architecture=two-column"])
    assert identity.configuration(same) == identity.configuration(
        parameters.load(file, ["recipe.name=caffe"]))


def changed(file: Path, *overrides: str) -> dict[str, str]:
    return identity.configuration(parameters.load(file, overrides))


def test_configurations_from_before_the_ports_are_still_the_same(file: Path) -> None:
    """New switches at their old value are left out, so that stored digests hold; another value is
    another configuration."""
    usual = changed(file)
    assert usual["network.architecture"] == "two-column"
    new = {name: value for name, value in identity.BEFORE.items()
           if name.startswith(("recipe.", "resize.")) and name != "recipe.conv1_biases"}
    assert not new.keys() & usual.keys()
    everything: dict[str, Any] = flatten(read_sections(TEMPLATE))
    for name, value in new.items():
        assert name in everything
        assert changed(file, f"{name}={value}") == usual
    for name, value in (("recipe.lrn_k", "1"), ("recipe.crop_side", "227"),
                        ("recipe.init_bias", "0.1"), ("resize.mode", "squash")):
        other = changed(file, f"{name}={value}")
        assert identity.differing(usual, other) == [name]
        assert not identity.fits(usual, other)
