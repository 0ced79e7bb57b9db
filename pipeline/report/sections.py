"""What each part of the page says, as plain values for the template: no HTML here, and no files.

Fractions stay fractions, and the template writes them as percentages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.recipe import recipe, switches
from alexnet.schedule import rate
from pipeline.parameters import Parameters
from pipeline.report.figures import Figure, Line, chart, kernel_sheet, photo, picture
from pipeline.report.inputs import Inputs

FULL_CLASSES = 1000
FULL_EPOCHS = 90  # P §5: "roughly 90 cycles through the training set"
MATRIX_CLASSES = 20  # more do not fit on a page
LONGEST_LIST = 100
PER_KIND = 4  # pictures of each kind of prediction
SIGMAS = (-3, -2, -1, 0, 1, 2, 3)
Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


# --- the result ---

@dataclass(frozen=True)
class Row:
    """A row of the table of errors, as fractions: centre crop and ten crops, top-1 and top-5; None where unknown."""

    what: str
    centre: tuple[float | None, float | None]
    ten: tuple[float | None, float | None]


PAPER = (
    Row("The paper, ILSVRC-2012 validation images, one network (Table 2)", (None, None), (0.407, 0.182)),
    Row("The paper, ILSVRC-2010 test images (Table 1; centre crop: §6, footnote)", (0.390, 0.183), (0.375, 0.170)),
    Row("Re-implementations by others, ILSVRC-2012 validation images, about (not in the paper)", (0.425, 0.196),
        (None, None)),
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
    """Wilson's 95 % interval of a fraction that was found on `count` images: how far another sample of as many images
    may lie from it."""
    middle = (fraction + Z * Z / (2 * count)) / (1 + Z * Z / count)
    reach = Z / (1 + Z * Z / count) * math.sqrt(fraction * (1 - fraction) / count + Z * Z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def unlike_the_paper(parameters: Parameters, classes: int) -> list[str]:
    """Why the run's errors cannot be held against the paper's; empty where they can."""
    network, found = parameters.network, []
    if parameters.dataset.source != "imagenet2012":
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
        found.append(f"it was trained for {parameters.train.epochs:g} epochs, not some {FULL_EPOCHS}")
    return found


def data_name(parameters: Parameters) -> str:
    """What to call the data set; of a folder only its name, for where it lies says nothing about the run."""
    dataset = parameters.dataset
    if dataset.source == "folder" and dataset.location is not None:
        return dataset.location.name or "a folder of pictures"
    return {"sample": "the built-in sample", "imagenet2012": "ILSVRC 2012", "imagenet2010": "ILSVRC 2010",
            "imagenette": "Imagenette", "cifar10": "CIFAR-10"}.get(dataset.source, dataset.source)


def digests(inputs: Inputs) -> list[tuple[str, str]]:
    """What two runs compare to know whether they are the same."""
    found = inputs.metrics
    return [("weights", found["train"]["weights_digest"]), ("trace", found["train"]["trace_digest"]),
            ("pixels and labels", found["resize"]["pixels_digest"]), ("mean image", found["mean"]["mean_digest"]),
            ("colour components", found["pca"]["pca_digest"])]


# --- learning ---

def rate_changes(rate_of: Callable[[int], float], steps: int) -> list[tuple[int, float]]:
    """The steps from which a new rate holds, and that rate; the first is step 0. The rate never rises."""
    def changes(first: int, last: int) -> list[tuple[int, float]]:
        if rate_of(first) == rate_of(last):
            return []
        if last - first == 1:
            return [(last, rate_of(last))]
        middle = (first + last) // 2
        return changes(first, middle) + changes(middle, last)

    return [(0, rate_of(0)), *changes(0, steps - 1)]


def learning_rates(inputs: Inputs) -> list[tuple[float, float]]:
    """The epochs from which a learning rate of the weights (of any layer but conv1) holds, and that rate."""
    chosen, steps = inputs.parameters.the_recipe(), inputs.metrics["train"]["steps"]
    changes = rate_changes(lambda step: rate(chosen, "fc8.weight", step / steps).lr, steps)
    epochs_per_step = inputs.curve["epoch"][-1] / inputs.curve["step"][-1]
    return [(step * float(epochs_per_step), value) for step, value in changes]


def learning_figures(inputs: Inputs) -> dict[str, Figure]:
    """The charts of loss and error, by name."""
    curve, rates = inputs.curve, learning_rates(inputs)
    last = {name: values[-1] for name, values in curve.items()}
    drops = "; ".join(f"{value:g} from epoch {start:.1f}" for start, value in rates)
    loss = chart("Loss (nats per image)", curve["epoch"],
                 [Line("training", "training", curve["training_loss"]),
                  Line("validation", "validation", curve["validation_loss"])], rates,
                 f"Loss over epochs, falling to {last['training_loss']:.3g} in training and "
                 f"{last['validation_loss']:.3g} on the validation images. Learning rate: {drops}.")
    error = chart("Top-1 error on the validation images, centre crop", curve["epoch"],
                  [Line("validation", "validation", curve["validation_error"])], rates,
                  f"Top-1 error on the validation images over epochs, from {curve['validation_error'][0]:.1%} to "
                  f"{last['validation_error']:.1%}. Learning rate: {drops}.", percent=True)
    return {"learning-loss": loss, "learning-error": error}


def curve_rows(inputs: Inputs) -> list[dict[str, float]]:
    """The curve's points, at most LONGEST_LIST of them, evenly chosen, the first and last among them."""
    chosen = _spread(len(inputs.curve["step"]), LONGEST_LIST)
    return [{name: float(values[k]) for name, values in inputs.curve.items()} for k in chosen]


