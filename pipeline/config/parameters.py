"""params.yaml, checked: every key known, every value in range, each problem told by its full name.

`load()` yields a `Parameters`; the stages read nothing else. The section of a stage has the stage's
name; `execution` holds what decides where and how fast a stage runs, never its bits, and no stage
depends on it in dvc.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
)

from alexnet.recipe import Recipe, recipe, switches
from pipeline.system.errors import UserError, closest

if TYPE_CHECKING:
    from alexnet.layers import Architecture

FILE = Path("params.yaml")
# besides addresses
ORIGINS = {"imagenet2012": ("official", "kaggle", "huggingface"), "imagenet2010": ("official",)}


LARGEST = 100_000  # bytes; it has some 5,000
LONGEST_SHOWN = 200  # characters of a value in a message
# of its reader
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


class Section(BaseModel):
    """A section of params.yaml: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _path(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str) else value


def _workers(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("input should be a number from 1, or auto")


class SampleSection(Section):
    """The generated data set."""

    seed: int = Field(ge=0, lt=2**32)
    train_images: int = Field(ge=20, le=100_000)
    val_images: int = Field(ge=10, le=100_000)


class DatasetSection(Section):
    """Which data set, where its files are, where they come from."""

    source: Literal["sample", "imagenet2012", "imagenet2010", "imagenette", "cifar10", "folder"]
    location: Annotated[Path | None, BeforeValidator(_path)]
    origin: str | None
    sample: SampleSection


class ResizeSection(Section):
    """How pictures become stored images."""

    side: Literal[256, 32]
    order_seed: int = Field(ge=0, lt=2**32)
    max_quarantined: int = Field(ge=0)


class StoreSection(Section):
    """How the image store keeps pixels."""

    encoding: Literal["raw", "jpeg"]


class NetworkSection(Section):
    """Which network, and what it goes without (the paper's experiments)."""

    architecture: Literal["two-column", "half", "undivided", "conv6", "cifar"]
    width: float = Field(gt=0, le=1)
    neuron: Literal["relu", "tanh"]
    normalization: bool
    pooling: Literal["overlapping", "separate"]
    dropout: bool
    without: Literal["conv3", "conv4", "conv5", "fc6", "fc7"] | None


RecipeSection = create_model(
    "RecipeSection", __base__=Section, name=(Literal["source", "paper"], ...),
    **{switch.name: (Any, None) for switch in switches()})  # type: ignore[call-overload]


class TrainSection(Section):
    """How long and in what portions a training goes, and what it leaves on its way."""

    seed: int = Field(ge=0, lt=2**63)
    epochs: float = Field(gt=0, le=10_000)
    batch: int = Field(ge=1, le=65_536)
    micro_batches: int = Field(ge=1, le=1024)
    precision: Literal["fp32", "tf32", "bf16"]
    validate_every: float = Field(gt=0)
    trace_every: int = Field(ge=1)
    start_from: str | None


class ExecutionSection(Section):
    """Where and how fast a run goes; `threads`, `device` and `deterministic` may show in last
    bits."""

    placement: Literal["auto", "one", "two"]
    device: Literal["auto", "cpu", "cuda"]
    replicas: int = Field(ge=1, le=1024)
    threads: int = Field(ge=1, le=1024)
    workers: Annotated[int | Literal["auto"], PlainValidator(_workers)]
    scheduler: str | None
    checkpoint_every: int = Field(ge=1)
    deterministic: bool


class Parameters(Section):
    """All of params.yaml, checked."""

    dataset: DatasetSection
    resize: ResizeSection
    store: StoreSection
    network: NetworkSection
    recipe: RecipeSection  # type: ignore[valid-type]
    train: TrainSection
    execution: ExecutionSection

    def the_table(self, classes: int) -> Architecture:
        """The layers of the configured network."""
        from alexnet.architectures import (
            architecture,  # imports torch, which most commands do without
        )

        section = self.network.model_dump()
        return architecture(section.pop("architecture"), self.the_recipe(), classes, **section)

    def the_recipe(self) -> Recipe:
        """The named recipe with the switches that the section sets."""
        section = self.recipe.model_dump()  # type: ignore[attr-defined]
        return recipe(section.pop("name"),
                      **{name: value for name, value in section.items() if value is not None})


def load(file: Path = FILE, overrides: Iterable[str] = ()) -> Parameters:
    """Read and check the parameters; each override is `section.key=value`, its value read as YAML.

    Raises:
        UserError: no such file, broken YAML, an unknown or missing key, a value out of range; all
            of them named.
    """
    return check(_overridden(read(file), overrides, file), file)


def check(values: dict[str, Any], file: Path = FILE) -> Parameters:
    """The parameters in these nested dictionaries, or a UserError that names every problem."""
    try:
        parameters = Parameters.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join([f"{file}: {_told(problem)}"
                                   for problem in error.errors()])) from None
    try:
        parameters.the_recipe()
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    if parameters.train.batch % parameters.train.micro_batches:
        raise UserError(f"{file}: train.micro_batches: {parameters.train.micro_batches} does not "
                        f"divide train.batch ({parameters.train.batch})")
    if parameters.train.micro_batches & (parameters.train.micro_batches - 1):
        raise UserError(f"{file}: train.micro_batches: {parameters.train.micro_batches} is not a "
                        "power of two")
    net = parameters.network
    if net.architecture == "cifar" and (net.without or net.pooling == "separate"):
        raise UserError(f"{file}: network.architecture: cifar has neither variants of pooling nor "
                        "a middle layer to leave out; set network.without to null and "
                        "network.pooling to overlapping")
    _check_dataset(parameters.dataset, file)
    return parameters


