"""From `source` to a port, one difference after the other: the configurations and claims that are
run, by the machinery of `pipeline.studies.claims`.

Every step keeps the differences of the steps before it. What `alexnet claims` does not list stands
in no file: it follows from the recipes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from alexnet.ports import PORTS
from alexnet.recipe import Name, recipe
from pipeline.config.recipes import ARCHITECTURE, Difference, as_yaml, differences
from pipeline.studies.claims.ledger import Book, Claim, Configuration, ScaleName
from pipeline.studies.claims.ledger import Difference as Measured

METRIC = "evaluate.top1_error"  # of the centre crop, as the ports publish it
MARGIN = 1.0  # points: what is not told from nothing, as of the switches in claims.yaml
SCALES: list[ScaleName] = ["sample", "imagenette", "imagenet"]
BASE = "base"  # of claims.yaml: `source`
PORTED: tuple[Name, ...] = tuple(name for name in get_args(Name) if name in PORTS)
# Differences of which one means nothing without the other; the step is called after the first.
TOGETHER = (
    ("recipe.layer1_order", "recipe.layer2_order"),
    ("recipe.crop_side", "recipe.conv1_padding"),
    ("recipe.input", "recipe.init"),  # inputs of 0..255 and weights that presume inputs near 1
    ("recipe.colour_noise", "recipe.noise_division", "recipe.noise_off_late"),
)
# Which a scale decides, for all of its runs alike.
OF_THE_SCALE = ("train.batch", "train.epochs", "store.encoding")


@dataclass(frozen=True)
class Step:
    """A step of the waterfall.

    Attributes:
        name: of its configuration and of its claim.
        differences: that it adds.
    """

    name: str
    differences: tuple[Difference, ...]

    @property
    def says(self) -> str:
        """What the claim says, in words."""
        return "; ".join(f"{each.key.removeprefix('recipe.')} {as_yaml(each.values[1])} (source: "
                         f"{as_yaml(each.values[0])})" for each in self.differences)


def whole(port: Name) -> str:
    """Return the name of the port's configuration, and of the claim that it is as `source`."""
    return f"port-{port}"


def figure_of(port: Name, folder: Path) -> Path:
    """Return where the figure of a port's waterfall is, in the folder of a scale's results."""
    return folder / f"{whole(port)}.svg"


@functools.cache
def steps(port: Name) -> tuple[Step, ...]:
    """Return the steps from `source` to a port, in the order of the paper's sections."""
    there = {each.key: each for each in differences("source", port)
             if each.key not in OF_THE_SCALE}
    ordered: list[Step] = []
    for key in list(there):
        if key not in there:
            continue
        group = next((keys for keys in TOGETHER if key in keys), (key,))
        added = tuple(there.pop(each) for each in group if each in there)
        slug = added[0].key.split(".")[1].replace("_", "-")
        ordered.append(Step(f"{port}-{len(ordered) + 1:02}-{slug}", added))
    return tuple(ordered)


def book_with(book: Book, port: Name) -> Book:
    """Return the book with the configurations and the claims of a port's waterfall, besides its
    own."""
    configurations, claims = dict(book.configurations), list(book.claims)
    before, last = BASE, len(steps(port)) - 1
    claims.append(_claim(whole(port), f"the recipe {port} instead of source", whole(port), BASE))
    for number, step in enumerate(steps(port)):
        settings = _settings(port, number)
        name = whole(port) if number == last else _shared(port, number)
        configurations[name] = (_port(port, settings) if number == last
                                else Configuration(set=settings))
        claims.append(_claim(step.name, step.says, name, before))
        before = name
    return book.model_copy(update={"configurations": configurations, "claims": claims})


def _settings(port: Name, number: int) -> dict[str, Any]:
    """Return what is set after the port's step of this number, counted from 0."""
    return {each.key: each.values[1]
            for step in steps(port)[:number + 1] for each in step.differences}


def _shared(port: Name, number: int) -> str:
    """Return the name of the configuration after a step: that of the first port with a step after
    which as much is set, so that ports share the runs of what they have in common."""
    settings = _settings(port, number)
    return next(steps(other)[number].name for other in PORTED
                if number < len(steps(other)) - 1 and _settings(other, number) == settings)


def with_all(book: Book) -> Book:
    """Return the book with every port's configurations and claims."""
    for port in PORTED:
        book = book_with(book, port)
    return book


def names(port: Name) -> list[str]:
    """Return the claims of a port: the whole difference first, then each step's."""
    return [whole(port), *(step.name for step in steps(port))]


def _port(port: Name, settings: dict[str, Any]) -> Configuration:
    """Return the port itself: its recipe, and what of the settings is no switch."""
    assert all(getattr(recipe(port), key.split(".")[1]) == value
               for key, value in settings.items() if key.startswith("recipe."))
    others = {key: value for key, value in settings.items() if not key.startswith("recipe.")}
    return Configuration(set=others | {"recipe.name": port, ARCHITECTURE: "auto"})


def _claim(name: str, says: str, of: str, less: str) -> Claim:
    return Claim(name=name, section="ours", says=says, data="ours", unit="points", test="none",
                 margin=MARGIN, scales=SCALES,
                 measure=Measured(of=of, less=less, metric=METRIC))


def chosen(book: Book, ports: Sequence[Name], whole_only: bool) -> list[Claim]:
    """Return the claims to run: of all ports the whole first, so that a budget that ends early has
    answered that; then the steps."""
    firsts = [whole(port) for port in ports]
    rest = [] if whole_only else [name for port in ports for name in names(port)[1:]]
    return [book.claim(name) for name in (*firsts, *rest)]
