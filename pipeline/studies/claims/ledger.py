"""experiments/claims.yaml, checked: the claims, and the configurations and scales to test them by.

A claim is a number measured on every seed of one or two configurations, and a question that is
asked of the numbers. A configuration is a name for parameters that differ from a scale's; a scale
is a data set and a size of net that suit a machine.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alexnet.recipe import switches
from pipeline.config import identity, parameters, presets
from pipeline.config.parameters import Parameters
from pipeline.config.safe_yaml import read_sections
from pipeline.studies.claims.verdicts import Question
from pipeline.system.errors import UserError, closest

FILE = Path("experiments/claims.yaml")
SCALES = ("sample", "imagenette", "cifar10", "imagenet")
ScaleName = Literal["sample", "imagenette", "cifar10", "imagenet"]
NET = "net"  # in place of a scale, of claims on the net itself, which no run decides
Values = dict[str, Any]  # section.key to value


class Part(BaseModel):
    """A part of claims.yaml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(Part):
    """A data set and what is set on it, at which claims are run."""

    preset: str
    data: str  # as `Claim.data` names it
    images: tuple[int, int]  # all that the data set has for training and for validation
    classes: int
    seeds: int = Field(ge=1)  # at most, unless others are named
    set: Values = {}


class Configuration(Part):
    """One side of a comparison: settings over the base, or an ensemble of other runs."""

    set: Values = {}
    scales: dict[str, Values] = {}  # what is set besides, at a scale
    # the configuration whose weights, of the same seed, are fine-tuned
    start_from: str | None = None
    # so many runs of each configuration, their softmax outputs averaged
    ensemble: dict[str, int] | None = None


class Grid(Part):
    """Configurations of which there is one for each choice along every axis.

    Attributes:
        set: of all of them.
        axes: of each, its choices: a part of the name, which may be empty, to what it sets.
    """

    set: Values = {}
    axes: list[dict[str, Values]] = Field(min_length=1)

    def configurations(self, name: str) -> Iterator[tuple[str, Configuration]]:
        """Yield the configurations by name, which the choices are added to."""
        for choices in itertools.product(*(axis.items() for axis in self.axes)):
            values = dict(self.set)
            for _, chosen in choices:
                values |= chosen
            yield ("-".join([name, *(part for part, _ in choices if part)]),
                   Configuration(set=values))


class Difference(Part):
    """The metric of `of`, less that of `less`, or less another metric of the same runs."""

    of: str
    less: str
    metric: str
    less_metric: str | None = None


class Value(Part):
    """The measure of a claim that is a metric of one configuration."""

    of: str
    metric: str


class Epochs(Part):
    """The ratio of the epochs until `curve` is at most `below`, of `slow` over `fast`; of each side
    by the configuration that is there first.

    Attributes:
        slow, fast: the configurations of each side. Where they are screened, each has a partner at
            the same place of the other side, which differs in nothing but what is compared.
        curve: of the learning curve.
        below: the level.
        levels: at which the ratio is told as well, the highest first.
        screen: the end of the names of configurations that are as these, but shorter. They are run
            first; the best `finalists` of a side go on, by where their curves end.
        finalists: so many of a side.
    """

    slow: list[str] = Field(min_length=1)
    fast: list[str] = Field(min_length=1)
    curve: Literal["training_error", "training_loss", "validation_error"]
    below: float
    levels: list[float] = []
    screen: str | None = None
    finalists: int = Field(default=1, ge=1)

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """The configurations of both sides, the slow one first."""
        return self.slow, self.fast

    def short(self, name: str) -> str:
        """Return the name of the shorter configuration by which one is screened."""
        return f"{name}-{self.screen}"


class Net(Part):
    """A quantity of the net itself, at full width with 1000 classes: its parameters, in millions,
    or the share of them that its largest convolution has, in %."""

    quantity: Literal["parameters", "largest_convolution"]