# --- kernels, mean, colours ---

def kernel_figure(inputs: Inputs) -> Figure:
    """The kernels of the first layer, one column's half above the other's (P Fig. 3)."""
    columns = inputs.network["layers"][0]["columns"]
    count = " + ".join([str(len(inputs.kernels) // columns)] * columns)
    return kernel_sheet(inputs.kernels, columns, f"The {count} kernels of the first layer, as small colour pictures")


def mean_figure(inputs: Inputs) -> Figure:
    """The mean image of the training set."""
    colour = ", ".join(f"{value:.0f}" for value in inputs.mean.mean(axis=(0, 1)))
    return picture(np.rint(inputs.mean).clip(0, 255).astype(np.uint8),
                   f"Mean of the training images; its average colour is {colour} (red, green, blue of 255)")


@dataclass(frozen=True)
class Component:
    """A principal component of colour: its direction in RGB, its spread, and the mean colour moved along it."""

    number: int
    vector: list[float]
    stdev: float
    eigenvalue: float
    swatches: list[tuple[int, str]]  # how many standard deviations, the colour as "#rrggbb"


def components(inputs: Inputs) -> list[Component]:
    """The components of colour, largest first, with what they do to the mean colour."""
    mean = inputs.mean.mean(axis=(0, 1), dtype=np.float64)
    found = []
    for k, (stdev, eigenvalue) in enumerate(zip(inputs.colours["stdevs"], inputs.colours["eigenvalues"], strict=True)):
        vector = [row[k] for row in inputs.colours["eigenvectors"]]
        swatches = [(sigma, _hex(mean + sigma * stdev * np.array(vector))) for sigma in SIGMAS]
        found.append(Component(k + 1, vector, stdev, eigenvalue, swatches))
    return found


def _hex(colour: NDArray[np.float64]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in np.rint(colour).clip(0, 255))


# --- predictions ---

@dataclass(frozen=True)
class Prediction:
    """A validation image with its most probable classes: words, probability, whether it is the right one."""

    image: Figure
    right: str
    guesses: list[tuple[str, float, bool]]


def predictions(inputs: Inputs) -> list[tuple[str, list[Prediction]]]:
    """Pictures as in Fig. 4 (left), some of each kind; a kind without any is left out."""
    probabilities, labels = inputs.probabilities, inputs.labels
    best = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    rank = (probabilities > own[:, None]).sum(axis=1)
    wrong = np.flatnonzero(best != labels)
    sure = wrong[np.argsort(-probabilities[wrong, best[wrong]], kind="stable")][:PER_KIND]
    right, near = np.flatnonzero(best == labels), np.setdiff1d(wrong[rank[wrong] < 5], sure)
    kinds = [("Right", _evenly(right)), ("Wrong, with the right class among the five", _evenly(near)),
             ("The most confident mistakes", sure)]
    return [(title, [_prediction(inputs, int(index)) for index in chosen]) for title, chosen in kinds if len(chosen)]


def _evenly(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """PER_KIND of them, from first to last at equal distances: a choice that nobody made."""
    chosen: NDArray[np.int64] = indices[_spread(len(indices), PER_KIND)]
    return chosen


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Positions in a list of `count`, at most so many, at equal distances, the first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _prediction(inputs: Inputs, index: int) -> Prediction:
    words, label = [one.words for one in inputs.store.classes], int(inputs.labels[index])
    order = np.argsort(-inputs.probabilities[index], kind="stable")[:5]
    image = photo(inputs.store.split("val").image(index), f"Validation image {index}, of the class {words[label]}")
    return Prediction(image, words[label],
                      [(words[k], float(inputs.probabilities[index, k]), k == label) for k in order])


@dataclass(frozen=True)
class Confusion:
    """How often images of a class (row) were taken for another (column).

    Attributes:
        matrix: int64 [classes, classes], or None where it would not fit.
        errors: of each class: label, errors, images; the worst first.
        pairs: right label, label taken for it, how often; the most frequent first.
    """

    matrix: list[list[int]] | None
    errors: list[tuple[int, int, int]]
    pairs: list[tuple[int, int, int]]


def confusion(inputs: Inputs, most: int = 10) -> Confusion:
    """Of the most probable class with ten crops; `most` bounds both lists."""
    classes = len(inputs.store.classes)
    counts = np.bincount(inputs.labels * classes + inputs.probabilities.argmax(axis=1), minlength=classes**2)
    counts = counts.reshape(classes, classes)
    images = counts.sum(axis=1)
    mistakes = images - counts.diagonal()
    share = mistakes / np.maximum(images, 1)
    worst = np.argsort(-share, kind="stable")[:most]
    off = np.where(np.eye(classes, dtype=bool), 0, counts).ravel()
    pairs = np.argsort(-off, kind="stable")[:most]
    return Confusion(counts.tolist() if classes <= MATRIX_CLASSES else None,
                     [(int(k), int(mistakes[k]), int(images[k])) for k in worst if mistakes[k]],
                     [(int(k) // classes, int(k) % classes, int(off[k])) for k in pairs if off[k]])


# --- parameters ---

@dataclass(frozen=True)
class Choice:
    """A switch of the recipe: its value here and as the recipe has it."""

    name: str
    value: Any
    recipe: Any
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it is not as the recipe has it."""
        return bool(self.value != self.recipe)


def choices(parameters: Parameters) -> list[Choice]:
    """Every switch of the recipe, as it takes effect."""
    named, chosen = recipe(parameters.recipe.name), parameters.the_recipe()  # type: ignore[attr-defined]
    return [Choice(switch.name, getattr(chosen, switch.name), getattr(named, switch.name), switch.meaning)
            for switch in switches()]


def settings(parameters: Parameters) -> list[tuple[str, Any]]:
    """Every parameter that decides the bits, by its full name, but the recipe's, which `choices` has. Where the data
    lie and what `execution` says is left out: neither decides a bit, and the page is to be the same without them. Of
    weights to start from the file's name is told, not its folder."""
    dataset = parameters.dataset
    found = [("dataset.source", dataset.source)]
    if dataset.source == "sample":
        found += [(f"dataset.sample.{name}", value) for name, value in dataset.sample.model_dump().items()]
    for section in ("resize", "network", "train"):
        found += [(f"{section}.{name}", value) for name, value in getattr(parameters, section).model_dump().items()]
    return [(name, Path(value).name if name == "train.start_from" and value else value) for name, value in found]
