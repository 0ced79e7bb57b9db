"""How the run came out: its errors, their intervals, what is good on its data, and whether they can
be compared with the paper's.

Fractions stay fractions, and the template writes them as percentages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alexnet.ports import PORTS
from pipeline.config.crops import SUFFIXES, suffix_of
from pipeline.config.parameters import Parameters
from pipeline.report.inputs import Inputs
from pipeline.studies import yardsticks
from pipeline.studies.run_sets import RunSet
from pipeline.studies.yardsticks import Yardstick
from pipeline.system.terminal import duration

CENTRE = ("top1_error", "top5_error")
FULL_CLASSES = 1000
FULL_EPOCHS = 90  # P §5: "roughly 90 cycles through the training set"


@dataclass(frozen=True)
class ErrorRow:
    """A row of the table of errors, as fractions: centre crop and ten crops, top-1 and top-5; None
    where unknown."""

    what: str
    centre: tuple[float | None, float | None]
    ten: tuple[float | None, float | None]


PAPER = (
    ErrorRow("The paper, ILSVRC-2012 validation images, one network (Table 2)",
             (None, None), (0.407, 0.182)),
    ErrorRow("The paper, ILSVRC-2010 test images (Table 1; centre crop: §6, footnote)",
             (0.390, 0.183), (0.375, 0.170)),
    ErrorRow("Re-implementations by others, ILSVRC-2012 validation images, about",
             (0.425, 0.196), (None, None)),
)


def errors(inputs: Inputs) -> dict[str, float]:
    """Return this run's errors as fractions, in the order of a row of the table; the last two are
    those of several crops."""
    measured = inputs.metrics["evaluate"]
    return {name: measured[name] for name in _names(measured)}


def _names(measured: Mapping[str, Any]) -> list[str]:
    return [*CENTRE, *(f"{name}{suffix_of(measured)}" for name in CENTRE)]


def best(inputs: Inputs) -> Yardstick | None:
    """Return what is good on this run's data: the kept set of runs with the lowest mean top-1 error
    with several crops, of those on as many pictures of the same data set, or on the same pixels
    from elsewhere.

    Returns:
        None where no such set is kept.
    """
    source, here = inputs.parameters.dataset.source, inputs.metrics["resize"]

    def is_of_these(run_set: RunSet) -> bool:
        stored = run_set.runs[0].metrics.get("resize", {}) if run_set.runs else {}
        return (stored.get("pixels_digest") == here["pixels_digest"]
                or (run_set.configuration.get("dataset.source") == source
                    and all(stored.get(count) == here[count]
                            for count in ("train_images", "val_images"))))

    of_these = filter(is_of_these, inputs.evidence.run_sets)
    return min(filter(None, map(yardsticks.of, of_these)), default=None, key=Yardstick.top1)


def good_here(inputs: Inputs, classes: int) -> tuple[str, str]:
    """Return a heading and a sentence that say what is good on this run's data, for the top of the
    page."""
    guessing = f"guessing is {1 - 1 / classes:.1%}"
    kept = best(inputs)
    if kept is None:
        sentence = f"not known: no runs on them are kept with this project; {guessing} top-1"
    else:
        top1, top5 = (kept.errors[f"{name}{kept.suffix}"] for name in CENTRE)
        sentence = (f"{top1:.1%} top-1 and {top5:.1%} top-5 with {SUFFIXES[kept.suffix]}, the mean "
                    f"of {kept.runs} runs of {kept.name}; {guessing} top-1")
    return "Good on these data", sentence.replace("%", "\u00a0%")


def yardstick(inputs: Inputs) -> ErrorRow | None:
    """Return the row of the table of errors that says what is good; None where nothing does."""
    kept = best(inputs)
    if kept is None:
        return None
    time = f", {duration(kept.seconds)} each" if kept.seconds else ""
    top1, top5 = (kept.errors[name] for name in CENTRE)
    top1_several, top5_several = (kept.errors[f"{name}{kept.suffix}"] for name in CENTRE)
    return ErrorRow(f"Measured here: mean of {kept.runs} runs of {kept.name}, from "
                    f"{kept.lowest:.1%} to {kept.highest:.1%} top-1 with {SUFFIXES[kept.suffix]}"
                    f"{time}".replace("%", "\u00a0%"), (top1, top5), (top1_several, top5_several))


def to_compare(classes: int, yardstick: ErrorRow | None) -> list[ErrorRow]:
    """Return the rows below the run's own: what is good on its data, guessing, published ones."""
    guessing = (1 - 1 / classes, max(0.0, 1 - 5 / classes))
    return [*([yardstick] if yardstick else []),
            ErrorRow(f"Guessing among {classes:,} classes", guessing, guessing), *PAPER]


def unlike_the_paper(parameters: Parameters, classes: int) -> list[str]:
    """Return the reasons why the run's errors cannot be compared with the paper's, if any."""
    network, reasons = parameters.network, []
    if parameters.dataset.data_set.paper_table is None:
        reasons.append(f"its images are {data_name(parameters)}, not ImageNet's")
    elif parameters.dataset.incomplete:
        reasons.append("its images are known to be a part of ImageNet's")
    if classes != FULL_CLASSES:
        reasons.append(f"it tells {classes:,} classes apart, not {FULL_CLASSES:,}")
    if network.width != 1:
        reasons.append(f"its layers have {network.width:g} of the paper's width")
    changed = [f"{name} {value}" for name, value, usual in (
        ("architecture", parameters.architecture, "two-column"), ("neuron", network.neuron, "relu"),
        ("normalization", network.normalization, True), ("pooling", network.pooling, "overlapping"),
        ("dropout", network.dropout, True), ("without", network.without, None)) if value != usual]
    if changed:
        reasons.append(f"its network is another ({', '.join(map(str, changed)).lower()})")
    if parameters.recipe.name in PORTS:
        reasons.append(f"its recipe is that of a port, {PORTS[parameters.recipe.name].title}")
    if parameters.train.epochs < FULL_EPOCHS:
        reasons.append(f"it was trained for {parameters.train.epochs:g} epochs, not about "
                       f"{FULL_EPOCHS}")
    return reasons


def data_name(parameters: Parameters) -> str:
    """Return what to call the data set; of a folder only its name, for its place says nothing about
    the run."""
    dataset = parameters.dataset
    part = "a part of " * dataset.incomplete
    if dataset.data_set.files == "own" and dataset.location is not None:
        return part + (dataset.location.name or dataset.data_set.title)
    return part + dataset.data_set.title
