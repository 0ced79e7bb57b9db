"""A pre-trained net goes on with another number of classes: all but the output layer is taken over (P §6)."""

from __future__ import annotations

import torch

from alexnet.crossing import Placement
from alexnet.network import Network, architecture
from alexnet.recipe import recipe
from alexnet.training import fitting, load_weights

SOURCE = recipe("source")


def canonical(network: Network) -> dict[str, torch.Tensor]:
    parts: dict[str, list[torch.Tensor]] = {}
    for name, _, parameter in network.named_columns():
        parts.setdefault(name, []).append(parameter.detach())
    return {name: torch.cat(columns) for name, columns in parts.items()}


def test_layers_of_the_same_shape_are_taken_and_others_start_anew() -> None:
    many = canonical(Network(architecture("conv6", SOURCE, 30, 0.0625), SOURCE, seed=1))
    network = Network(architecture("conv6", SOURCE, 10, 0.0625), SOURCE, seed=2)
    before = canonical(network)
    taken = fitting(network, many)
    assert before.keys() - taken.keys() == {"fc8.weight", "fc8.bias"}
    load_weights(network, taken)
    for name, weight in canonical(network).items():
        assert torch.equal(weight, before[name] if name.startswith("fc8") else many[name]), name


def test_a_column_alone_takes_its_half() -> None:
    table = architecture("two-column", SOURCE, 10, 0.0625)
    weights = canonical(Network(table, SOURCE, seed=1))
    alone = Network(table, SOURCE, seed=2, place=Placement(mine=(1,)))
    load_weights(alone, fitting(alone, weights))
    for name, column, parameter in alone.named_columns():
        assert column == 1
        assert torch.equal(parameter, weights[name].chunk(2)[1]), name


def test_a_layer_is_taken_whole_or_not_at_all() -> None:
    network = Network(architecture("half", SOURCE, 10, 0.0625), SOURCE, seed=2)
    weights = canonical(network)
    del weights["conv3.bias"]
    assert network.table.canonical().keys() - fitting(network, weights).keys() == {"conv3.weight", "conv3.bias"}
