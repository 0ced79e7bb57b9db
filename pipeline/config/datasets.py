"""The table of data sets: one row for each that `dataset.source` can name.

A data set has one name everywhere: here, as its preset `presets/NAME.yaml`, and as its module in
`pipeline.data.sources`, which knows its files. docs/adding-a-data-set.md leads through a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """

    name: str
    title: str
    files: Literal["made", "fetched", "own"]
    classes: int | None
    origins: tuple[str, ...] = ()
    paper_table: int | None = None


DATA_SETS = (
    DataSet("sample", "the built-in sample", "made", 10),
    DataSet("imagenet2012", "ILSVRC 2012", "fetched", 1000,
            ("official", "kaggle", "huggingface"), paper_table=2),
    DataSet("imagenet2010", "ILSVRC 2010", "fetched", 1000, ("official",), paper_table=1),
    DataSet("imagenette", "Imagenette", "fetched", 10),
    DataSet("cifar10", "CIFAR-10", "fetched", 10),
    DataSet("folder", "a folder of pictures", "own", None),
)
BY_NAME = {data_set.name: data_set for data_set in DATA_SETS}
NAMES = tuple(BY_NAME)
