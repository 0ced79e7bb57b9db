"""The sections of params.yaml: each key with its type and range; the file says what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from pipeline.config import datasets
from pipeline.config.datasets import DataSet

MOST_PROCESSORS = 1024  # of a machine that processes or threads are shared out over


class Section(BaseModel):
    """A section of params.yaml: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _path(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str) else value


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool)
                           and 1 <= value <= MOST_PROCESSORS):
        return value
    raise ValueError(f"input should be a number from 1 to {MOST_PROCESSORS}, or auto")


AutoOrCount = Annotated[int | Literal["auto"], PlainValidator(_auto_or_count)]


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
    mode: Literal["centre", "squash"] = "centre"  # which older records do not name
    filter: Literal["bicubic", "area"] = "bicubic"  # which older records do not name
    order_seed: int = Field(ge=0, lt=2**32)
    max_quarantined: int = Field(ge=0)


class StoreSection(Section):
    """How the image store keeps pixels."""

    encoding: Literal["raw", "jpeg"]


class NetworkSection(Section):
    """Which network, and what it goes without (the paper's experiments)."""

    architecture: Literal["auto", "two-column", "half", "undivided", "conv6", "one-weird-trick",
                          "cifar", "cifar-11pct", "cifar-18pct"]
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
Spread = Annotated[float, Field(ge=1e-6, le=1), AsGiven]
Bias = Annotated[float, Field(ge=-10, le=10), AsGiven]


class RecipeSection(Section):
    """The named recipe, and its switches: None leaves one as the recipe has it."""

    name: Literal["source", "paper", "caffe", "caffenet", "torchvision", "one-weird-trick"]
    lrn_divisor: Literal["window", "none"] | None = None
    lrn_k: Annotated[Literal[2, 1], Whole] | None = None
    lrn_window: Literal["column", "layer"] | None = None
    layer1_order: Literal["norm-pool-relu", "relu-norm-pool", "relu-pool-norm",
                          "relu-pool"] | None = None
    layer2_order: Literal["relu-norm-pool", "relu-pool-norm", "relu-pool"] | None = None
    spatial_norm: bool | None = None
    crop_side: Annotated[Literal[224, 227], Whole] | None = None
    conv1_padding: Literal["right-bottom", "symmetric", "none"] | None = None
    conv345_init_std: Spread | None = None
    fc67_init_std: Spread | None = None
    init: Literal["normal", "torch"] | None = None
    init_bias: Bias | None = None
    fc8_init_bias: Bias | None = None
    dropout_place: Literal["after", "before"] | None = None
    dropout_scaling: Literal["test", "train"] | None = None
    weight_lr: Rate | None = None
    bias_lr: Rate | None = None
    weight_decay: Decay | None = None
    bias_decay: Decay | None = None
    bias_schedule: Literal["constant", "with weights", "one drop"] | None = None
    schedule: Literal["hand", "hand-2010", "hand-147", "hand-148", "fine-tuning", "dexp",
                      "step-20", "step-30", "flat"] | None = None
    conv1_freezing: bool | None = None
    momentum_at_drop: Literal["kept", "rescaled"] | None = None
    input: Literal["mean image", "channels"] | None = None
    colour_noise: Literal["stdev", "eigenvalue", "eigenvalue-unit", "none"] | None = None
    noise_division: bool | None = None
    noise_off_late: bool | None = None
    crops: Literal["random", "centre", "whole", "resized"] | None = None
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
    stop_below: float | None = Field(default=None, gt=0, lt=1)  # older files have none
    start_from: str | None


class ExecutionSection(Section):
    """Where and how fast a run goes; in native arithmetic `threads`, `device` and `deterministic`
    may show in last bits."""

    placement: Literal["auto", "one", "two"]
    device: Literal["auto", "cpu", "cuda"]
    replicas: int = Field(ge=1, le=1024)
    threads: AutoOrCount
    workers: AutoOrCount
    scheduler: str | None
    checkpoint_every: int = Field(ge=1)
    checkpoint_seconds: int = Field(default=0, ge=0)  # older records name neither this
    keep_every: int = Field(default=0, ge=0)  # nor this
    deterministic: bool
