"""Every switch has the value of the facts sheet in either recipe, and takes no other kind."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from alexnet.recipe import Recipe, recipe, switches

FACTS: dict[str, tuple[Any, Any]] = {  # source (S), paper (P)
    "lrn_divisor": ("window", "none"),
    "lrn_k": (2, 2),
    "lrn_window": ("column", "layer"),
    "layer1_order": ("norm-pool-relu", "relu-norm-pool"),
    "layer2_order": ("relu-norm-pool", "relu-norm-pool"),
    "spatial_norm": (True, False),
    "crop_side": (224, 224),
    "conv1_padding": ("right-bottom", "symmetric"),
    "conv345_init_std": (0.03, 0.01),
    "fc67_init_std": (0.01, 0.01),
    "init": ("normal", "normal"),
    "init_bias": (1.0, 1.0),
    "fc8_init_bias": (0.0, 0.0),
    "dropout_place": ("after", "after"),
    "dropout_scaling": ("test", "test"),
    "weight_lr": (0.01, 0.01),
    "bias_lr": (0.02, 0.01),
    "weight_decay": (0.0005, 0.0005),
    "bias_decay": (0.0, 0.0005),
    "bias_schedule": ("constant", "with weights"),
    "schedule": ("hand", "hand"),
    "conv1_freezing": (True, False),
    "momentum_at_drop": ("kept", "kept"),
    "input": ("mean image", "mean image"),
    "colour_noise": ("stdev", "eigenvalue"),
    "noise_division": (True, False),
    "noise_off_late": (True, False),
    "crops": ("random", "random"),
    "crop_offsets": (33, 32),
    "images_per_crop": (32, 1),
    "mean_window": ("centre", "crop"),
    "order": ("file", "epoch"),
}


def test_the_recipes_are_those_of_the_facts() -> None:
    assert asdict(recipe("source")) == {name: source for name, (source, _) in FACTS.items()}
    assert asdict(recipe("paper")) == {name: paper for name, (_, paper) in FACTS.items()}
    assert recipe() == recipe("source") != recipe("paper")


def test_each_switch_can_be_set_alone() -> None:
    for switch in switches():
        for value in switch.choices or (0.25,):
            changed = recipe("source", **{switch.name: value})
            assert asdict(changed) == asdict(recipe("source")) | {switch.name: value}


def test_every_switch_says_where_it_comes_from() -> None:
    assert [switch.name for switch in switches()] == list(FACTS)
    for switch in switches():
        assert switch.meaning
        assert switch.source_evidence
        assert switch.paper_evidence
        assert switch.effect
        assert (switch.choices is None) != (switch.bounds is None)


@pytest.mark.parametrize("switch", switches(), ids=lambda switch: switch.name)
def test_a_wrong_value_is_refused_by_name(switch: Any) -> None:
    wrong: list[Any] = ["no such value", None, [], 7.5, -1]
    if switch.choices is None:
        wrong += [True, float("nan"), float("inf"), switch.bounds[1] * 2]
    elif isinstance(switch.choices[0], bool):
        wrong += [1, 0, "true"]
    elif isinstance(switch.choices[0], int):
        wrong += [True, float(switch.choices[0]), str(switch.choices[0]), 34]
    for value in wrong:
        if switch.bounds and value in (7.5, -1) and switch.bounds[0] <= value <= switch.bounds[1]:
            continue  # 7.5 is a possible learning rate, -1 a possible bias
        with pytest.raises(ValueError, match=rf"^recipe\.{switch.name}: "):
            recipe("source", **{switch.name: value})


def test_unknown_recipes_and_switches_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'original'"):
        recipe("original")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"recipe\.lrn_windw: no such switch.*lrn_window"):
        recipe("source", lrn_windw="layer")


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(AttributeError):
        recipe().lrn_window = "layer"  # type: ignore[misc]
    assert isinstance(recipe(), Recipe)
