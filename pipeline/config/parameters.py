"""params.yaml, checked: every key known, every value in range, each problem told by its full name.

`load()` yields a `Parameters`; the stages read nothing else. The section of a stage has the stage's
name; `execution` holds what decides where and how fast a stage runs, never its bits, and no stage
depends on it in dvc.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from alexnet.recipe import Recipe, recipe
from pipeline.config import datasets
from pipeline.config.datasets import DataSet
from pipeline.config.safe_yaml import NOT_YAML, flatten, load_yaml, read_sections
from pipeline.system.errors import UserError, closest

if TYPE_CHECKING:
    from alexnet.layers import Architecture

FILE = Path("params.yaml")
LONGEST_SHOWN = 200  # characters of a value in a message


class Section(BaseModel):
    """A section of params.yaml: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _path(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str) else value


def _workers(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("input should be a number from 1, or auto")


def _data_set(value: str) -> str:
    if value not in datasets.BY_NAME:
        raise ValueError(f"input should be {', '.join(datasets.NAMES)}")
    return value


class SampleSection(Section):
    """The generated data set."""

    seed: int = Field(ge=0, lt=2**32)
    train_images: int = Field(ge=20, le=100_000)
    val_images: int = Field(ge=10, le=100_000)


class DatasetSection(Section):
    """Which data set, where its files are, where they come from."""

    source: Annotated[str, AfterValidator(_data_set)]
    location: Annotated[Path | None, BeforeValidator(_path)]
    origin: str | None
    incomplete: bool = False  # files from before this key have none
    sample: SampleSection

    @property
    def data_set(self) -> DataSet:
        """Return what is known of the data set that `source` names."""
        return datasets.BY_NAME[self.source]


class ResizeSection(Section):
    """How pictures become stored images."""

    side: Literal[256, 32]
    filter: Literal["bicubic", "area"] = "bicubic"  # which older records do not name
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


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A whole number stays 0, and does not become 0.0: stored evidence has its text."""
    number = check(value)
    return value if isinstance(value, int) else number


def _whole(value: Any) -> Any:
    if type(value) is not int:  # True == 1, and 33.0 == 33
        raise ValueError("input should be a whole number")
    return value


AsGiven, Whole = WrapValidator(_as_given), BeforeValidator(_whole)
Rate = Annotated[float, Field(ge=0, le=10), AsGiven]
Decay = Annotated[float, Field(ge=0, le=1), AsGiven]


class RecipeSection(Section):
    """The named recipe, and its switches: None leaves one as the recipe has it."""

    name: Literal["source", "paper"]
    lrn_divisor: Literal["window", "none"] | None = None
    lrn_window: Literal["column", "layer"] | None = None
    layer1_order: Literal["norm-pool-relu", "relu-norm-pool"] | None = None
    spatial_norm: bool | None = None
    conv1_padding: Literal["right-bottom", "symmetric"] | None = None
    conv345_init_std: Annotated[float, Field(ge=1e-6, le=1), AsGiven] | None = None
    dropout_scaling: Literal["test", "train"] | None = None
    weight_lr: Rate | None = None
    bias_lr: Rate | None = None
    weight_decay: Decay | None = None
    bias_decay: Decay | None = None
    bias_schedule: Literal["constant", "with weights"] | None = None
    schedule: Literal["hand", "dexp", "flat"] | None = None
    conv1_freezing: bool | None = None
    momentum_at_drop: Literal["kept", "rescaled"] | None = None
    colour_noise: Literal["stdev", "eigenvalue", "eigenvalue-unit", "none"] | None = None
    noise_division: bool | None = None
    noise_off_late: bool | None = None
    crops: Literal["random", "centre"] | None = None
    crop_offsets: Annotated[Literal[33, 32], Whole] | None = None
    images_per_crop: Annotated[Literal[32, 1], Whole] | None = None
    mean_window: Literal["centre", "crop"] | None = None
    order: Literal["file", "epoch"] | None = None


class TrainSection(Section):
    """How long and in what portions a training goes, and what it leaves on its way."""

    seed: int = Field(ge=0, lt=2**63)
    epochs: float = Field(gt=0, le=10_000)
    batch: int = Field(ge=1, le=65_536)
    micro_batches: int = Field(ge=1, le=1024)
    # absent from records that are older than the choice: PyTorch's own kernels were all there was
    arithmetic: Literal["portable", "native"] = "native"
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
    recipe: RecipeSection
    train: TrainSection
    execution: ExecutionSection

    def the_table(self, classes: int) -> Architecture:
        """The layers of the configured network."""
        from alexnet.architectures import architecture  # imports torch, which takes seconds

        section = self.network.model_dump()
        return architecture(section.pop("architecture"), self.the_recipe(), classes, **section)

    def the_recipe(self) -> Recipe:
        """The named recipe with the switches that the section sets."""
        section = self.recipe.model_dump()
        return recipe(section.pop("name"),
                      **{name: value for name, value in section.items() if value is not None})


Origins = Mapping[str, str]  # of values that do not stand in the file: key to where they do


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
    if net.architecture == "cifar" and (net.without or net.pooling == "separate"):
        yield (("network.architecture", "network.without", "network.pooling"),
               "cifar has neither variants of pooling nor a middle layer to leave out; set "
               "network.without to null and network.pooling to overlapping")
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
