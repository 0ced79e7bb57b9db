"""Canonical weights: out of a state, into a network, and into another for fine-tuning (P §6)."""

from __future__ import annotations

import torch

from alexnet.architectures import Name, architecture
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.placement import Placement
from alexnet.recipe import recipe
from alexnet.weights import load_weights, matching_weights, weights_of
from tests.alexnet.runs import Run, training

SOURCE = recipe("source")


def network(name: Name, classes: int, seed: int) -> Network:
    return Network(architecture(name, SOURCE, classes, 0.0625), SOURCE, seed)


def canonical(of: Network) -> dict[str, torch.Tensor]:
    parts: dict[str, list[torch.Tensor]] = {}
    for name, _, parameter in of.named_columns():
        parts.setdefault(name, []).append(parameter.detach().clone())
    return {name: torch.cat(columns) for name, columns in parts.items()}


def test_weights_of_a_state_can_be_loaded() -> None:
    state = training(Run(batch=4))
    state.advance()
    merged = state.state()
    assert merged is not None
    weights, other = weights_of(merged), network("two-column", 10, seed=1)
    assert digest_of(canonical(other)) != digest_of(weights)
    load_weights(other, weights)
    assert digest_of(canonical(other)) == digest_of(weights)


def test_layers_of_the_same_shape_are_taken_and_others_start_anew() -> None:
    """A net of more classes goes on with fewer: all but the output layer is taken over."""
    before, after = canonical(network("conv6", 30, seed=1)), network("conv6", 10, seed=2)
    start = canonical(after)
    taken = matching_weights(after, before)
    assert start.keys() - taken.keys() == {"fc8.weight", "fc8.bias"}
    load_weights(after, taken)
    for name, weight in canonical(after).items():
        assert torch.equal(weight, start[name] if name.startswith("fc8") else before[name]), name


def test_a_layer_that_the_other_net_does_not_have_starts_anew() -> None:
    taken = matching_weights(network("conv6", 10, seed=2), canonical(network("two-column", 10, 1)))
    assert "conv6.weight" not in taken
    assert {"conv5.weight", "fc6.weight"} <= taken.keys()


def test_a_column_alone_takes_its_half() -> None:
    table = architecture("two-column", SOURCE, 10, 0.0625)
    weights = canonical(Network(table, SOURCE, seed=1))
    alone = Network(table, SOURCE, seed=2, placement=Placement(held=(1,)))
    load_weights(alone, matching_weights(alone, weights))
    for name, column, parameter in alone.named_columns():
        assert column == 1
        assert torch.equal(parameter, weights[name].chunk(2)[1]), name


def test_a_layer_is_taken_whole_or_not_at_all() -> None:
    half = network("half", 10, seed=2)
    weights = canonical(half)
    del weights["conv3.bias"]
    taken = matching_weights(half, weights)
    assert half.table.canonical().keys() - taken.keys() == {"conv3.weight", "conv3.bias"}
