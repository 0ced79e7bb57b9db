"""What the parts of the report say and draw, against slow references."""

from __future__ import annotations

import io
import itertools
import math
import re
from types import SimpleNamespace
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from alexnet.recipe import recipe
from alexnet.schedule import rate
from pipeline.report import figures, sections
from pipeline.report.inputs import Inputs
from pipeline.sources import Class
from tests.pipeline.test_report import read


@given(name=st.sampled_from(["source", "paper"]), schedule=st.sampled_from(["hand", "dexp"]), steps=st.integers(1, 300))
def test_rate_changes_are_those_that_every_step_shows(name: Any, schedule: str, steps: int) -> None:
    chosen = recipe(name, schedule=schedule)
    rates = [rate(chosen, "fc8.weight", step / steps).lr for step in range(steps)]
    expected = [(step, value) for step, value in enumerate(rates) if step == 0 or value != rates[step - 1]]
    assert sections.rate_changes(rates.__getitem__, steps) == expected


@given(data=st.data(), count=st.integers(1, 50_000))
def test_intervals_are_wilsons(data: st.DataObject, count: int) -> None:
    wrong = data.draw(st.integers(0, count))
    expected = binomtest(wrong, count).proportion_ci(method="wilson")
    found = sections.interval(wrong / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(data=st.data(), classes=st.integers(2, 24))
def test_confusion_counts_every_image(data: st.DataObject, classes: int) -> None:
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=40))
    taken = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(labels), max_size=len(labels)))
    found = sections.confusion(_inputs(np.array(labels), np.eye(classes, dtype=np.float32)[taken]), most=10**6)
    counts = {(right, guess): 0 for right in range(classes) for guess in range(classes)}
    for pair in zip(labels, taken, strict=True):
        counts[pair] += 1
    if classes <= sections.MATRIX_CLASSES:
        assert found.matrix == [[counts[i, j] for j in range(classes)] for i in range(classes)]
    else:
        assert found.matrix is None
    assert {(i, j): n for i, j, n in found.pairs} == {(i, j): n for (i, j), n in counts.items() if i != j and n}
    assert [n for _, _, n in found.pairs] == sorted((n for _, _, n in found.pairs), reverse=True)
    errors = {i: (sum(counts[i, j] for j in range(classes) if j != i), labels.count(i)) for i in range(classes)}
    assert {i: (wrong, n) for i, wrong, n in found.errors} == {i: pair for i, pair in errors.items() if pair[0]}
    shares = [wrong / n for _, wrong, n in found.errors]
    assert shares == sorted(shares, reverse=True)


def _inputs(labels: np.ndarray, probabilities: np.ndarray) -> Inputs:
    classes = [Class(f"n{k}", f"class {k}") for k in range(probabilities.shape[1])]
    image = np.zeros((256, 256, 3), np.uint8)
    split = SimpleNamespace(image=lambda index: image, labels=labels)
    store = SimpleNamespace(classes=classes, split=lambda name: split)
    return cast(Inputs, SimpleNamespace(labels=labels, probabilities=probabilities, store=store))


def test_predictions_show_right_ones_and_the_surest_mistakes() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 8, 400)
    probabilities = random.random((400, 8)).astype(np.float32)
    kinds = dict(sections.predictions(_inputs(labels, probabilities)))
    shown = {title: [int(re.findall(r"\d+", card.image.alt)[0]) for card in cards] for title, cards in kinds.items()}
    best = probabilities.argmax(1)
    right, near, sure = shown.values()
    assert all(best[k] == labels[k] for k in right)
    assert (right[0], right[-1]) == tuple(np.flatnonzero(best == labels)[[0, -1]])
    by_confidence = sorted((k for k in range(400) if best[k] != labels[k]), key=lambda k: -probabilities[k].max())
    assert sure == by_confidence[:4]
    nearly = [k for k in range(400) if best[k] != labels[k] and labels[k] in np.argsort(-probabilities[k])[:5]
              and k not in sure]
    assert near == [nearly[round(part * (len(nearly) - 1) / 3)] for part in range(4)]
    for title, cards in kinds.items():
        for k, card in zip(shown[title], cards, strict=True):
            order = sorted(range(8), key=lambda c: -probabilities[k, c])[:5]
            assert card.guesses == [(f"class {c}", float(probabilities[k, c]), c == labels[k]) for c in order]


def test_a_kind_of_prediction_without_any_is_left_out() -> None:
    labels = np.array([0, 1, 1])
    found = sections.predictions(_inputs(labels, np.eye(2, dtype=np.float32)[labels]))
    assert [title for title, _ in found] == ["Right"]