def _check_dataset(dataset: DatasetSection, file: Path) -> None:
    """Where its files are, and where they come from."""
    if dataset.source == "folder" and dataset.location is None:
        raise UserError(f"{file}: dataset.location: null, but dataset.source folder needs the "
                        "folder that holds its files")
    if dataset.origin is None:
        return
    names = ORIGINS.get(dataset.source, ())
    if dataset.source in ("sample", "folder"):
        raise UserError(f"{file}: dataset.origin: {dataset.origin}, but dataset.source "
                        f"{dataset.source} is not fetched from anywhere; set it to null")
    if dataset.origin in names:
        return
    try:
        parts = urlsplit(dataset.origin)
        good = parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise UserError(f"{file}: dataset.origin: input should be {', '.join((*names, 'null'))} or "
                        f"an address, https://..., for {dataset.source}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(f"{file}: dataset.origin: an address with credentials or a query in it, "
                        "which would go into every record; put credentials into the environment or "
                        "a netrc file (docs/data.md)")


def _told(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or mend its spelling"
    if problem["type"] == "missing":
        return f"{key}: missing"
    found = repr(problem["input"])
    return (f"{key}: {problem['msg'].removeprefix('Value error, ').lower()}, not "
            f"{found if len(found) <= LONGEST_SHOWN else found[:LONGEST_SHOWN] + '...'}")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain YAML: no aliases, by which a few lines stand for gigabytes; no key twice, of which one
    would be lost."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None,
                                                    "an alias (*name), which is not taken here",
                                                    self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None,
                                                        f"{key.value} stands there twice",
                                                        key.start_mark)
            seen.add(key.value if isinstance(key.value, str) else None)
        return super().construct_mapping(node, deep)


def read(file: Path = FILE) -> dict[str, Any]:
    """The file's nested dictionaries, unchecked; UserError when there is no such file or it is no
    YAML of sections."""
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"{file}: more than {LARGEST:,} bytes are no parameters")
        values = yaml.load(text.decode(), _Loader)  # noqa: S506  (it is a SafeLoader)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file in {os.getcwd()}; run this in the project's top "
                        "folder") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except NOT_YAML as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected sections (dataset, resize, ...), found "
                        f"{type(values).__name__}")
    return values


def _overridden(values: dict[str, Any], overrides: Iterable[str], file: Path) -> dict[str, Any]:
    for override in overrides:
        key, equals, text = override.partition("=")
        *parents, last = key.split(".")
        section: Any = values
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not equals or not isinstance(section, dict) or last not in section:
            from pipeline.config.presets import leaves  # which imports this module

            near = closest(key, (name for name, _ in leaves(values)))
            raise UserError(f"--set {override}: expected section.key=value with a key that stands "
                            f"in {file}{near}")
        try:
            section[last] = yaml.load(text, _Loader)  # noqa: S506
        except NOT_YAML:
            raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
    return values
