"""Pictures: the first layer's kernels, the mean image, the axes of colour, the ten crops of one
image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.testing import CENTRE, views_of
from pipeline.report.figures import Exhibit, Figure, array, document, kernel_sheet, photo, picture
from pipeline.report.inputs import Inputs
from pipeline.report.sheets import BLUE, ORANGE, Sheet

SIGMAS = (-3, -2, -1, 0, 1, 2, 3)
SHIFTED = 112  # pixels of a side on the page
CROP_SHOWN = 128
OUTLINED = 256
# as alexnet.testing has the crops
PLACES = {10: ("top left", "top right", "bottom left", "bottom right", "centre") * 2,
          9: ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom",
              "bottom right")}  # of the views in testing; of nine on CIFAR-10


# --- kernels and mean ---

def kernels(inputs: Inputs) -> Exhibit:
    """Return the first layer's kernels (P Fig. 3)."""
    columns = inputs.network["layers"][0]["columns"]
    count = " + ".join([str(len(inputs.kernels) // columns)] * columns)
    figure = kernel_sheet(inputs.kernels, columns,
                          f"The {count} kernels of the first layer, as small colour pictures")
    return Exhibit("kernels", figure, ".npy", array(inputs.kernels))


def mean(inputs: Inputs) -> Exhibit:
    """Return the mean image (P §2)."""
    colour = ", ".join(f"{value:.0f}" for value in inputs.mean.mean(axis=(0, 1)))
    figure = picture(np.rint(inputs.mean).clip(0, 255).astype(np.uint8), "Mean of the training "
                     f"images; its average colour is {colour} (red, green, blue of 255)")
    return Exhibit("mean", figure, ".npy", array(inputs.mean))


# --- colour ---

@dataclass(frozen=True)
class Component:
    """A principal component of colour: its direction in RGB, its spread, its share of all variance;
    and one image moved along it, with how many standard deviations."""

    number: int
    vector: list[float]
    stdev: float
    eigenvalue: float
    share: float
    shifted: list[tuple[int, NDArray[np.uint8]]]


def components(inputs: Inputs) -> list[Component]:
    """Return the principal components of colour, and the first validation image moved along them (P
    §4.1)."""
    image = inputs.store.split("val").image(0)
    axes: list[Component] = []
    total = sum(inputs.colours["eigenvalues"]) or 1.0
    for k, (stdev, eigenvalue) in enumerate(zip(inputs.colours["stdevs"],
                                                inputs.colours["eigenvalues"], strict=True)):
        vector = [row[k] for row in inputs.colours["eigenvectors"]]
        axes.append(Component(k + 1, vector, stdev, eigenvalue, eigenvalue / total,
                              [(sigma, shifted(image, vector, sigma * stdev))
                               for sigma in SIGMAS]))
    return axes


def shifted(image: NDArray[np.uint8], vector: list[float], amount: float) -> NDArray[np.uint8]:
    """Return uint8 [h, w, 3]: the image so many grey levels further along a direction in RGB; what
    leaves 0..255 is cut off."""
    moved = image.astype(np.float64) + amount * np.array(vector)
    pixels: NDArray[np.uint8] = np.rint(moved).clip(0, 255).astype(np.uint8)
    return pixels


def colour_axes(inputs: Inputs, axes: list[Component]) -> Exhibit:
    """Return the image along the three axes, as one sheet."""
    side, gap, left, top = SHIFTED, 6, 150, 30
    sheet = Sheet(left + len(SIGMAS) * (side + gap), top + len(axes) * (side + gap))
    for column, sigma in enumerate(SIGMAS):
        sheet.words(deviations(sigma), left + column * (side + gap) + 4, 8, side)
    for row, component in enumerate(axes):
        here = top + row * (side + gap)
        sheet.words(f"component {component.number}", 4, here + 8, left, bold=True)
        sheet.words(f"{component.share:.1%} of variance", 4, here + 30, left)
        for line, (name, part) in enumerate(zip("RGB", component.vector, strict=True)):
            sheet.words(f"{name} {part:+.3f}", 4, here + 52 + 18 * line, left)
        for column, (_, pixels) in enumerate(component.shifted):
            sheet.picture(pixels, left + column * (side + gap), here, side)
    figure = sheet.figure("One image moved along the principal components of colour, by -3 to 3 "
                          "standard deviations")
    return Exhibit("colour-axes", figure, ".json", document(
        {"validation_image": 0, "standard_deviations_moved": SIGMAS} | inputs.colours))


def deviations(sigma: int) -> str:
    """Return "−2 sd", or "as it is"."""
    return f"{'+' if sigma > 0 else '−'}{abs(sigma)} sd" if sigma else "as it is"


# --- the ten crops ---

@dataclass(frozen=True)
class TenCrops:
    """One validation image and what each of its ten crops says.

    Attributes:
        index, label: of the image.
        image: uint8 [side, side, 3].
        crops: of each: place, whether mirrored, uint8 [crop, crop, 3], its most probable class and
            that probability.
        average: the class and the probability that the ten together give.
    """

    index: int
    label: int
    image: NDArray[np.uint8]
    crops: list[tuple[str, bool, NDArray[np.uint8], int, float]]
    average: tuple[int, float]


def ten_crops(inputs: Inputs) -> TenCrops:
    """Return, of the first images, the one whose crops disagree most: the one in which the
    probability of the class that is best on average varies most (P §4.1)."""
    each = inputs.predictions.each_crop
    best = each.mean(0).argmax(1)
    own = each[:, np.arange(len(best)), best]  # [10, n]
    kept = int(own.std(0).argmax())
    index = int(inputs.predictions.crops_of[kept])
    image = inputs.store.split("val").image(index)
    crop = inputs.parameters.layer_table(len(inputs.store.classes)).crop
    crops: list[tuple[str, bool, NDArray[np.uint8], int, float]] = []
    views = views_of(len(image) - crop, len(each))
    for place, (top, left, mirrored), says in zip(PLACES[len(each)], views, each[:, kept],
                                                  strict=True):
        pixels = image[top: top + crop, left: left + crop]
        crops.append((place, mirrored, pixels[:, ::-1] if mirrored else pixels,
                      int(says.argmax()), float(says.max())))
    average = inputs.probabilities[index]
    return TenCrops(index, int(inputs.labels[index]), np.array(image), crops,
                    (int(average.argmax()), float(average.max())))


def outlined(shown: TenCrops) -> Figure:
    """Return the image with the windows of its crops drawn in, the centre's in orange."""
    stored, crop = len(shown.image), len(shown.crops[0][2])
    times = max(1, OUTLINED // stored)
    sheet = Sheet(stored * times, stored * times)
    sheet.picture(shown.image, 0, 0, stored * times)
    for place, (top, left, mirrored) in enumerate(views_of(stored - crop, len(shown.crops))):
        if not mirrored:
            sheet.frame(left * times, top * times, crop * times,
                        ORANGE if place == CENTRE else BLUE)
    return photo(sheet.canvas, f"Validation image {shown.index} with the outlines of its crops")


def crops_sheet(inputs: Inputs, shown: TenCrops) -> Exhibit:
    """Return the ten crops with the class that each predicts."""
    words, side, gap, under = [each.words for each in inputs.store.classes], CROP_SHOWN, 10, 40
    sheet = Sheet(5 * (side + gap) + gap, 2 * (side + under + gap) + gap + 26)
    sheet.words(f"Validation image {shown.index}: {words[shown.label]}. Together: "
                f"{words[shown.average[0]]}, {shown.average[1]:.1%}",
                gap, 8, 5 * (side + gap), bold=True)
    for number, (place, mirrored, pixels, says, probability) in enumerate(shown.crops):
        left, top = gap + number % 5 * (side + gap), 32 + number // 5 * (side + under + gap)
        sheet.picture(np.ascontiguousarray(pixels), left, top, side)
        sheet.words(f"{place}{', mirrored' * mirrored}", left, top + side + 3, side + gap, 11)
        sheet.words(f"{probability:.1%} {words[says]}", left, top + side + 19, side + gap, 11)
    data = {"validation_image": shown.index, "label": shown.label, "average": shown.average,
            "crops": [{"place": place, "mirrored": mirrored,
                       "class": says, "probability": probability}
                      for place, mirrored, _, says, probability in shown.crops]}
    figure = sheet.figure(f"The crops of validation image {shown.index}")
    return Exhibit("ten-crops", figure, ".json", document(data))
