"""In what two recipes differ, each value with the file and line, or the section, where it
stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alexnet.ports import PORTS, Decided
from alexnet.recipe import Name, evidence, recipe, switches
from pipeline.config.parameters import architecture_of

ARCHITECTURE = "network.architecture"
NOT_SAID = "its files do not say; as in source"
# What is no switch, by the recipes that are no ports.
SOURCE = {
    "train.batch": Decided(128, "S layer-params-145.cfg; P §5"),
    "train.epochs": Decided(91, "S layer-params-145.cfg: epoch 91: killed"),
    "resize.mode": Decided("centre", "C2 make-data.py; P §2"),
    "resize.filter": Decided("bicubic", "a choice of this project; docs/deviations.md"),
    "store.encoding": Decided("raw", "a choice of this project; docs/deviations.md"),
}
PAPER = SOURCE | {"train.epochs": Decided(90, "P §5: roughly 90 cycles"),
                  "train.batch": Decided(128, "P §5"), "resize.mode": Decided("centre", "P §2")}


@dataclass(frozen=True)
class Difference:
    """A value in which two recipes differ.

    Attributes:
        key: of params.yaml.
        values: in the two recipes.
        evidence: of both, where it stands.
    """

    key: str
    values: tuple[Any, Any]
    evidence: tuple[str, str]


def settings_of(name: Name) -> dict[str, Decided]:
    """Return what a recipe decides that is no switch: the net, the batch, the epochs, the input."""
    if name not in PORTS:
        return {ARCHITECTURE: Decided("two-column", "S layers-145.cfg; P Fig. 2"),
                **(PAPER if name == "paper" else SOURCE)}
    port = PORTS[name]
    return {ARCHITECTURE: Decided(architecture_of("auto", name), port.files),
            **{key: port.settings.get(key, Decided(usual.value, NOT_SAID))
               for key, usual in SOURCE.items()}}


def differences(first: Name, second: Name) -> list[Difference]:
    """Return all in which two recipes differ, the net first, then the switches in the order of the
    paper's sections, then batch, epochs and input."""
    values = {switch.name: (getattr(recipe(first), switch.name),
                            getattr(recipe(second), switch.name)) for switch in switches()}
    switched = [Difference(f"recipe.{name}", both, (_where(first, name), _where(second, name)))
                for name, both in values.items() if both[0] != both[1]]
    of_first, of_second = settings_of(first), settings_of(second)
    others = [Difference(key, (of_first[key].value, of_second[key].value),
                         (of_first[key].evidence, of_second[key].evidence))
              for key in of_first if of_first[key].value != of_second[key].value]
    net = [each for each in others if each.key == ARCHITECTURE]
    return [*net, *switched, *(each for each in others if each.key != ARCHITECTURE)]


def _where(name: Name, switch_name: str) -> str:
    switch = next(each for each in switches() if each.name == switch_name)
    return evidence(name, switch) or NOT_SAID


def comparison(first: Name, second: Name) -> dict[str, Any]:
    """Return the differences of two recipes as plain values, and what remains of each that is a
    port and no recipe has."""
    return {"recipe": first, "against": second,
            "files": {name: PORTS[name].files for name in (first, second) if name in PORTS},
            "differences": [{"key": each.key, first: each.values[0], second: each.values[1],
                             "evidence": {first: each.evidence[0], second: each.evidence[1]}}
                            for each in differences(first, second)],
            "remains": {name: list(PORTS[name].remains) for name in (first, second)
                        if name in PORTS}}


def lines(compared: dict[str, Any]) -> list[str]:
    """Return a comparison as people read it: three lines for each difference, and what remains."""
    names = compared["recipe"], compared["against"]
    written = [f"{name}: {files}" for name, files in compared["files"].items()]
    width = max(len(name) for name in names)
    for each in compared["differences"]:
        written += ["", each["key"], *(f"  {name:{width}}  {as_yaml(each[name])}  "
                                       f"({each['evidence'][name]})" for name in names)]
    for name, remaining in compared["remains"].items():
        written += ["", f"{name}, what no switch is for", *(f"  {what}" for what in remaining)]
    return written


def as_yaml(value: Any) -> str:
    """Return a value as params.yaml writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
