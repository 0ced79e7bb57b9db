"""The table of data sets: one row for each that `dataset.source` can name.

A data set has one name everywhere: here, as its preset `presets/NAME.yaml`, and as its module in
`pipeline.data.sources`, which knows its files. docs/adding-a-data-set.md leads through a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Expected:
    """How many pictures a split has: in all, and in each class, in label order or alike in all, at
    least and at most."""

    pictures: int
    fewest: Sequence[int] | int
    most: Sequence[int] | int

    @staticmethod
    def exactly(*classes: int) -> Expected:
        """Return the counts of a split whose classes have so many pictures."""
        return Expected(sum(classes), classes, classes)


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: of the data set, as `dataset.source` has it.
        title: what a report calls it.
        files: `made` by the stage `download`; `fetched` into `dataset.location`, or archives/ where
            that is null; or the user's `own`, in `dataset.location`.
        classes: how many there are; None where only the files tell.
        origins: what `dataset.origin` can name, besides an address, for files that are fetched.
        paper_table: the table of the paper with results on it.
        expected: how many pictures its splits, train and val, have; empty where that is not known.
    """

    name: str
    title: str
    files: Literal["made", "fetched", "own"]
    classes: int | None
    origins: tuple[str, ...] = ()
    paper_table: int | None = None
    expected: Mapping[str, Expected] = field(default_factory=dict)


DATA_SETS = (
    DataSet("sample", "the built-in sample", "made", 10),
    DataSet("imagenet2012", "ILSVRC 2012", "fetched", 1000,
            ("official", "kaggle", "huggingface"), paper_table=2,
            expected={"train": Expected(1_281_167, 732, 1300), "val": Expected(50_000, 50, 50)}),
    DataSet("imagenet2010", "ILSVRC 2010", "fetched", 1000, ("official",), paper_table=1,
            expected={"train": Expected(1_261_406, 668, 3047), "val": Expected(50_000, 50, 50)}),
    DataSet("imagenette", "Imagenette", "fetched", 10, expected={
        "train": Expected.exactly(963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
        "val": Expected.exactly(387, 395, 357, 386, 409, 394, 389, 419, 399, 390)}),
    DataSet("cifar10", "CIFAR-10", "fetched", 10, expected={
        "train": Expected.exactly(*[5000] * 10), "val": Expected.exactly(*[1000] * 10)}),
    DataSet("folder", "a folder of pictures", "own", None),
)
BY_NAME = {data_set.name: data_set for data_set in DATA_SETS}
NAMES = tuple(BY_NAME)
