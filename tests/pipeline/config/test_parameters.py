"""params.yaml: every problem is told by file and key, and the committed file explains every key on
its line."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from alexnet.recipe import recipe, switches
from pipeline.config.identity import configuration
from pipeline.config.parameters import Parameters, check, load
from pipeline.config.safe_yaml import read_sections
from pipeline.config.sections import RecipeSection
from pipeline.system.errors import UserError

COMMITTED = Path(__file__).resolve().parents[3] / "params.yaml"
VALUES = yaml.safe_load(COMMITTED.read_text())


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    return [key for name, value in values.items() for key
            in (leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name])]


def changed(key: str, value: Any) -> dict[str, Any]:
    """The committed values, one of them changed, or removed where the value is Ellipsis."""
    values = yaml.safe_load(COMMITTED.read_text())
    *parents, last = key.split(".")
    section = values
    for parent in parents:
        section = section[parent]
    section[last] = value
    if value is ...:
        del section[last]
    return values


def test_every_key_of_the_committed_file_is_explained_on_its_line() -> None:
    bare = [line for line in COMMITTED.read_text().splitlines()
            if re.match(r"\s+\w+: *[^\s#]", line) and not re.search(r"\S +# \S", line)]
    assert bare == []


def test_the_committed_file_has_every_key_and_the_recipes_switches_in_their_order() -> None:
    load(COMMITTED)

    def keys(model: type[BaseModel]) -> list[str]:
        return [f"{name}.{key}" if key else name for name, field in model.model_fields.items()
                for key in (keys(field.annotation) if isinstance(field.annotation, type)
                            and issubclass(field.annotation, BaseModel) else [""])]

    assert sorted(leaves(VALUES)) == sorted(keys(Parameters))
    assert list(VALUES["recipe"]) == ["name", *(switch.name for switch in switches())]


def test_the_choices_in_the_comments_are_the_switches_choices() -> None:
    for line in COMMITTED.read_text().splitlines():
        for switch in switches():
            if line.strip().startswith(f"{switch.name}:") and switch.choices:
                told = {choice.strip() for choice in line.partition("#")[2].split(",")}
                assert told == {str(choice).lower() for choice in switch.choices}, switch.name


def test_the_recipes_section_has_the_recipes_switches_choices_and_bounds() -> None:
    """And takes each value that the recipe takes, as it is, and no other."""
    names = [name for name in RecipeSection.model_fields if name != "name"]
    assert names == [switch.name for switch in switches()]
    for switch in switches():
        field = f"recipe.{switch.name}"
        good = (*(switch.choices or ()), *(switch.bounds or ()), switch.source, switch.paper)
        low, high = switch.bounds or (0.0, 0.0)
        bad = (*(1, 1.0, True, "other"), *((low - 1e-9, high + 1e-6) if switch.bounds else (0.5,)))
        for value in (*good, *bad):
            try:
                recipe(**{switch.name: value})
            except ValueError:
                with pytest.raises(UserError, match=re.escape(field)):
                    check(changed(field, value))
            else:
                values = changed(field, value)
                if value == "whole":
                    values["network"]["architecture"] = "cifar"
                taken = getattr(check(values).recipe, switch.name)
                assert (taken, type(taken)) == (value, type(value))


def test_whole_images_are_for_the_nets_on_cifar10() -> None:
    with pytest.raises(UserError, match=r"recipe\.crops: whole, but two-column takes crops"):
        check(changed("recipe.crops", "whole"))


@pytest.mark.parametrize("key", leaves(VALUES))
def test_a_missing_key_is_named(key: str) -> None:
    # a switch that is left out is as the recipe has it
    if (key.startswith("recipe.") and key != "recipe.name"):
        assert check(changed(key, ...)).effective_recipe() == recipe()
        return
    if key == "train.arithmetic":  # as of all records that are older than the choice
        assert check(changed(key, ...)).train.arithmetic == "native"
        return
    if key == "resize.filter":  # records from before it was there are of the bicubic one
        assert check(changed(key, ...)).resize.filter == "bicubic"
        return
    if key == "train.stop_below":  # nor is it in them
        assert check(changed(key, ...)).train.stop_below is None
        return
    if key == "resize.mode":  # records from before it was there are of the central square
        assert check(changed(key, ...)).resize.mode == "centre"
        return
    if key == "dataset.incomplete":  # it is in no record of a run from before it
        assert not check(changed(key, ...)).dataset.incomplete
        return
    if key in ("execution.keep_every", "execution.checkpoint_seconds"):
        execution = check(changed(key, ...)).execution
        assert getattr(execution, key.partition(".")[2]) == 0
        return
    with pytest.raises(UserError, match=rf"^params\.yaml: {re.escape(key)}: missing$"):
        check(changed(key, ...))


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_portable_arithmetic_has_one_precision(precision: str) -> None:
    values = changed("train.precision", precision)
    values["train"]["arithmetic"] = "native"
    assert check(values).train.precision == precision
    values["train"]["arithmetic"] = "portable"
    with pytest.raises(UserError, match=f"portable has no {precision}; set train.precision to "
                                        "fp32, or train.arithmetic to native"):
        check(values)


def test_native_arithmetic_is_the_configuration_from_before_there_was_a_choice() -> None:
    before, native, portable = (
        configuration(check(changed("train.arithmetic", value)))
        for value in (..., "native", "portable"))
    assert before == native
    assert portable == native | {"train.arithmetic": "portable"}


@pytest.mark.parametrize("key", leaves(VALUES))
def test_a_value_of_the_wrong_type_is_named(key: str) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: {re.escape(key)}\b.*"):
        check(changed(key, {"surely": "wrong"}))


@pytest.mark.parametrize(("key", "value"), [
    ("train.epochs", 0), ("train.epochs", -1.0), ("train.epochs", "many"),
    ("train.epochs", float("nan")), ("train.epochs", float("inf")), ("train.batch", 0),
    ("train.batch", 12.5), ("train.batch", True), ("train.batch", "32"), ("train.seed", -1),
    ("train.seed", 2**63), ("train.validate_every", 0), ("train.micro_batches", 3),
    ("train.micro_batches", 64), ("train.trace_every", 0), ("train.stop_below", 0),
    ("network.width", 0),
    ("network.width", 1.5), ("network.architecture", "resnet"), ("dataset.source", "cifar"),
    ("dataset.sample.train_images", 3), ("dataset.sample.seed", 2**32),
    ("resize.max_quarantined", -1), ("recipe.name", "letter"), ("recipe.lrn_window", "row"),
    ("recipe.spatial_norm", 1), ("recipe.bias_lr", -0.1), ("recipe.bias_lr", "fast"),
    ("recipe.crop_offsets", 31), ("recipe.crop_offsets", True), ("execution.placement", "three"),
    ("execution.threads", 0), ("execution.workers", 0), ("execution.workers", "some"),
    ("execution.workers", -2), ("execution.checkpoint_every", 0), ("execution.device", "tpu"),
    ("execution.replicas", 0), ("execution.keep_every", -1), ("execution.keep_every", True),
    ("execution.checkpoint_seconds", -1),
])
def test_a_value_out_of_range_is_named(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: {re.escape(key)}: .+") as told:
        check(changed(key, value))
    assert len(str(told.value).splitlines()) == 1


@settings(max_examples=30)
@given(st.sampled_from(["", *{key.rpartition(".")[0] + "." for key in leaves(VALUES)}]),
       st.text("abcdefgh_", min_size=1, max_size=12))
def test_an_unknown_key_is_named(section: str, name: str) -> None:
    key = section + name
    if key in leaves(VALUES) or key in VALUES:
        return
    with pytest.raises(UserError, match=rf"^params\.yaml: {re.escape(key)}: unknown key"):
        check(changed(key, 1))


def test_all_problems_are_told_at_once() -> None:
    values = changed("train.batch", -1) | {"extra": 1}
    with pytest.raises(UserError) as told:
        check(values)
    assert len(str(told.value).splitlines()) == 2


@pytest.mark.parametrize("change", [{"without": "conv3"}, {"pooling": "separate"}])
def test_variants_that_the_cifar_net_does_not_have_are_refused(change: dict[str, str]) -> None:
    values = changed("network.architecture", "cifar")
    check(values)
    values["network"] |= change
    with pytest.raises(UserError,
                       match=r"network\.architecture: cifar .* set network\.without to null"):
        check(values)


def test_a_data_set_of_files_needs_a_location() -> None:
    with pytest.raises(UserError,
                       match=r"dataset\.location: null, but dataset\.source folder needs"):
        check(changed("dataset.source", "folder"))


@pytest.mark.parametrize(("source", "origin", "message"), [
    ("sample", "official", "is not fetched from anywhere"),
    ("folder", "https://a/b", "is not fetched from anywhere"),
    ("imagenette", "official", "should be null or an address"),
    ("imagenet2010", "kaggle", "should be official, null or"),
    ("imagenet2012", "ftp://a/b", "should be official, kaggle, huggingface, null or"),
    ("imagenet2012", "/a/folder", "should be official"),
    ("imagenet2012", "https://", "should be official"),
    ("imagenet2012", "https://[x", "should be official"),
    ("imagenet2012", "https://ann:secret@a/b", "with credentials"),
    ("imagenet2012", "https://a/b?token=secret", "with credentials or a query"),
    ("imagenet2012", "https://a/b", None), ("imagenet2012", "kaggle", None),
    ("imagenet2012", "official", None), ("imagenette", "http://localhost:80/x", None),
])
def test_where_a_data_set_is_fetched_from(source: str, origin: str, message: str | None) -> None:
    values = changed("dataset.source", source)
    values["dataset"] |= {"location": "data", "origin": origin}
    if message is None:
        assert check(values).dataset.origin == origin
    else:
        with pytest.raises(UserError, match=rf"dataset\.origin: .*{message}") as refused:
            check(values)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("content", "told"),
                         [(b"train: [1,", "not YAML"), (b"\xff\xfe\x00", "not YAML"),
                          (b"- a\n- b\n", "found list"), (b"", "found NoneType"),
                          (b"a: !!python/object/apply:os.getcwd []\n", "not YAML"),
                          (b"train: 3\n", "train:"),
                         ])
def test_a_file_that_is_not_parameters_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(UserError, match=rf"params\.yaml: .*{told}"):
        load(tmp_path / "params.yaml")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file.*alexnet configure sample"):
        load(tmp_path / "params.yaml")


def test_overrides_are_read_as_yaml() -> None:
    read = load(COMMITTED, ["train.seed=7", "train.epochs=0.5", "dataset.sample.seed=3",
                            "recipe.spatial_norm=false", "recipe.momentum_at_drop=rescaled",
                            "execution.workers=3", "train.seed=8"])
    assert (read.train.seed, read.train.epochs, read.dataset.sample.seed) == (8, 0.5, 3)
    assert (read.effective_recipe().spatial_norm,
            read.effective_recipe().momentum_at_drop) == (False, "rescaled")
    assert read.execution.workers == 3
    assert load(COMMITTED, ["recipe.bias_lr=null"]).recipe.bias_lr is None


@pytest.mark.parametrize("override", ["train.sed=1", "seed=1", "train.seed", "train=1x",
                                      "=1", "", "train.seed.x=1", "train..seed=1", "train.seed=[",
                                      "nothing.at.all=2", "train.seed=soon", "execution.threads=0"])
def test_a_bad_override_is_named(override: str) -> None:
    with pytest.raises(UserError) as told:
        load(COMMITTED, [override])
    assert str(told.value).startswith(f"--set {override}: ")
    assert "params.yaml:" not in str(told.value)


@pytest.mark.parametrize(("override", "suggested"), [
    ("train.epoch=2", "train.epochs"), ("epochs=2", "train.epochs"),
    ("dataset.sed=1", "dataset.source"), ("trian.epochs=2", "train.epochs"),
    ("execution.epochs=2", "train.epochs"), ("seed=1", "dataset.sample.seed or train.seed")])
def test_the_nearest_key_is_suggested_alone(override: str, suggested: str) -> None:
    with pytest.raises(UserError, match=rf"did you mean {re.escape(suggested)}\?$"):
        load(COMMITTED, [override])


def test_a_problem_is_of_the_option_that_made_it_and_else_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(changed("train.seed", -1)))
    with pytest.raises(UserError) as told:
        load(file, ["train.epochs=0"], {"threads": "0"})
    assert [line.partition(": ")[0] for line in str(told.value).splitlines()] == [
        str(file), "--set train.epochs=0", "--threads 0"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**63 - 1), st.floats(0.01, 1))
def test_an_override_is_the_same_as_the_file(tmp_path: Path, seed: int, width: float) -> None:
    values = changed("train.seed", seed)
    values["network"]["width"] = width
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert load(tmp_path / "params.yaml") == load(COMMITTED, [f"train.seed={seed}",
                                                              f"network.width={width!r}"])


def test_read_does_not_check() -> None:
    assert read_sections(COMMITTED) == VALUES


# params.yaml from elsewhere

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in itertools.pairwise("abcdefghi"))


@pytest.mark.parametrize(("text", "told"), [
    (LAUGHS, r"an alias \(\*name\)"), ("a: &a {b: *a}", "an alias"),
    ("[" * 50_000, "not YAML"), ("x: " + "[" * 2000 + "]" * 2000, "not YAML"),
    ("train: " + "9" * 5000, "not YAML"), ("x" * 100_001, "more than 100,000 bytes"),
    ("a: 1\nb: 2\na: 3", "a stands there twice"), ("\0", "not YAML"),
    ("a: !!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
    ("a: !!python/name:os.system", "could not determine"), ("a: !!timestamp x", "not YAML"),
    ("a: 2001-99-99", "not YAML"), ("", "found NoneType"), ("- a", "found list"),
    ("--- a\n--- b", "not YAML")])
def test_yaml_that_means_harm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str,
                                         told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(UserError, match=told) as refused:
        load()
    assert len(str(refused.value)) < 500
    assert not Path("pwned").exists()


def test_a_hostile_value_is_told_in_few_words_that_fit_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(COMMITTED.read_text()
                    .replace("train:\n", 'train:\n  "\\e[2J\\u202Ekey": ' + "x" * 50_000 + "\n",
                             1).replace("epochs:", "epochs: '" + "\u202e" * 3000 + "' #"))
    with pytest.raises(UserError) as refused:
        load(file)
    message = str(refused.value)
    assert r"train.\x1b[2J\u202ekey: unknown key" in message
    assert message.replace("\n", "").isprintable()
    assert len(message) < 1500


@pytest.mark.parametrize("text", ["[" * 5000, "9" * 5000, "*a", "!!python/name:os.system"])
def test_a_set_that_means_harm_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a YAML value"):
        load(COMMITTED, [f"train.seed={text}"])
