"""The page needs nothing but itself, says what the inputs say, and changes with any of them; bad inputs are named."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import math
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from scipy.stats import binomtest

from alexnet.recipe import recipe
from alexnet.schedule import rate
from pipeline import parameters
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.moments import Accumulator
from pipeline.parameters import Parameters
from pipeline.paths import LEARNING, MEAN, PCA, PREDICTIONS, REPORT, STORE, WEIGHTS, metrics_of
from pipeline.report import figures, sections
from pipeline.report.inputs import Inputs
from pipeline.sources import Class
from pipeline.stages import report
from pipeline.store import Quarantined, Row, StoredShard, publish_description, shard_file, shard_written

ROOT = Path(__file__).resolve().parents[2]
CLASSES = [Class("n1", "cat, house cat"), Class("n2", "<b>dog</b> & \"friends\""), *(
    Class(f"n{k}", f"thing {k}") for k in range(3, 8))]
IMAGES = 30
STEPS, EPOCHS = 60, 12.0
DIGEST = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("weights", "trace", "mean", "pca")}


def read(*overrides: str) -> Parameters:
    """Of the sample, whatever params.yaml is set to."""
    usual = ("dataset.source=sample", "dataset.location=null", "network.width=0.25", "train.epochs=16",
             "train.batch=32")
    return parameters.load(ROOT / "params.yaml", (*usual, *overrides))


def write_inputs(classes: list[Class] = CLASSES, images: int = IMAGES) -> None:
    """Everything the stage reads, under the current directory."""
    random = np.random.default_rng(7)
    labels = random.integers(0, len(classes), images)
    probabilities = random.random((images, len(classes)))
    probabilities[np.arange(images), labels] += 0.6
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    pixels_digest = write_store(classes, labels, random)
    for file in (WEIGHTS, MEAN, LEARNING):
        file.parent.mkdir(exist_ok=True)
    np.savez(PREDICTIONS, centre=probabilities, ten_crop=probabilities, labels=labels)
    save_file({"conv1.weight": random.standard_normal((24, 3, 11, 11)).astype(np.float32)}, WEIGHTS,
              {"digest": DIGEST["weights"]})
    np.save(MEAN, random.uniform(0, 255, (256, 256, 3)).astype(np.float32))
    write_json(PCA, {"eigenvalues": [900.0, 400.0, 4.0], "stdevs": [30.0, 20.0, 2.0],
                     "eigenvectors": [[0.6, 0.8, 0.0], [0.8, -0.6, 0.0], [0.0, 0.0, 1.0]]})
    with LEARNING.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", "epoch", "training_loss", "validation_loss", "validation_error"])
        writer.writerows([step, step * EPOCHS / STEPS, 50 / step, 40 / step, 5 / step] for step in (10, 20, 40, STEPS))
    for stage, metrics in {
            "resize": {"pixels_digest": pixels_digest}, "mean": {"mean_digest": DIGEST["mean"]},
            "pca": {"pca_digest": DIGEST["pca"]},
            "train": {"steps": STEPS, "weights_digest": DIGEST["weights"], "trace_digest": DIGEST["trace"]},
            "evaluate": {"top1_error": 0.421, "top5_error": 0.123, "top1_error_10crop": 0.387,
                         "top5_error_10crop": 0.098, "images": images, "weights_digest": DIGEST["weights"]}}.items():
        write_json(metrics_of(stage), metrics)


def write_store(classes: list[Class], labels: np.ndarray, random: np.random.Generator) -> str:
    shards, moments = [], Accumulator()
    for split, numbers in (("train", np.arange(2)), ("val", labels)):
        with shard_written(STORE / shard_file(split, 0)) as writer:
            for label in numbers:
                image = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
                writer.add(image, int(label))
                if split == "train":
                    moments.add(image)
        rows = [Row(f"{split}{k}", f"{k:064x}", int(label)) for k, label in enumerate(numbers)]
        shards.append(StoredShard(split, 0, writer.digest.hexdigest(), rows))
    quarantined = [Quarantined("train", "bad <one>.jpg", "truncated", "0" * 64)]
    made = {"decoder": {"library": "Pillow 0", "fingerprint": "f1f2"}}
    return str(publish_description(STORE, classes, shards, moments.moments(), quarantined, made)["pixels_digest"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_inputs()
    return folder


@pytest.fixture
def here(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def page(prepared: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(prepared)
        metrics = report.run(read("recipe.colour_noise=none"))
        content = REPORT.read_bytes()
        shutil.rmtree(REPORT.parent)
    assert metrics == {"report_digest": hashlib.sha256(content).hexdigest()}
    return content.decode()


# --- the page as HTML ---

VOID = {"meta", "img", "source", "br", "hr", "input", "link"}


class Checked(HTMLParser):
    """Reads a page, refusing elements that are not closed in order; keeps elements and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_the_checker_refuses_crossed_elements() -> None:
    with pytest.raises(AssertionError):
        Checked("<p><b>text</p></b>")


