"""Figure 4 of the paper: test images with their most probable classes, and the nearest training
images of some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.choosing import evenly
from pipeline.report.figures import Exhibit, document
from pipeline.report.inputs import Inputs
from pipeline.report.sheets import BLUE, GREY, ORANGE, Sheet

PER_KIND = 4  # images of each kind of prediction
GUESSES = 5
QUERIES = 5  # P Fig. 4, right: five rows
SHOWN = 176  # pixels of a side on the page
NEIGHBOUR_SHOWN = 128


# --- left: the most probable classes ---

@dataclass(frozen=True)
class Prediction:
    """A validation image with its most probable classes: words, probability, whether it is the
    right one."""

    index: int
    image: NDArray[np.uint8]
    right: str
    guesses: list[tuple[str, float, bool]]


def predictions(inputs: Inputs) -> list[tuple[str, list[Prediction]]]:
    """Return some images of each kind; a kind without any is left out."""
    probabilities, labels = inputs.probabilities, inputs.labels
    best = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    rank = (probabilities > own[:, None]).sum(axis=1)
    wrong = np.flatnonzero(best != labels)
    sure = wrong[np.argsort(-probabilities[wrong, best[wrong]], kind="stable")][:PER_KIND]
    right, near = np.flatnonzero(best == labels), np.setdiff1d(wrong[rank[wrong] < GUESSES], sure)
    kinds = [("Right", evenly(right, PER_KIND)),
             ("Wrong, with the right class among the five", evenly(near, PER_KIND)),
             ("The most confident mistakes", sure)]
    return [(title, [_prediction(inputs, int(index)) for index in chosen])
            for title, chosen in kinds if len(chosen)]


def _prediction(inputs: Inputs, index: int) -> Prediction:
    words, label = [each.words for each in inputs.store.classes], int(inputs.labels[index])
    order = np.argsort(-inputs.probabilities[index], kind="stable")[:GUESSES]
    return Prediction(index, inputs.store.split("val").image(index), words[label],
                      [(words[k], float(inputs.probabilities[index, k]), bool(k == label))
                       for k in order])


def predictions_sheet(kinds: list[tuple[str, list[Prediction]]]) -> Exhibit:
    """Return all of them on one sheet, a kind a row, as in the paper: the image, the right label,
    the bars."""
    side, gap, line, head = SHOWN, 16, 20, 28
    height = head + side + 24 + GUESSES * line + gap
    sheet = Sheet(PER_KIND * (side + gap) + gap, len(kinds) * height)
    for row, (title, cards) in enumerate(kinds):
        sheet.words(title, gap, row * height + 8, PER_KIND * (side + gap), 13, bold=True)
        for column, card in enumerate(cards):
            left, top = gap + column * (side + gap), row * height + head
            sheet.picture(card.image, left, top, side)
            sheet.words(card.right, left, top + side + 4, side, 12, bold=True)
            for place, (words, probability, right) in enumerate(card.guesses):
                here = top + side + 24 + place * line
                sheet.box(left, here + 15, side, 3, GREY)
                sheet.box(left, here + 15, round(side * probability), 3, BLUE if right else ORANGE)
                sheet.words(f"{'✓ ' * right}{words}", left, here, side - 46, 11)
                sheet.words(f"{probability:6.1%}", left + side - 42, here, 60, 11)
    data = [{"kind": title, "validation_image": card.index, "class": card.right,
             "guesses": [{"class": words, "probability": probability}
                         for words, probability, _ in card.guesses]}
            for title, cards in kinds for card in cards]
    return Exhibit("predictions", sheet.figure("Validation images with their five most probable "
                                               "classes"), ".json", document(data))


# --- right: nearest neighbours ---

@dataclass(frozen=True)
class Neighbour:
    """A training image, its class, and whether that is the query's."""

    index: int
    image: NDArray[np.uint8]
    words: str
    same: bool


@dataclass(frozen=True)
class Query:
    """A validation image, and the training images nearest to it by the last hidden layer, and by
    pixels."""

    index: int
    image: NDArray[np.uint8]
    words: str
    hidden: list[Neighbour]
    pixels: list[Neighbour]


def neighbours(inputs: Inputs) -> list[Query]:
    """Return five queries, at equal distances among those that were searched, each of another class
    while there are others; none where nothing was searched."""
    saved = inputs.predictions
    if not len(saved.queries):
        return []
    words = [each.words for each in inputs.store.classes]
    train, val = inputs.store.split("train"), inputs.store.split("val")
    searched = train.places(saved.searched)
    shown = []
    for place in _of_other_classes(inputs.labels[saved.queries]):
        query = int(saved.queries[place])
        label = int(inputs.labels[query])
        hidden, pixels = ([Neighbour(int(k), train.image(int(k)), words[train.labels[k]],
                                      bool(train.labels[k] == label))
                           for k in searched[near[place]]]
                          for near in (saved.nearest_hidden, saved.nearest_pixels))
        shown.append(Query(query, val.image(query), words[label], hidden, pixels))
    return shown


def _of_other_classes(labels: NDArray[np.int64]) -> list[int]:
    """Return the places of QUERIES of these labels: at equal distances, or, where the class there
    was already taken, the next of another."""
    chosen: list[int] = []
    for start in evenly(np.arange(len(labels)), QUERIES):
        had = {int(labels[place]) for place in chosen}
        order = [*range(int(start), len(labels)), *range(int(start))]
        free = [place for place in order if place not in chosen]
        chosen.append(next((place for place in free if int(labels[place]) not in had), free[0]))
    return chosen


def neighbours_sheet(queries: list[Query]) -> Exhibit:
    """Return two rows a query, by the hidden layer and by pixels; images of the query's class have
    a blue frame, others an orange one."""
    side, gap, under, left = NEIGHBOUR_SHOWN, 8, 18, 100
    pitch = side + under + gap
    count = len(queries[0].hidden)
    sheet = Sheet(left + (count + 1) * (side + gap) + gap, len(queries) * 2 * pitch + 24)
    sheet.words("query", left, 6, side, bold=True)
    sheet.words("nearest training images, the nearest first; blue frame: of the query's class",
                left + side + 2 * gap, 6, count * side, bold=True)
    for number, query in enumerate(queries):
        for row, (name, near) in enumerate((("by layer", query.hidden),
                                            ("by pixels", query.pixels))):
            top = 24 + (2 * number + row) * pitch
            sheet.words(name, 4, top + side // 2, left)
            if row == 0:
                sheet.picture(query.image, left, top, side)
                sheet.words(query.words, left, top + side + 2, side, 11, bold=True)
            for column, neighbour in enumerate(near):
                here = left + (column + 1) * (side + gap) + gap
                wide = sheet.picture(neighbour.image, here, top, side)
                sheet.frame(here, top, wide, BLUE if neighbour.same else ORANGE, 3)
                sheet.words(neighbour.words, here, top + side + 2, side, 11)
    data = [{"validation_image": query.index, "class": query.words,
             **{name: [{"training_image": neighbour.index, "class": neighbour.words}
                       for neighbour in near]
                for name, near in (("nearest_by_layer", query.hidden),
                                   ("nearest_by_pixels", query.pixels))}}
            for query in queries]
    return Exhibit("neighbours", sheet.figure("Validation images with their nearest training "
                                              "images"), ".json", document(data))
