"""params.yaml, checked: every key known, every value in range, each problem named by its full key.

`load()` returns `Parameters`; the stages read nothing else. The section of a stage has the stage's
name; `execution` holds what decides where and how fast a stage runs, never its bits, and no stage
depends on it in dvc.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from alexnet.ports import PORTS
from alexnet.recipe import Recipe, recipe
from pipeline.config.safe_yaml import NOT_YAML, flatten, load_yaml, read_sections
from pipeline.config.sections import (
    DatasetSection,
    ExecutionSection,
    NetworkSection,
    RecipeSection,
    ResizeSection,
    Section,
    StoreSection,
    TrainSection,
)
from pipeline.system.errors import UserError, closest

if TYPE_CHECKING:
    from alexnet.architectures import Name as ArchitectureName
    from alexnet.layers import Architecture

FILE = Path("params.yaml")
LONGEST_SHOWN = 200  # characters of a value in a message
Origins = Mapping[str, str]  # of values that do not stand in the file: key to where they do


class Parameters(Section):
    """All of params.yaml, each value of its type and in its range."""

    dataset: DatasetSection
    resize: ResizeSection
    store: StoreSection
    network: NetworkSection
    recipe: RecipeSection
    train: TrainSection
    execution: ExecutionSection

    def layer_table(self, classes: int) -> Architecture:
        """Return the layers of the configured network for so many classes."""
        from alexnet.architectures import architecture  # imports torch, which takes seconds

        section = self.network.model_dump(exclude={"architecture"})
        return architecture(self.architecture, self.effective_recipe(), classes, **section)

    @property
    def architecture(self) -> ArchitectureName:
        """Return the architecture, that of the recipe for `auto`."""
        named: ArchitectureName = architecture_of(self.network.architecture, self.recipe.name)
        return named

    def effective_recipe(self) -> Recipe:
        """Return the named recipe with the switches that the section sets."""
        section = self.recipe.model_dump()
        return recipe(section.pop("name"),
                      **{name: value for name, value in section.items() if value is not None})


def architecture_of(architecture: Any, recipe_name: str) -> Any:
    """Return an architecture of network.architecture, for `auto` that of the recipe."""
    if architecture != "auto":
        return architecture
    return PORTS[recipe_name].architecture if recipe_name in PORTS else "two-column"


def load(file: Path = FILE, overrides: Iterable[str] = (),
         options: Mapping[str, str] | None = None) -> Parameters:
    """Read and check the parameters of a file.

    Args:
        overrides: of `--set`: `section.key=value`, the value read as YAML.
        options: the values of options that are short for `--set execution.OPTION=VALUE`, by name.

    Raises:
        UserError: there is no such file, it is not YAML, keys are unknown or missing, values out of
            range; all of them named, with the file or the option that they stand in.
    """
    values = read_sections(file)
    origins: dict[str, str] = {}
    given = [(f"--set {override}", override) for override in overrides]
    given += [(f"--{name} {text}", f"execution.{name}={text}")
              for name, text in (options or {}).items()]
    for origin, override in given:
        key, equals, text = override.partition("=")
        *parents, last = key.split(".")
        section: Any = values
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not equals or not isinstance(section, dict) or last not in section:
            raise UserError(f"{origin}: expected section.key=value with a key that stands in "
                            f"{file}{_similar_key(key, values)}")
        try:
            section[last] = load_yaml(text)
        except NOT_YAML:
            raise UserError(f"{origin}: {text!r} is not a YAML value") from None
        origins[key] = origin
    return check(values, file, origins)


def _similar_key(key: str, values: Mapping[str, Any]) -> str:
    """Return `; did you mean ...?`: keys of that last name, else the most similar key, first of
    the same section."""
    keys = list(flatten(values))
    section, _, last = key.rpartition(".")
    same = [name for name in keys if name.rpartition(".")[0] == section]
    alike = [name for name in keys if name.rpartition(".")[2] == last]
    if alike:
        return f"; did you mean {' or '.join(alike)}?"
    return closest(key, same, 1) or closest(key, keys, 1)


def check(values: dict[str, Any], file: Path = FILE, origins: Origins | None = None) -> Parameters:
    """Return the parameters in these nested dictionaries.

    Raises:
        UserError: naming every problem, each with the file it stands in, or else its origin.
    """
    try:
        parameters = Parameters.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(_described(problem, file, origins or {})
                                  for problem in error.errors())) from None
    for keys, problem in _contradictions(parameters):
        place = next((origin for key in keys if (origin := (origins or {}).get(key))), file)
        raise UserError(f"{place}: {keys[0]}: {problem}")
    return parameters


def _described(problem: Any, file: Path, origins: Origins) -> str:
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts) or "the file"
    place = next((origins[prefix] for length in range(len(parts), 0, -1)
                  if (prefix := ".".join(parts[:length])) in origins), file)
    if problem["type"] == "extra_forbidden":
        return f"{place}: {key}: unknown key; remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"{place}: {key}: missing"
    value = repr(problem["input"])
    return (f"{place}: {key}: {problem['msg'].removeprefix('Value error, ').lower()}, not "
            f"{value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + '...'}")


def _contradictions(parameters: Parameters) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys and the problem of values that do not go together."""
    train, net = parameters.train, parameters.network
    if train.batch % train.micro_batches:
        yield (("train.micro_batches", "train.batch"),
               f"{train.micro_batches} does not divide train.batch ({train.batch})")
    if train.micro_batches & (train.micro_batches - 1):
        yield ("train.micro_batches",), f"{train.micro_batches} is not a power of two"
    if train.arithmetic == "portable" and train.precision != "fp32":
        yield (("train.arithmetic", "train.precision"),
               f"portable has no {train.precision}; set train.precision to fp32, or "
               "train.arithmetic to native")
    port = PORTS.get(parameters.recipe.name)
    if port and net.architecture not in ("auto", port.architecture):
        yield (("network.architecture", "recipe.name"),
               f"{net.architecture}, but the recipe {parameters.recipe.name} is of the net "
               f"{port.architecture}; set it to auto, or recipe.name to source")
    on_cifar = net.architecture.startswith("cifar")
    if on_cifar and (net.without or net.pooling == "separate"):
        yield (("network.architecture", "network.without", "network.pooling"),
               f"{net.architecture} has neither variants of pooling nor a middle layer to leave "
               "out; set network.without to null and network.pooling to overlapping")
    if parameters.recipe.crops == "whole" and not on_cifar:
        yield (("recipe.crops", "network.architecture"),
               f"whole, but {parameters.architecture} takes crops; set it to centre or random")
    dataset = parameters.dataset
    if dataset.data_set.files == "own" and dataset.location is None:
        yield (("dataset.location", "dataset.source"),
               f"null, but dataset.source {dataset.source} needs the folder that holds its files")
    if dataset.origin is not None and (problem := _problem_with_origin(dataset, dataset.origin)):
        yield ("dataset.origin", "dataset.source"), problem


def _problem_with_origin(dataset: DatasetSection, origin: str) -> str | None:
    data_set = dataset.data_set
    if data_set.files != "fetched":
        return (f"{origin}, but dataset.source {dataset.source} is not fetched from anywhere; set "
                "it to null")
    if origin in data_set.origins:
        return None
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return (f"input should be {', '.join((*data_set.origins, 'null'))} or an address, "
                f"https://..., for {dataset.source}")
    if parts.username or parts.password or parts.query or parts.fragment:
        return ("an address with credentials or a query in it, which would go into every record; "
                "put credentials into the environment or a netrc file (docs/data.md)")
    return None
