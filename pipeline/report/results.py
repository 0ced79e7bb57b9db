"""How the run came out: its errors, how far they can be trusted, and whether they can be held
against the paper's.

Fractions stay fractions, and the template writes them as percentages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.config.parameters import Parameters
from pipeline.report.inputs import Inputs

FULL_CLASSES = 1000
FULL_EPOCHS = 90  # P §5: "roughly 90 cycles through the training set"
Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Row:
    """A row of the table of errors, as fractions: centre crop and ten crops, top-1 and top-5; None
    where unknown."""

    what: str
    centre: tuple[float | None, float | None]
    ten: tuple[float | None, float | None]


PAPER = (
    Row("The paper, ILSVRC-2012 validation images, one network (Table 2)", (None, None),
        (0.407, 0.182)),
    Row("The paper, ILSVRC-2010 test images (Table 1; centre crop: §6, footnote)", (0.390, 0.183),
        (0.375, 0.170)),
    Row("Re-implementations by others, ILSVRC-2012 validation images, about (not in the paper)",
        (0.425, 0.196), (None, None)),
)


def errors(inputs: Inputs) -> dict[str, float]:
    """This run's, in the order of a row of the table."""
    return {name: inputs.metrics["evaluate"][name]
            for name in ("top1_error", "top5_error", "top1_error_10crop", "top5_error_10crop")}


def to_compare(classes: int) -> list[Row]:
    """Guessing, and the published numbers."""
    guessing = (1 - 1 / classes, max(0.0, 1 - 5 / classes))
    return [Row(f"Guessing among {classes:,} classes", guessing, guessing), *PAPER]


def interval(fraction: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a fraction that was found on `count` images: how far another sample
    of as many images may lie from it."""
    middle = (fraction + Z * Z / (2 * count)) / (1 + Z * Z / count)
    reach = Z / (1 + Z * Z / count) * math.sqrt(fraction * (1 - fraction) / count
                                                + Z * Z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def unlike_the_paper(parameters: Parameters, classes: int) -> list[str]:
    """Why the run's errors cannot be held against the paper's; empty where they can."""
    network, found = parameters.network, []
    if parameters.dataset.data_set.paper_table is None:
        found.append(f"its images are {data_name(parameters)}, not ImageNet's")
    if classes != FULL_CLASSES:
        found.append(f"it tells {classes:,} classes apart, not {FULL_CLASSES:,}")
    if network.width != 1:
        found.append(f"its layers have {network.width:g} of the paper's width")
    changed = [f"{name} {value}" for name, value, usual in (
        ("architecture", network.architecture, "two-column"), ("neuron", network.neuron, "relu"),
        ("normalization", network.normalization, True), ("pooling", network.pooling, "overlapping"),
        ("dropout", network.dropout, True), ("without", network.without, None)) if value != usual]
    if changed:
        found.append(f"its network is another ({', '.join(map(str, changed)).lower()})")
    if parameters.train.epochs < FULL_EPOCHS:
        found.append(f"it was trained for {parameters.train.epochs:g} epochs, not some "
                     f"{FULL_EPOCHS}")
    return found


def data_name(parameters: Parameters) -> str:
    """What to call the data set; of a folder only its name, for where it lies says nothing about
    the run."""
    dataset = parameters.dataset
    if dataset.data_set.files == "own" and dataset.location is not None:
        return dataset.location.name or dataset.data_set.title
    return dataset.data_set.title