class Claim(Part):
    """A claim of the paper's, or of ours: what it says, its number, how it is measured and tested.

    Attributes:
        name: of the claim.
        section: of the paper; `ours` of what the paper does not say.
        says: the claim in words.
        data: the paper's data set, which the number belongs to.
        paper: the number in the paper, in the claim's unit.
        log: the number in the logs of 2012.
        unit: of the numbers; fractions are multiplied by 100 for points and percent.
        measure: what is measured; None where `takes` says what that would take.
        test: positive: the number lies above 0 (a ratio: above 1), and on the paper's own data it
            is the paper's. equal: it is the paper's. none: it lies within the margin around 0.
            most: it is not above the paper's.
        margin: how far a number may be from the paper's and still be the same (a ratio: by which
            factor); stated before any run.
        scales: at which it can be run.
        note: what weakens it, as far as is known.
        takes: what it would take, where no scale will do.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    section: str
    says: str
    data: str
    paper: float | None = None
    log: float | None = None
    unit: Literal["points", "percent", "ratio", "share", "nats", "million"]
    measure: Difference | Value | Epochs | Net | None = None
    test: Literal["positive", "equal", "none", "most"]
    margin: float = Field(gt=0)
    scales: list[ScaleName] = ["sample", "imagenette", "imagenet"]
    note: str = ""
    takes: str | None = None

    @property
    def factor(self) -> float:
        """The number that a fraction is multiplied by, to be in the claim's unit."""
        return 100.0 if self.unit in ("points", "percent") else 1.0

    @property
    def places(self) -> list[str]:
        """The scales that the ledger has a row for; of what no scale tests, NET or the largest."""
        if isinstance(self.measure, Net):
            return [NET]
        return list(self.scales) if self.measure else ["imagenet"]

    def scaled(self, number: float) -> float:
        """Return a number on the scale on which seeds spread evenly: a ratio's logarithm."""
        return math.log(number) if self.unit == "ratio" else number

    def unscaled(self, number: float) -> float:
        """Return the number whose `scaled` this is."""
        return math.exp(number) if self.unit == "ratio" else number

    def question(self, own: bool) -> Question:
        """Return what is asked of the scaled numbers.

        Args:
            own: whether they were measured on all of the paper's own data, so that its number
                counts, and not only the direction.
        """
        margin = self.scaled(self.margin)
        if self.test == "none":
            return Question(None, 0.0, margin)
        target = None if self.paper is None else self.scaled(self.paper)
        if self.test == "positive":
            return (Question(0.0, target, margin) if own and target is not None
                    else Question(0.0, None, margin if target is None else target))
        assert target is not None
        return Question(None, target, margin)

    def configurations(self) -> list[str]:
        """Return the names of those that it compares."""
        measure = self.measure
        if isinstance(measure, Epochs):
            names = [*measure.slow, *measure.fast]
            return [*map(measure.short, names), *names] if measure.screen else names
        if isinstance(measure, Difference):
            return list(dict.fromkeys([measure.of, measure.less]))
        return [measure.of] if isinstance(measure, Value) else []


