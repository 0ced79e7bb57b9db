"""experiments/claims.yaml, checked; and the ledger: each claim, the paper's number, ours, the
verdict.

A claim is a number measured on every seed of one or two configurations, and a test on the numbers.
A configuration is a name for parameters that differ from a scale's; a scale is a data set and a
size of net that suit a machine.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alexnet.recipe import switches
from pipeline.config import identity, parameters, presets
from pipeline.config.parameters import Parameters
from pipeline.config.safe_yaml import read_sections
from pipeline.studies import run_sets
from pipeline.studies.run_sets import Run
from pipeline.system.errors import UserError, closest

FILE = Path("experiments/claims.yaml")
RESULTS = Path("experiments/results")
SCALES = ("sample", "imagenette", "cifar10", "imagenet")
ScaleName = Literal["sample", "imagenette", "cifar10", "imagenet"]
Values = dict[str, Any]  # section.key to value


class Part(BaseModel):
    """A part of claims.yaml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(Part):
    """A data set and what is set on it, at which claims are run."""

    preset: str
    images: tuple[int, int]  # for training and validation, to estimate the cost
    classes: int
    seeds: int = Field(ge=1)  # run unless others are named
    set: Values = {}


class Configuration(Part):
    """What is compared: settings over the base, or an ensemble of runs of other configurations."""

    set: Values = {}
    scales: dict[ScaleName, Values] = {}  # what is set besides, at a scale
    # the configuration whose weights, of the same seed, are fine-tuned
    start_from: str | None = None
    # so many runs of each configuration, their softmax outputs averaged
    ensemble: dict[str, int] | None = None


class Difference(Part):
    """The metric of `of`, less that of `less`; of one configuration, where `less_metric` is another
    metric."""

    of: str
    less: str
    metric: str
    less_metric: str | None = None


class Value(Part):
    """The measure of a claim that is a metric of one configuration."""

    of: str
    metric: str


class Epochs(Part):
    """Epochs until `curve` is `below` that, of `slow` over `fast`; each side by the configuration
    first there."""

    slow: list[str] = Field(min_length=1)
    fast: list[str] = Field(min_length=1)
    curve: Literal["training_error", "training_loss", "validation_error"]
    below: float


class Claim(Part):
    """One of the paper's, or of ours: what it says, its number, how it is measured and judged."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    section: str
    says: str
    paper: float | None = None
    log: float | None = None  # as the original code's logs have it
    unit: Literal["points", "percent", "ratio", "share", "nats"]
    measure: Difference | Value | Epochs | None = None
    # positive: the number is above 0 (a ratio: above 1). equal: it is the paper's. none: it is
    # within `margin` of 0.
    test: Literal["positive", "equal", "none"]
    margin: float | None = None
    scales: list[ScaleName] = ["sample", "imagenette", "imagenet"]
    # where the data and the net are the paper's, so that its number is tested, too
    own: list[ScaleName] = ["imagenet"]
    takes: str | None = None  # what it would take, where no scale will do

    @property
    def factor(self) -> float:
        """What a fraction is multiplied by, to be in the claim's unit."""
        return 100.0 if self.unit in ("points", "percent") else 1.0

    @property
    def neutral(self) -> float:
        """The number that would say there is no effect."""
        return 1.0 if self.unit == "ratio" else 0.0

    def configurations(self) -> list[str]:
        """Those that it compares."""
        measure = self.measure
        if isinstance(measure, Epochs):
            return [*measure.slow, *measure.fast]
        if isinstance(measure, Difference):
            return list(dict.fromkeys([measure.of, measure.less]))
        return [measure.of] if measure else []