def test_the_page_needs_nothing_else(page: str) -> None:
    found = Checked(page)
    assert not found.all("script", "link", "iframe", "object")
    for attributes in (attributes for _, attributes in found.elements):
        for name in ("src", "srcset", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/", "#")), target
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in re.sub(r"data:[^\"]*", "", page)


def test_the_page_is_accessible(page: str) -> None:
    found = Checked(page)
    assert all(attributes.get("alt") for attributes in found.all("img"))
    assert found.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all("meta")
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes.get("scope") for attributes in found.all("th"))
    ids = [str(attributes["id"]) for _, attributes in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {str(attributes["href"]).removeprefix("#") for attributes in found.all("a")}
    references = {str(attributes["aria-labelledby"]) for _, attributes in found.elements
                  if "aria-labelledby" in attributes}
    assert links | references <= set(ids)


def test_the_page_says_what_the_inputs_say(page: str) -> None:
    text = Checked(page).text
    for words in ("42.1 %", "12.3 %", "38.7 %", "9.8 %", *DIGEST.values(), "bad <one>.jpg", "truncated", "Pillow 0",
                  "f1f2", "<b>dog</b> & \"friends\"", "40.7", "18.2", "cannot be compared", "changed: colour_noise",
                  "the built-in sample", "60 updates of 32 images", f"on {IMAGES} validation images", "3,569,767"):
        assert words in text, words
    assert "<b>dog" not in page


def test_figures_are_files_too(here: Path) -> None:
    report.run(read())
    content = REPORT.read_text()
    for file in report.ARTIFACTS[1:]:
        assert base64.b64encode(file.read_bytes()).decode() in content, file


def test_a_thousand_classes_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs([Class(f"n{k}", f"class number {k}, and its synonyms") for k in range(1000)])
    report.run(read())
    assert REPORT.stat().st_size < 3e6  # with pictures of noise, which are the largest
    assert "Confusion matrix" not in REPORT.read_text()
    Checked(REPORT.read_text())


# --- the same inputs, the same bytes; another input, another page ---

def test_place_and_execution_leave_no_trace(here: Path, page: str) -> None:
    metrics = report.run(read("recipe.colour_noise=none", "execution.workers=3", "execution.threads=2",
                              "dataset.location=/somewhere/else"))
    assert metrics["report_digest"] == hashlib.sha256(page.encode()).hexdigest()


def _array(file: Path, change: Callable[[np.ndarray], None]) -> None:
    array = np.load(file)
    change(array)
    np.save(file, array)


def _flip(array: np.ndarray, index: tuple[int, ...], bit: int) -> None:
    array[index] = (array[index].view(np.uint32) ^ np.uint32(1 << bit)).view(np.float32)


def _kernels() -> None:
    kernels = np.random.default_rng(7).standard_normal((24, 3, 11, 11)).astype(np.float32)
    save_file({"conv1.weight": kernels}, WEIGHTS, {"digest": DIGEST["weights"]})


def _predictions() -> None:
    held = dict(np.load(PREDICTIONS))
    first_right = np.flatnonzero(held["ten_crop"].argmax(1) == held["labels"])[0]  # always shown
    held["ten_crop"][first_right].sort()
    np.savez(PREDICTIONS, **held)


def _json(file: Path, *keys: Any) -> None:
    value = json.loads(file.read_text())
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    old = inner[keys[-1]]
    inner[keys[-1]] = "0" + old[1:] if isinstance(old, str) else old * 1.01
    write_json(file, value)


def _curve() -> None:
    LEARNING.write_text(LEARNING.read_text().replace("1.25", "1.75"))


CHANGES: dict[str, Callable[[], None]] = {
    "mean": lambda: _array(MEAN, lambda mean: _flip(mean, (3, 4, 1), 22)),
    "kernels": _kernels,
    "predictions": _predictions,
    "components": lambda: _json(PCA, "eigenvectors", 0, 1),
    "spread": lambda: _json(PCA, "stdevs", 0),
    "error": lambda: _json(metrics_of("evaluate"), "top1_error_10crop"),
    "trace": lambda: _json(metrics_of("train"), "trace_digest"),
    "curve": _curve,
    "quarantine": lambda: _json(STORE / "quarantine.json", 0, "name"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_input_gives_another_page(here: Path, page: str, change: str) -> None:
    CHANGES[change]()
    report.run(read("recipe.colour_noise=none"))
    assert REPORT.read_text() != page


# --- inputs that are not there, are broken, or do not belong together ---

INPUTS = {WEIGHTS: "train", LEARNING: "train", MEAN: "mean", PCA: "pca", PREDICTIONS: "evaluate",
          STORE / "store.json": "resize", STORE / "quarantine.json": "resize",
          **{metrics_of(stage): stage for stage in ("resize", "mean", "pca", "train", "evaluate")}}


@pytest.mark.parametrize("file", INPUTS, ids=str)
def test_a_missing_input_names_its_stage(here: Path, file: Path) -> None:
    file.unlink()
    with pytest.raises(UserError, match=f"{file}: no such file; make it with `alexnet {INPUTS[file]}`"):
        report.run(read())


@pytest.mark.parametrize("file", INPUTS, ids=str)
def test_a_truncated_input_names_its_stage(here: Path, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 3] if file != LEARNING else b"step,epoch\n1,2\n")
    with pytest.raises(UserError, match=f"{file}.*alexnet {INPUTS[file]}"):
        report.run(read())


def _labels() -> None:
    held = dict(np.load(PREDICTIONS))
    held["labels"][5] ^= 1
    np.savez(PREDICTIONS, **held)


FOREIGN: dict[str, tuple[Callable[[], None], str]] = {
    "metrics of other weights": (lambda: _json(metrics_of("evaluate"), "weights_digest"), "run `alexnet evaluate`"),
    "weights of another training": (lambda: _json(metrics_of("train"), "weights_digest"), "run `alexnet train`"),
    "another store": (lambda: _json(metrics_of("resize"), "pixels_digest"), "run `alexnet resize`"),
    "other labels": (_labels, "run `alexnet evaluate`"),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_inputs_of_different_runs_are_refused(here: Path, change: str) -> None:
    foreign, mend = FOREIGN[change]
    foreign()
    with pytest.raises(UserError, match=mend):
        report.run(read())


def test_weights_of_another_network_are_refused(here: Path) -> None:
    with pytest.raises(UserError, match=r"conv1 of shape \[24, 3, 11, 11\].*\[48, 3, 11, 11\]"):
        report.run(read("network.width=0.5"))


def test_a_mean_of_another_size_is_refused(here: Path) -> None:
    np.save(MEAN, np.zeros((32, 32, 3), np.float32))
    with pytest.raises(UserError, match=r"mean\.npy: damaged"):
        report.run(read())


# --- single parts, against slow references ---

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


def test_every_parameter_but_places_and_execution_is_on_the_page(page: str) -> None:
    text = Checked(page).text
    for section, values in read().model_dump().items():
        if section in ("resize", "network", "recipe", "train"):
            for name in values.keys() - {"name"}:
                assert (name if section == "recipe" else f"{section}.{name}") in text
    assert "dataset.sample.seed" in text
    assert "location" not in text


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