class Book(Part):
    """The whole file, and the sections of params.yaml; a plan is a list of claims, those first that
    decide most for their cost."""

    base: Values
    scales: dict[str, Scale]
    configurations: dict[str, Configuration]
    grids: dict[str, Grid] = {}
    claims: list[Claim]
    plans: dict[str, list[str]] = {}
    params: Values

    def claim(self, name: str) -> Claim:
        """Return the claim of this name; raise UserError if there is none."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        near = closest(name, (claim.name for claim in self.claims))
        raise UserError(f"{FILE}: no claim is called "
                        f"{name}{near or '; `alexnet claims` has them all'}")

    def named(self, names: Sequence[str], scale: str) -> list[Claim]:
        """Return the claims of these names, each once: of a plan its claims, of `all` those that
        can be run at the scale.

        Raises:
            UserError: no claim and no plan is called so.
        """
        every = [claim.name for claim in self.claims
                 if claim.configurations() and scale in claim.scales]
        listed = (listed for name in names
                  for listed in (every if name == "all" else self.plans.get(name, [name])))
        return [self.claim(name) for name in dict.fromkeys(listed)]

    def at(self, scale: str, location: Path | None) -> Book:
        """Return the book with the data of the scale in this folder: as its source has them, or as
        train/<class>/* and val/<class>/*."""
        if location is None:
            return self
        size = self.scales[scale]
        there = {"dataset.location": str(location.resolve())}
        if (location / "train").is_dir():
            there["dataset.source"] = "folder"
        moved = size.model_copy(update={"set": size.set | there})
        return self.model_copy(update={"scales": self.scales | {scale: moved}})

    def by(self, arithmetic: str) -> Book:
        """Return the book with this arithmetic in place of that of params.yaml."""
        train = self.params["train"] | {"arithmetic": arithmetic}
        return self.model_copy(update={"params": self.params | {"train": train}})

    def parameters(self, scale: str, name: str, seed: int, start: str | None = None) -> Parameters:
        """Return the parameters of a run of the configuration at this scale.

        What the presets, `base` and the configuration do not name is as params.yaml has it.

        Args:
            start: the file of weights to fine-tune.
        """
        configuration, size = self.configurations[name], self.scales[scale]
        nothing_switched = {f"recipe.{switch.name}": None for switch in switches()}
        wanted = (nothing_switched | self.base | _preset(size.preset) | size.set
                  | configuration.set | configuration.scales.get(scale, {})
                  | {"train.seed": seed, "train.start_from": start})
        values = copy.deepcopy(self.params)
        for key, value in wanted.items():
            section: Any = values
            *parents, last = key.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
            section[last] = value
        return parameters.check(values, FILE)

    def declared(self, scale: str, name: str) -> dict[str, str]:
        """Return the configuration that a result of this name must have."""
        configuration = self.configurations[name]
        if members := configuration.ensemble:
            values = {"ensemble": yaml.safe_dump(members, default_flow_style=True).strip()}
            return values | {f"{member}.{key}": value for member in members
                             for key, value in self.declared(scale, member).items()}
        values = identity.configuration(self.parameters(scale, name, seed=1))
        del values["dataset.source"]  # the pictures of a scale may come as a folder, too
        if start := configuration.start_from:
            values |= {f"start_from.{key}": value
                       for key, value in self.declared(scale, start).items()}
        return values


@cache
def _preset(name: str) -> Values:
    return presets.values_of(name)


def load(file: Path = FILE) -> Book:
    """Read and check the file.

    Raises:
        UserError: it names what is wrong.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            content["params"] = read_sections(parameters.FILE)
        book = Book.model_validate(content)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; run this in the project's top folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError("\n".join(f"{file}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                                  for problem in error.errors())) from None
    made = dict(pair for name, grid in book.grids.items() for pair in grid.configurations(name))
    if twice := made.keys() & book.configurations.keys():
        raise UserError(f"{file}: two configurations are called {min(twice)}")
    book = book.model_copy(update={"configurations": book.configurations | made})
    for problem in _problems(book):
        raise UserError(f"{file}: {problem}")
    return book


def _problems(book: Book) -> Iterator[str]:
    """Yield what the types do not say of each claim and configuration."""
    known = book.configurations
    for claim in book.claims:
        if (claim.measure is None) == (claim.takes is None):
            yield f"{claim.name}: give a measure, or say what it takes"
        if claim.test in ("equal", "most") and claim.paper is None:
            yield f"{claim.name}: the test {claim.test} needs a number of the paper"
        if claim.unit == "ratio" and claim.margin <= 1:
            yield f"{claim.name}: the margin of a ratio is a factor above 1"
        if (claim.test == "positive" and claim.paper is not None
                and claim.scaled(claim.margin) >= claim.scaled(claim.paper)):
            yield f"{claim.name}: within its margin lies an effect of nothing"
        if (isinstance(claim.measure, Epochs) and claim.measure.screen
                and len(claim.measure.slow) != len(claim.measure.fast)):
            yield f"{claim.name}: a configuration of one side has no partner of the other"
        yield from (f"{claim.name}: no configuration is called {name}"
                    for name in claim.configurations() if name not in known)
    for name, configuration in known.items():
        others = [*(configuration.ensemble or {}), *filter(None, [configuration.start_from])]
        yield from (f"{name}: no configuration is called {other}"
                    for other in others if other not in known)
        yield from (f"{name}: no scale is called {scale}"
                    for scale in configuration.scales if scale not in SCALES)
    names = {claim.name for claim in book.claims}
    for plan, listed in book.plans.items():
        if plan in names or plan == "all":
            yield f"the plan {plan}: a claim is called so"
        yield from (f"the plan {plan}: no claim is called {name}"
                    for name in listed if name not in names)
    yield from (f"no scale is called {scale}" for scale in book.scales if scale not in SCALES)