class Book(Part):
    """The whole file."""

    base: Values
    scales: dict[ScaleName, Scale]
    configurations: dict[str, Configuration]
    claims: list[Claim]
    params: Values  # the sections of params.yaml

    def claim(self, name: str) -> Claim:
        """The claim of this name; UserError if there is none."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        near = closest(name, (one.name for one in self.claims))
        raise UserError(f"{FILE}: no claim is called "
                        f"{name}{near or '; `alexnet claims` has them all'}")

    def at(self, scale: str, location: Path | None) -> Book:
        """With the data of the scale in this folder: as its source has them, or as train/<class>/*,
        val/<class>/*."""
        if location is None:
            return self
        size = self.scales[scale]  # type: ignore[index]
        there = {"dataset.location": str(location.resolve())}
        if (location / "train").is_dir():
            there["dataset.source"] = "folder"
        moved = size.model_copy(update={"set": size.set | there})
        return self.model_copy(update={"scales": self.scales | {scale: moved}})

    def parameters(self, scale: str, name: str, seed: int, start: str | None = None) -> Parameters:
        """Of a run of the configuration at this scale; `start` is the file of weights to fine-tune.

        What the presets, `base` and the configuration do not name is as params.yaml has it.
        """
        one, size = self.configurations[name], self.scales[scale]  # type: ignore[index]
        nothing_switched = {f"recipe.{switch.name}": None for switch in switches()}
        wanted = (nothing_switched | self.base | _preset(size.preset) | size.set | one.set
                  | one.scales.get(scale, {})  # type: ignore[call-overload]
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
        """The configuration that a result of this name must have."""
        one = self.configurations[name]
        if one.ensemble:
            found = {"ensemble": yaml.safe_dump(one.ensemble, default_flow_style=True).strip()}
            return found | {f"{member}.{key}": value for member in one.ensemble
                            for key, value in self.declared(scale, member).items()}
        found = identity.configuration(self.parameters(scale, name, seed=1))
        del found["dataset.source"]  # the pictures of a scale may come as a folder, too
        if one.start_from:
            found |= {f"start_from.{key}": value
                      for key, value in self.declared(scale, one.start_from).items()}
        return found


@cache
def _preset(name: str) -> Values:
    return presets.values_of(name)


def load(file: Path = FILE) -> Book:
    """Raises UserError that names what is wrong."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        book = Book.model_validate(told | {"params": read_sections(parameters.FILE)}
                                   if isinstance(told, dict) else told)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; run this in the project's top folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError("\n".join(f"{file}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                                  for problem in error.errors())) from None
    for claim in book.claims:
        if (claim.measure is None) == (claim.takes is None):
            raise UserError(f"{file}: {claim.name}: give a measure, or say what it takes")
        if ((claim.test == "none") != (claim.margin is not None)
                or (claim.test == "equal" and claim.paper is None)):
            raise UserError(f"{file}: {claim.name}: the test none needs a margin, and equal a "
                            "number of the paper")
        for name in claim.configurations():
            if name not in book.configurations:
                raise UserError(f"{file}: {claim.name}: no configuration is called {name}")
    for name, one in book.configurations.items():
        for other in [*(one.ensemble or {}), *([one.start_from] if one.start_from else [])]:
            if other not in book.configurations:
                raise UserError(f"{file}: {name}: no configuration is called {other}")
    return book


class Results:
    """The runs in experiments/results/SCALE; those of another configuration than the file now has
    do not count."""

    def __init__(self, book: Book, scale: str, folder: Path = RESULTS) -> None:
        self.book, self.scale, self.folder = book, scale, folder / scale
        self._runs: dict[str, dict[int, Run]] = {}

    def runs(self, name: str) -> Mapping[int, Run]:
        """By seed."""
        if name not in self._runs:
            found = [run_sets.read(file) for file in sorted((self.folder / name).glob("*.json"))]
            wanted = self.book.declared(self.scale, name) if found else {}
            self._runs[name] = {run.seed: run for sample in found
                                if identity.fits(sample.configuration, wanted)
                                for run in sample.runs}
        return self._runs[name]

    def add(self, name: str, run: Run, environment: dict[str, str], command: str) -> Path:
        """Keep a run, beside those of the same configuration and environment."""
        declared = self.book.declared(self.scale, name)
        file = self.folder / name / f"{run_sets.environment_key(environment)}.json"
        stored = run_sets.read(file) if file.exists() else None
        kept = [one for one in stored.runs if one.seed != run.seed] \
            if stored and identity.fits(stored.configuration, declared) else []
        history = list(stored.history) if stored and kept else []
        if history and history[-1]["command"] == command:
            history[-1] = {"command": command, "seeds": sorted({*history[-1]["seeds"], run.seed})}
        else:
            history.append({"command": command, "seeds": [run.seed]})
        self._runs.pop(name, None)
        return run_sets.write(run_sets.RunSet(name, declared, identity.digest(declared),
                                              environment, [*kept, run], history), self.folder)