def test_kernels_are_stretched_one_by_one_and_stand_in_their_places() -> None:
    random = np.random.default_rng(5)
    kernels = (random.standard_normal((26, 3, 11, 11)) * random.uniform(1e-6, 10, (26, 1, 1, 1))).astype(np.float32)
    kernels[3] = 0.25
    sheet = np.asarray(Image.open(io.BytesIO(figures.kernel_sheet(kernels, 2, "x").content)))
    rows = 2  # thirteen kernels of a column
    pitch, height = 11 * figures.KERNEL_SCALE + figures.GAP, rows * (11 * figures.KERNEL_SCALE) + figures.GAP
    painted = np.zeros(sheet.shape[:2], bool)
    for number, kernel in enumerate(kernels.astype(np.float64)):
        column, place = divmod(number, 13)
        top = column * (height + figures.COLUMN_GAP) + place // 12 * pitch
        left = place % 12 * pitch
        tile = sheet[top: top + 66, left: left + 66]
        low, high = kernel.min(), kernel.max()
        expected = 255 * (kernel - low) / (high - low) if high > low else np.full(kernel.shape, 127.5)
        for y, x, channel in np.ndindex(11, 11, 3):
            block = tile[6 * y: 6 * y + 6, 6 * x: 6 * x + 6]
            assert (block[..., 3] == 255).all()
            assert (block[..., channel] == block[0, 0, channel]).all()
            assert abs(block[0, 0, channel] - expected[channel, y, x]) <= 0.51
        painted[top: top + 66, left: left + 66] = True
    assert sheet.shape == (2 * height + figures.COLUMN_GAP, 12 * pitch - figures.GAP, 4)
    assert (sheet[~painted] == 0).all()


def test_components_lie_in_the_columns_of_the_matrix() -> None:
    mean = np.full((256, 256, 3), (100, 110, 120), np.float32)
    colours = {"eigenvalues": [900.0, 400.0, 4e4], "stdevs": [30.0, 20.0, 200.0],
               "eigenvectors": [[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]}
    first, second, third = sections.components(cast(Inputs, SimpleNamespace(mean=mean, colours=colours)))
    assert first.vector == [0.6, 0.8, 0.0]
    assert dict(first.swatches)[1] == f"#{118:02x}{134:02x}{120:02x}"
    assert dict(first.swatches)[0] == f"#{100:02x}{110:02x}{120:02x}"
    assert dict(second.swatches)[-1] == f"#{116:02x}{98:02x}{120:02x}"
    assert dict(third.swatches)[-3] == f"#{100:02x}{110:02x}{0:02x}"
    assert dict(third.swatches)[3] == f"#{100:02x}{110:02x}ff"


def test_charts_do_not_depend_on_the_users_style() -> None:
    def drawn() -> figures.Figure:
        line = figures.Line("validation", "validation", np.array([0.5, 0.25]))
        return figures.chart("title", np.array([1.0, 2.0]), [line], [(0.0, 0.01), (0.7, 0.001)], "alt", percent=True)

    first = drawn()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": None, "axes.grid": True}):
        second = drawn()
    assert first == second
    assert first.content != first.dark
    assert b"<dc:date>" not in first.content


FULL = ("dataset.source=imagenet2012", "dataset.location=archives", "network.width=1", "train.epochs=91")


def test_a_full_run_can_be_compared_with_the_paper() -> None:
    assert sections.unlike_the_paper(read(*FULL), 1000) == []


@pytest.mark.parametrize(("override", "classes", "reason"), [
    ("dataset.source=folder", 1000, "archives"), ("network.width=0.5", 1000, "0.5 of the paper's width"),
    ("network.dropout=false", 1000, "dropout false"), ("network.architecture=half", 1000, "architecture half"),
    ("train.epochs=30", 1000, "30 epochs"), ("train.seed=2", 100, "100 classes")])
def test_what_keeps_a_run_from_comparison_is_named(override: str, classes: int, reason: str) -> None:
    [found] = sections.unlike_the_paper(read(*FULL, override), classes)
    assert reason in found


def test_of_the_weights_to_start_from_only_the_files_name_is_told() -> None:
    found = sections.settings(read("train.start_from=/some/where/a.safetensors"))
    assert dict(found)["train.start_from"] == "a.safetensors"


def test_long_curves_are_thinned_evenly_with_both_ends() -> None:
    curve = {name: np.arange(1001.0) for name in ("step", "epoch")}
    rows = sections.curve_rows(cast(Inputs, SimpleNamespace(curve=curve)))
    assert len(rows) == sections.LONGEST_LIST
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 1000)
    gaps = {after["step"] - before["step"] for before, after in itertools.pairwise(rows)}
    assert math.isclose(max(gaps) - min(gaps), 1)
