"""The page needs nothing but itself, says what the inputs say, and changes with any of them; bad inputs are named."""

from __future__ import annotations

import base64
import csv
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline import parameters
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.moments import Accumulator
from pipeline.parameters import Parameters
from pipeline.paths import LEARNING, MEAN, PCA, PREDICTIONS, REPORT, STORE, WEIGHTS, metrics_of
from pipeline.shards import shard_file, shard_written
from pipeline.sources import Class
from pipeline.stages import report
from pipeline.store import Quarantined, Row, StoredShard, publish_description

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


def test_every_parameter_but_places_and_execution_is_on_the_page(page: str) -> None:
    text = Checked(page).text
    for section, values in read().model_dump().items():
        if section in ("resize", "network", "recipe", "train"):
            for name in values.keys() - {"name"}:
                assert (name if section == "recipe" else f"{section}.{name}") in text
    assert "dataset.sample.seed" in text
    assert "location" not in text


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
