"""Which classes are told apart well, which badly, and what they are taken for: the most probable
class, with ten crops (nets on CIFAR-10: nine)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.crops import SUFFIXES, suffix_of
from pipeline.report.figures import Exhibit, bars, picture, shades, table
from pipeline.report.inputs import Inputs
from pipeline.report.sheets import Sheet

MATRIX_CLASSES = 20  # more do not fit on a page, and are shown as dots
LISTED = 10  # rows of each list
MATRIX_PIXELS = 1000  # at most, of the picture of the matrix
NAME_LETTERS = 26


@dataclass(frozen=True)
class Confusion:
    """How often images of a class (row) were taken for another (column).

    Attributes:
        counts: int64 [classes, classes].
        order: the classes, the worst first; those without images last.
        pairs: right label, label taken for it, how often; the most frequent first, none that never
            happened.
    """

    counts: NDArray[np.int64]
    order: list[int]
    pairs: list[tuple[int, int, int]]

    @property
    def images(self) -> NDArray[np.int64]:
        """The images of each class, int64 [classes]."""
        counts: NDArray[np.int64] = self.counts.sum(axis=1)
        return counts

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """The images of each class that were taken for another, int64 [classes]."""
        counts: NDArray[np.int64] = self.images - self.counts.diagonal()
        return counts

    @property
    def small(self) -> bool:
        """Whether the whole matrix fits on a page."""
        return len(self.counts) <= MATRIX_CLASSES

    def error(self, label: int) -> tuple[int, float, int, int]:
        """Return label, share of mistakes, mistakes and images."""
        mistakes, images = int(self.mistakes[label]), int(self.images[label])
        return label, mistakes / max(images, 1), mistakes, images

    def worst(self) -> list[tuple[int, float, int, int]]:
        """Return the classes with the most mistakes, as `error`; those without any are left out."""
        return [row for label in self.order[:LISTED] if (row := self.error(label))[2]]

    def best(self) -> list[tuple[int, float, int, int]]:
        """Return the classes with the fewest mistakes, as `error`; none where the whole matrix is
        shown."""
        tested = [label for label in self.order if self.images[label]]
        return [] if self.small else [self.error(label) for label in reversed(tested[-LISTED:])]


def confusion(inputs: Inputs) -> Confusion:
    """Count every validation image."""
    classes = len(inputs.store.classes)
    counts = np.bincount(inputs.labels * classes + inputs.probabilities.argmax(axis=1),
                         minlength=classes**2)
    counts = counts.reshape(classes, classes)
    images = counts.sum(axis=1)
    share = np.where(images == 0, -1.0, (images - counts.diagonal()) / np.maximum(images, 1))
    off = np.where(np.eye(classes, dtype=bool), 0, counts).ravel()
    pairs = np.flatnonzero(off)
    pairs = pairs[np.argsort(-off[pairs], kind="stable")]
    return Confusion(counts, np.argsort(-share, kind="stable").tolist(),
                     [(int(k) // classes, int(k) % classes, int(off[k])) for k in pairs])


def exhibits(inputs: Inputs, confused: Confusion) -> list[Exhibit]:
    """Return the bars of the errors of classes, and the matrix; the files beside them have every
    class."""
    return [class_errors(inputs, confused), matrix(inputs, confused)]


def class_errors(inputs: Inputs, confused: Confusion) -> Exhibit:
    """Return bars of the errors of the classes, the worst first; of many classes only these. The
    file has every class."""
    names = [each.words for each in inputs.store.classes]
    tested = [label for label in confused.order if confused.images[label]]
    shown = [confused.error(label) for label in tested[:MATRIX_CLASSES]]
    rows = [(_brief(names[label]), share, f"{mistakes} of {images}")
            for label, share, mistakes, images in shown]
    what = ("Top-1 error by class" if confused.small
            else f"Top-1 error of the {len(rows)} worst classes")
    crops = SUFFIXES[suffix_of(inputs.metrics["evaluate"])]
    figure = bars(f"{what}, {crops}", rows,
                  f"{what}: " + "; ".join(f"{name} {share:.0%}" for name, share, _ in rows))
    data = table(["label", "id", "class", "images", "mistakes", "top1_error"], (
        [label, inputs.store.classes[label].wnid, names[label], images, mistakes, share]
        for label, share, mistakes, images in map(confused.error, range(len(names)))))
    return Exhibit("class-errors", figure, ".csv", data)


def matrix(inputs: Inputs, confused: Confusion) -> Exhibit:
    """Return the matrix of shares, the darker the larger, with counts where they fit. The file has
    the pairs that happened."""
    names = [each.words for each in inputs.store.classes]
    shares = shades(confused.counts / np.maximum(confused.images, 1)[:, None])
    alt = ("Confusion matrix: rows are the right class, columns the class it was taken for, dark "
           "where often")
    if confused.small:
        cell, left, top = 40, 220, 44
        sheet = Sheet(left + cell * len(names), top + cell * len(names))
        sheet.words("right class (row), taken for (column)", 4, 6, left + cell * len(names))
        sheet.picture(shares.repeat(cell, axis=0).repeat(cell, axis=1), left, top)
        for row, name in enumerate(names):
            sheet.words(f"{row + 1}", left + row * cell + 14, top - 18, cell)
            sheet.words(f"{row + 1} {name}", 4, top + row * cell + 12, left - 8)
            for column, count in enumerate(confused.counts[row].tolist()):
                if count:
                    dark = count > confused.images[row] / 4
                    sheet.words(str(count), left + column * cell + 8, top + row * cell + 12, cell,
                                light=dark)
        figure = sheet.figure(alt)
    else:
        size = max(1, MATRIX_PIXELS // len(names))
        figure = picture(shares.repeat(size, axis=0).repeat(size, axis=1), alt)
    rows = [(label, label, int(confused.counts[label, label]))
            for label in range(len(names))] + confused.pairs
    data = table(["right_label", "taken_for_label", "right_class", "taken_for_class", "images"], (
        [right, taken, names[right], names[taken], count] for right, taken, count in rows if count))
    return Exhibit("confusion", figure, ".csv", data)


def _brief(words: str) -> str:
    """Return the first of a class's synonyms, cut off where it is long."""
    first = words.split(",")[0]
    return first if len(first) <= NAME_LETTERS else first[: NAME_LETTERS - 1] + "…"
