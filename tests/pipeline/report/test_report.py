"""The page needs nothing but itself, says what the inputs say, and changes with any of them; bad
inputs are named."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

from alexnet.digest import digest_of
from pipeline.config import parameters
from pipeline.config.parameters import Parameters
from pipeline.config.paths import (
    FILES_LEFT_OUT,
    LEARNING,
    MATRIX,
    MEAN,
    PCA,
    PREDICTIONS,
    PROVENANCE,
    REPORT,
    STORE,
    WEIGHTS,
    metrics_of,
)
from pipeline.data.moments import Accumulator
from pipeline.data.predictions import Predictions
from pipeline.data.shards import shard_file, shard_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.store import Quarantined, StoredImage, StoredShard, publish_description
from pipeline.report import learning, pictures, predictions
from pipeline.report.inputs import Inputs, gather
from pipeline.report.page import Parts, draw, render
from pipeline.report.training import Training
from pipeline.stages import mean, pca, report
from pipeline.studies.matrix.running import Cell
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from tests.pipeline.data.test_predictions import predictions_of

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<b>dog</b> & \"friends\" $x^{ '</script>\x1b[31m\u202e"
SHOWN = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
CLASSES = [Class("n1", "cat, house cat"), Class("n2", HOSTILE), *(
    Class(f"n{k}", f"thing {k}") for k in range(3, 8))]
IMAGES, TRAINING = 30, 3
STEPS, EPOCHS = 60, 12.0
KERNELS = np.random.default_rng(8).standard_normal((24, 3, 11, 11)).astype(np.float32)
DIGEST = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("trace", "mean", "pca")} | {
    "weights": digest_of({"conv1.weight": torch.from_numpy(KERNELS)})}


MADE = {"weights_digest": DIGEST["weights"], "configuration_digest": "2" * 64, "code_digest": "3"
        * 64, "git_commit": "4" * 40, "git_dirty": True, "code_diff_digest": "5" * 64,
        "environment_digest": "6" * 64, "data": {"download.listing_digest": "7" * 64},
        "environment": {"cpu": "two <i>", "lock_digest": "8" * 64}, "execution": {"threads": "2"}}


def read(*overrides: str) -> Parameters:
    """Of the sample, whatever params.yaml is set to."""
    usual = ("dataset.source=sample", "dataset.location=null", "network.width=0.25",
             "train.epochs=16", "train.batch=32")
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
    predictions_of([f"val{k}" for k in range(images)], labels, len(classes), 7,
                   [f"train{k}" for k in range(TRAINING)], centre=probabilities,
                   ten_crop=probabilities).save(PREDICTIONS)
    save_file({"conv1.weight": KERNELS}, WEIGHTS, {"digest": DIGEST["weights"]})
    for stage in (mean, pca):
        stage.run(read())
    with LEARNING.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", "epoch", "training_loss", "training_error", "validation_loss",
                         "validation_error"])
        writer.writerows([step, step * EPOCHS / STEPS, 50 / step, 6 / step, 40 / step, 5 / step]
                         for step in (10, 20, 40, STEPS))
    Path("experiments").mkdir()
    shutil.copy(ROOT / "experiments/claims.yaml", "experiments/claims.yaml")
    write_json(PROVENANCE, MADE)
    write_json(MATRIX, {"workload": ["train.epochs=1"], "stack": {"cpu": "one"}, "rows": [
        asdict(Cell("process", "train", "identical", True, "again")),
        asdict(Cell("threads", "train", "differs", False, "step 1: <i>gradients</i>"))]})
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    for stage, metrics in {
            "resize": {"pixels_digest": pixels_digest}, "mean": {"mean_digest": DIGEST["mean"]},
            "pca": {"pca_digest": DIGEST["pca"]}, "train":
            {"steps": STEPS, "weights_digest": DIGEST["weights"], "trace_digest": DIGEST["trace"]},
            "evaluate": {"top1_error": 0.421, "top5_error": 0.123, "top1_error_10crop": 0.387,
                         "top5_error_10crop": 0.098, "images": images, "weights_digest":
                         DIGEST["weights"], "same_class_hidden": 0.71, "same_class_pixels": 0.29,
                         "colour_0": 0.12, "colour_1": 0.34, "specialisation": 0.213}}.items():
        write_json(metrics_of(stage), metrics)


def held() -> Predictions:
    return Predictions.load(PREDICTIONS, "")


def write_store(classes: list[Class], labels: np.ndarray, random: np.random.Generator) -> str:
    shards, moments = [], Accumulator()
    for split, numbers in (("train", np.arange(TRAINING)), ("val", labels)):
        with shard_writer(STORE / shard_file(split, 0)) as writer:
            for label in numbers:
                image = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
                writer.add(image, int(label))
                if split == "train":
                    moments.add(image)
        rows = [StoredImage(f"{split}{k}", f"{k:064x}", int(label))
                for k, label in enumerate(numbers)]
        shards.append(StoredShard(split, 0, writer.digest.hexdigest(), rows))
    quarantined = [Quarantined("train", "bad <one>.jpg", "truncated", "0" * 64)]
    doubtful = [Quarantined("val", "half <two>.jpg", "its data end early", "1" * 64)]
    made = {"decoder": {"library": "Pillow 0", "fingerprint": "f1f2"}}
    write_json(FILES_LEFT_OUT, {"taken": {"train": TRAINING + 1, "val": len(labels)},
                                "left_out": {"hidden": ["val/<._x>"]},
                                "unlabelled": {"in val without a label": ["val/a.jpg"]},
                                "missing": ["ILSVRC2012_val_00000060"]})
    return str(publish_description(STORE, classes, shards, moments.moments(), quarantined,
                                   made, doubtful=doubtful)["pixels_digest"])


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
def made(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the page and the figures of these inputs."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(prepared)
        metrics = report.run(read("recipe.colour_noise=none"))
        shutil.move(REPORT.parent, folder)
    content = (folder / REPORT).read_bytes()
    assert metrics == {"report_digest": hashlib.sha256(content).hexdigest()}
    return folder


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / REPORT).read_text()


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
    assert "http" not in re.sub(r"data:[^\"]*", "", page).replace("http-equiv", "")
    [policy] = [attributes["content"] for attributes in found.all("meta")
                if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    allowed = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert allowed == {"default-src": "'none'", "img-src": "data:",
                       "style-src": "'unsafe-inline'", "base-uri": "'none'",
                       "form-action": "'none'"}


def test_the_contents_name_every_section(page: str) -> None:
    found = Checked(page)
    sections = [attributes["id"] for attributes in found.all("section")]
    links = [str(attributes["href"])[1:] for attributes in found.all("a")]
    assert links[:len(sections)] == sections


def test_the_page_is_accessible(page: str) -> None:
    found = Checked(page)
    assert all(attributes.get("alt") for attributes in found.all("img"))
    assert found.all("html") == [{"lang": "en"}]
    assert {"name": "viewport",
            "content": "width=device-width, initial-scale=1"} in found.all("meta")
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
    for words in ("42.1 %", "12.3 %", "38.7 %", "9.8 %", *DIGEST.values(), "bad <one>.jpg",
                  "half <two>.jpg", "val/<._x>", "val/a.jpg", "ILSVRC2012_val_00000060",
                  "truncated", "Pillow 0", "f1f2", SHOWN, "40.7", "18.2", "cannot be compared",
                  "changed: colour_noise", "the built-in sample", "60 updates of 32 images",
                  *(digit * 64 for digit in "235678"), "4" * 40,
                  "two <i>", "step 1: <i>gradients</i>", "1 of 1 required results are identical",
                  "made on another stack", f"on {IMAGES} validation images", "3,569,767"):
        assert words in text, words
    assert "<b>dog" not in page
    assert "</script" not in page
    assert not {"\x1b", "\u202e"} & set(page)


def test_every_parameter_but_places_and_execution_is_on_the_page(page: str) -> None:
    text = Checked(page).text
    for section, values in read().model_dump().items():
        if section in ("resize", "network", "recipe", "train"):
            for name in values.keys() - {"name"}:
                assert (name if section == "recipe" else f"{section}.{name}") in text
    assert "dataset.sample.seed" in text
    assert "location" not in text


FIGURES = ("learning-loss.svg", "learning-error.svg", "kernels.png", "mean.png", "class-errors.svg",
           "predictions.png", "neighbours.png", "ten-crops.png", "colour-axes.png", "confusion.png")


def test_every_figure_is_a_file_beside_its_numbers(prepared: Path, made: Path, page: str) -> None:
    folder = made / report.FIGURES
    names = {file.name for file in folder.iterdir()}
    data = {name for name in names if name.endswith((".csv", ".json", ".npy"))}
    assert names - data == set(FIGURES)
    assert {Path(name).stem for name in data} == {Path(name).stem for name in FIGURES} | {"claims"}
    for name in FIGURES:
        content = (folder / name).read_bytes()
        if name.endswith(".png"):
            assert min(Image.open(io.BytesIO(content)).size) > 20
        else:
            ElementTree.fromstring(content)  # ESC is no character of XML's
        assert f"report/figures/{name}" in Checked(page).text
    for name in FIGURES[:5]:  # the others stand on the page in pieces
        assert base64.b64encode((folder / name).read_bytes()).decode() in page, name
    assert np.array_equal(np.load(folder / "kernels.npy"),
                          load_file(prepared / WEIGHTS)["conv1.weight"])
    rows = list(csv.DictReader((folder / "class-errors.csv").open()))
    assert sum(int(row["images"]) for row in rows) == IMAGES
    assert [row["class"] for row in rows] == [
        SHOWN if one.words == HOSTILE else one.words for one in CLASSES]
    pairs = list(csv.DictReader((folder / "confusion.csv").open()))
    assert sum(int(row["images"]) for row in pairs) == IMAGES
    wrong = sum(int(row["images"]) for row in pairs if row["right_label"] != row["taken_for_label"])
    assert wrong == sum(int(row["mistakes"]) for row in rows)
    assert len(json.loads((folder / "neighbours.json").read_text())) == 5
    assert len(json.loads((folder / "ten-crops.json").read_text())["crops"]) == 10


def test_dvc_shows_every_figure() -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    assert {one for one in plots if isinstance(one, str)} == {(report.FIGURES / name).as_posix()
                                                              for name in FIGURES}


def test_a_figure_of_an_earlier_run_does_not_stay(here: Path) -> None:
    report.FIGURES.mkdir(parents=True)
    (report.FIGURES / "old.png").touch()
    nothing = np.zeros((0, 6), np.int64)
    replace(held(), queries=nothing[:, 0], nearest_hidden=nothing,
            nearest_pixels=nothing).save(PREDICTIONS)
    report.run(read())
    assert not (report.FIGURES / "old.png").exists()
    assert not (report.FIGURES / "neighbours.png").exists()
    assert "No neighbours were sought" in REPORT.read_text()


def test_a_thousand_classes_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs([Class(f"n{k}", f"class number {k}, and its synonyms") for k in range(1000)])
    report.run(read())
    assert REPORT.stat().st_size < 3e6  # with pictures of noise, which are the largest
    assert "aria-label=\"Confusion matrix\"" not in REPORT.read_text()  # a table of a million cells
    assert max(Image.open(report.FIGURES / "confusion.png").size) <= 1000
    assert "Classes with the lowest error" in REPORT.read_text()
    Checked(REPORT.read_text())


# --- the same inputs, the same bytes; another input, another page ---

def test_place_and_execution_leave_no_trace(here: Path, page: str) -> None:
    metrics = report.run(read("recipe.colour_noise=none", "execution.workers=3",
                              "execution.threads=2", "dataset.location=/somewhere/else"))
    assert metrics["report_digest"] == hashlib.sha256(page.encode()).hexdigest()


def _mean(inputs: Inputs) -> Inputs:
    other = inputs.mean.copy()
    other[3, 4, 1] += 50
    return replace(inputs, mean=other)


def _colours(inputs: Inputs, name: str, *where: int) -> Inputs:
    other = json.loads(json.dumps(inputs.colours))
    inner = other[name]
    for place in where[:-1]:
        inner = inner[place]
    inner[where[-1]] *= 1.01
    return replace(inputs, colours=other)


def _predictions() -> None:
    predictions = held()
    # always shown
    first_right = np.flatnonzero(predictions.ten_crop.argmax(1) == predictions.labels)[0]
    predictions.ten_crop[first_right].sort()
    predictions.save(PREDICTIONS)


def _without_digests() -> None:
    """As a store from before its description had digests."""
    description = json.loads((STORE / "store.json").read_text())
    del description["digest"]
    write_json(STORE / "store.json", description)


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


TRAINED = Training(0, 3_600_000, 2, 4, 2, "cpu")
Drawn = Callable[[Inputs], Any]
# What has a digest cannot be another on the disk: it is changed after it was read.
CHANGES: dict[str, tuple[Callable[[Inputs], object], Drawn | None]] = {
    "mean": (_mean, pictures.mean),
    "kernels": (lambda inputs: replace(inputs, kernels=inputs.kernels[::-1]), pictures.kernels),
    "predictions": (lambda _: _predictions(),
                    lambda inputs: predictions.predictions_sheet(predictions.predictions(inputs))),
    "components": (lambda inputs: _colours(inputs, "eigenvectors", 0, 1),
                   lambda inputs: pictures.colour_axes(inputs, pictures.components(inputs))),
    "spread": (lambda inputs: _colours(inputs, "stdevs", 0), lambda inputs: pictures.colour_axes(
        inputs, pictures.components(inputs))),
    "curve": (lambda _: _curve(), learning.exhibits),
    "error": (lambda _: _json(metrics_of("evaluate"), "top1_error_10crop"), None),
    "time": (lambda inputs: replace(inputs, training=TRAINED), None),
    "trace": (lambda _: _json(metrics_of("train"), "trace_digest"), None),
    "doubtful": (lambda _: (_json(STORE / "doubtful.json", 0, "name"), _without_digests()), None),
    "left out": (lambda _: _json(FILES_LEFT_OUT, "left_out", "hidden", 0), None),
    "unlabelled": (lambda _: _json(FILES_LEFT_OUT, "unlabelled", "in val without a label", 0),
                   None),
    "missing": (lambda _: _json(FILES_LEFT_OUT, "missing", 0), None),
    "another data set's account": (lambda _: _json(FILES_LEFT_OUT, "taken", "val"), None),
    "quarantine": (lambda _: (_json(STORE / "quarantine.json", 0, "name"), _without_digests()),
                   None),
}


@pytest.fixture(scope="module")
def before(prepared: Path) -> tuple[Inputs, Parts, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(prepared)
        inputs = gather(read())
        parts = draw(inputs)
        return inputs, parts, render(inputs, parts)


@pytest.mark.parametrize("change", CHANGES)
def test_another_input_gives_another_page(here: Path, before: tuple[Inputs, Parts, str],
                                          change: str) -> None:
    """By its figure, which stands on the page, or by what the page says."""
    inputs, parts, page = before
    alter, drawn = CHANGES[change]
    altered = alter(inputs)
    after = altered if isinstance(altered, Inputs) else gather(read())
    if drawn:
        assert drawn(after) != drawn(inputs)
        assert drawn(inputs) == drawn(inputs)
    else:
        assert render(after, parts) != page


# --- inputs that are not there, are broken, or do not belong together ---

INPUTS = {WEIGHTS: "train", LEARNING: "train", MEAN: "mean", PCA: "pca", PREDICTIONS: "evaluate",
          STORE / "store.json": "resize", STORE / "quarantine.json": "resize",
          **{metrics_of(stage): stage for stage in ("resize", "mean", "pca", "train", "evaluate")}}


@pytest.mark.parametrize("file", INPUTS, ids=str)
def test_a_missing_input_names_its_stage(here: Path, file: Path) -> None:
    file.unlink()
    with pytest.raises(UserError,
                       match=f"{file}: no such file; make it with `alexnet {INPUTS[file]}`"):
        report.run(read())


@pytest.mark.parametrize("file", INPUTS, ids=str)
def test_a_truncated_input_names_its_stage(here: Path, file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 3] if file != LEARNING else b"step,epoch\n1,2\n")
    with pytest.raises(UserError, match=f"{file}.*alexnet {INPUTS[file]}"):
        report.run(read())


def _labels() -> None:
    predictions = held()
    predictions.labels[5] ^= 1
    predictions.save(PREDICTIONS)


def _predicted(*names: str, dropped: int = 0) -> None:
    """Predictions without the last images, and with those of these names."""
    old = held()
    kept = len(old.names) - dropped
    predictions_of([*old.names[:kept], *names], [*old.labels[:kept], *[0] * len(names)],
                   old.centre.shape[1]).save(PREDICTIONS)


FOREIGN: dict[str, tuple[Callable[[], None], str]] = {
    "metrics of other weights": (lambda: _json(metrics_of("evaluate"), "weights_digest"),
                                 "run `alexnet evaluate`"),
    "weights of another training": (lambda: _json(metrics_of("train"), "weights_digest"),
                                    "run `alexnet train`"),
    "another store": (lambda: _json(metrics_of("resize"), "pixels_digest"), "run `alexnet resize`"),
    "a record of other weights": (lambda: _json(PROVENANCE, "weights_digest"),
                                  "run `alexnet train`"),
    "other labels": (_labels, "run `alexnet evaluate`"),
    "an image fewer": (lambda: _predicted(dropped=1),
                       "1 of the images wanted have none, 0 are not .*run `alexnet evaluate`"),
    "an image more": (lambda: _predicted("x"),
                      "0 of the images wanted have none, 1 are not .*run `alexnet evaluate`"),
    "another image": (lambda: _predicted("x", dropped=1),
                      "1 of the images wanted have none, 1 are not .*run `alexnet evaluate`"),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_inputs_of_different_runs_are_refused(here: Path, change: str) -> None:
    foreign, mend = FOREIGN[change]
    foreign()
    with pytest.raises(UserError, match=mend):
        report.run(read())


def test_predictions_in_another_order_give_the_same_page(here: Path) -> None:
    predictions, digest = held(), report.run(read())["report_digest"]
    order = np.random.default_rng(4).permutation(len(predictions.names))
    predictions.of([predictions.names[k] for k in order]).save(PREDICTIONS)
    assert report.run(read())["report_digest"] == digest
    # the rows in that order, the names as they were: other predictions
    replace(predictions, ten_crop=predictions.ten_crop[order]).save(PREDICTIONS)
    assert report.run(read())["report_digest"] != digest


def test_weights_of_another_network_are_refused(here: Path) -> None:
    with pytest.raises(UserError, match=r"conv1 of shape \[24, 3, 11, 11\].*\[48, 3, 11, 11\]"):
        report.run(read("network.width=0.5"))


@pytest.mark.parametrize("file", [MEAN, PCA, WEIGHTS, PREDICTIONS], ids=str)
def test_a_flipped_bit_is_named(here: Path, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"{file}: (damaged|broken).*alexnet {INPUTS[file]}"):
        report.run(read())


def test_a_mean_of_another_size_is_refused(here: Path) -> None:
    np.save(MEAN, np.zeros((32, 32, 3), np.float32))
    with pytest.raises(UserError, match=r"mean\.npy: damaged"):
        report.run(read())
