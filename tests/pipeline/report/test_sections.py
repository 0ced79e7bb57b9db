"""What the parts of the report say and draw, against slow references."""

from __future__ import annotations

import io
import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path
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
from pipeline.data.sources.catalogue import Class
from pipeline.records import mlflow_connection
from pipeline.report import (
    confusion,
    evidence,
    figures,
    learning,
    matrix,
    pictures,
    predictions,
    record,
    results,
    sheets,
    training,
)
from pipeline.report.choosing import LONGEST_LIST
from pipeline.report.inputs import Inputs, Matrix, Verification
from pipeline.report.intervals import interval
from pipeline.studies.claims.ledger import Epochs, load
from pipeline.studies.claims.results import Results
from pipeline.studies.matrix.running import Cell
from pipeline.studies.run_sets import Run, RunSet
from pipeline.studies.yardsticks import Yardstick
from tests.pipeline.report.test_report import MADE, ROOT, read


@given(name=st.sampled_from(["source", "paper"]), schedule=st.sampled_from(["hand", "dexp"]),
       steps=st.integers(1, 300))
def test_rate_changes_are_those_that_every_step_shows(name: Any, schedule: str, steps: int) -> None:
    chosen = recipe(name, schedule=schedule)
    rates = [rate(chosen, "fc8.weight", step / steps).lr for step in range(steps)]
    expected = [(step, value)
                for step, value in enumerate(rates) if step == 0 or value != rates[step - 1]]
    assert learning.rate_changes(rates.__getitem__, steps) == expected


@given(data=st.data(), count=st.integers(1, 50_000))
def test_intervals_are_wilsons(data: st.DataObject, count: int) -> None:
    wrong = data.draw(st.integers(0, count))
    expected = binomtest(wrong, count).proportion_ci(method="wilson")
    found = interval(wrong / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(data=st.data(), classes=st.integers(2, 24))
def test_confusion_counts_every_image(data: st.DataObject, classes: int) -> None:
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=40))
    taken = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(labels),
                               max_size=len(labels)))
    found = confusion.confusion(_inputs(np.array(labels), np.eye(classes, dtype=np.float32)[taken]))
    counts = {(right, guess): 0 for right in range(classes) for guess in range(classes)}
    for pair in zip(labels, taken, strict=True):
        counts[pair] += 1
    assert found.counts.tolist() == [[counts[i, j] for j in range(classes)] for i in range(classes)]
    assert {(i, j): n for i, j, n in found.pairs} == {(i, j): n for (i, j), n in counts.items()
                                                      if i != j and n}
    assert [n for _, _, n in found.pairs] == sorted((n for _, _, n in found.pairs), reverse=True)
    errors = {i: sum(counts[i, j] for j in range(classes) if j != i) for i in range(classes)}
    assert sorted(found.order) == list(range(classes))
    shares = [errors[i] / labels.count(i) for i in found.order if i in labels]
    assert shares == sorted(shares, reverse=True)
    assert found.order[len(shares):] == [i for i in range(classes) if i not in labels]
    for label in range(classes):
        assert found.error(label)[2:] == (errors[label], labels.count(label))
    assert [one[0] for one in found.worst()] == [i for i in found.order[:10] if errors[i]]
    assert found.small == (classes <= 20)
    assert found.best() == ([] if found.small else [found.error(
        i) for i in found.order[len(shares) - 10:][: len(shares[-10:])][::-1]] if len(shares) >= 10
                            else [found.error(i) for i in found.order[:len(shares)][::-1]])


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
    kinds = dict(predictions.predictions(_inputs(labels, probabilities)))
    shown = {title: [card.index for card in cards] for title, cards in kinds.items()}
    best = probabilities.argmax(1)
    right, near, sure = shown.values()
    assert all(best[k] == labels[k] for k in right)
    assert (right[0], right[-1]) == tuple(np.flatnonzero(best == labels)[[0, -1]])
    by_confidence = sorted((k for k in range(400) if best[k] != labels[k]),
                           key=lambda k: -probabilities[k].max())
    assert sure == by_confidence[:4]
    nearly = [k for k in range(400) if best[k] != labels[k]
              and labels[k] in np.argsort(-probabilities[k])[:5] and k not in sure]
    assert near == [nearly[round(part * (len(nearly) - 1) / 3)] for part in range(4)]
    for title, cards in kinds.items():
        for k, card in zip(shown[title], cards, strict=True):
            order = sorted(range(8), key=lambda c: -probabilities[k, c])[:5]
            assert card.guesses == [(f"class {c}", float(probabilities[k, c]), c == labels[k])
                                    for c in order]


def test_a_kind_of_prediction_without_any_is_left_out() -> None:
    labels = np.array([0, 1, 1])
    found = predictions.predictions(_inputs(labels, np.eye(2, dtype=np.float32)[labels]))
    assert [title for title, _ in found] == ["Right"]


def test_kernels_are_stretched_one_by_one_and_stand_in_their_places() -> None:
    random = np.random.default_rng(5)
    kernels = (random.standard_normal((26, 3, 11, 11))
               * random.uniform(1e-6, 10, (26, 1, 1, 1))).astype(np.float32)
    kernels[3] = 0.25
    sheet = np.asarray(Image.open(io.BytesIO(figures.kernel_sheet(kernels, 2, "x").content)))
    rows = 2  # thirteen kernels of a column
    pitch, height = (11 * figures.KERNEL_SCALE + figures.GAP,
                     rows * (11 * figures.KERNEL_SCALE) + figures.GAP)
    painted = np.zeros(sheet.shape[:2], bool)
    for number, kernel in enumerate(kernels.astype(np.float64)):
        column, place = divmod(number, 13)
        top = column * (height + figures.COLUMN_GAP) + place // 12 * pitch
        left = place % 12 * pitch
        tile = sheet[top: top + 66, left: left + 66]
        low, high = kernel.min(), kernel.max()
        expected = (255 * (kernel - low) / (high - low) if high > low
                    else np.full(kernel.shape, 127.5))
        for y, x, channel in np.ndindex(11, 11, 3):
            block = tile[6 * y: 6 * y + 6, 6 * x: 6 * x + 6]
            assert (block[..., 3] == 255).all()
            assert (block[..., channel] == block[0, 0, channel]).all()
            assert abs(block[0, 0, channel] - expected[channel, y, x]) <= 0.51
        painted[top: top + 66, left: left + 66] = True
    assert sheet.shape == (2 * height + figures.COLUMN_GAP, 12 * pitch - figures.GAP, 4)
    assert (sheet[~painted] == 0).all()


def test_components_lie_in_the_columns_of_the_matrix_and_move_the_image() -> None:
    image = np.zeros((4, 4, 3), np.uint8) + np.array([100, 110, 120], np.uint8)
    image[1, 2] = (250, 0, 7)
    colours = {"eigenvalues": [900.0, 400.0, 4e4], "stdevs": [30.0, 20.0, 200.0],
               "eigenvectors": [[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]}
    store = SimpleNamespace(split=lambda name: SimpleNamespace(image=lambda index: image))
    found = pictures.components(cast(Inputs, SimpleNamespace(store=store, colours=colours)))
    assert [one.vector for one in found] == [[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]
    assert [one.share for one in found] == pytest.approx([900 / 41300, 400 / 41300, 40000 / 41300])
    for one in found:
        assert [sigma for sigma, _ in one.shifted] == [-3, -2, -1, 0, 1, 2, 3]
        for sigma, pixels in one.shifted:
            for y, x, c in np.ndindex(4, 4, 3):
                wanted = float(image[y, x, c]) + sigma * one.stdev * one.vector[c]
                assert abs(float(pixels[y, x, c]) - min(255.0, max(0.0, wanted))) <= 0.5


def test_of_the_first_images_the_one_whose_crops_disagree_most_is_shown() -> None:
    random = np.random.default_rng(8)
    images = random.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    each = np.full((10, 3, 4), 0.25, np.float32)
    each[:, 1] = np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 0, 0, 0, 2, 2, 3]]
    store = SimpleNamespace(split=lambda name: SimpleNamespace(image=lambda index: images[index]),
                            classes=[None] * 4)
    said = SimpleNamespace(each_crop=each, crops_of=np.array([2, 0, 1]))
    found = pictures.ten_crops(cast(Inputs, SimpleNamespace(
        predictions=said, store=store, parameters=read(), probabilities=each.mean(0),
        labels=np.array([0, 2, 1]))))
    assert (found.index, found.label, found.average) == (0, 0, (0, pytest.approx(0.25)))
    assert [says for *_, says, _ in found.crops] == [0, 0, 0, 0, 0, 0, 0, 2, 2, 3]
    places = {"top left": (0, 0), "top right": (0, 32), "bottom left": (32, 0),
              "bottom right": (32, 32), "centre": (16, 16)}
    for number, (place, mirrored, pixels, _, _) in enumerate(found.crops):
        top, left = places[place]
        window = images[0, top: top + 224, left: left + 224]
        assert mirrored == (number >= 5)
        assert np.array_equal(pixels, window[:, ::-1] if mirrored else window)


def test_of_nine_views_each_is_shown_where_it_was_cut() -> None:
    image = np.random.default_rng(9).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    each = np.eye(9, dtype=np.float32)[:, None]
    store = SimpleNamespace(split=lambda name: SimpleNamespace(image=lambda index: image),
                            classes=[None] * 9)
    shown = pictures.ten_crops(cast(Inputs, SimpleNamespace(
        predictions=SimpleNamespace(each_crop=each, crops_of=np.array([0])), store=store,
        parameters=read("network.architecture=cifar"), probabilities=each.mean(0),
        labels=np.array([0]))))
    assert [says for *_, says, _ in shown.crops] == list(range(9))
    assert [place for place, *_ in shown.crops] == [
        "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom",
        "bottom right"]
    for number, (_, mirrored, pixels, _, _) in enumerate(shown.crops):
        top, left = number // 3 * 4, number % 3 * 4
        assert not mirrored
        assert np.array_equal(pixels, image[top: top + 24, left: left + 24])


@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_queries_are_of_other_classes_while_there_are_others(labels: list[int]) -> None:
    chosen = predictions._of_other_classes(np.array(labels))
    assert len(chosen) == len(set(chosen)) == min(5, len(labels))
    assert len({labels[place] for place in chosen}) == min(5, len(set(labels)), len(labels))


def test_pictures_on_a_sheet_fill_their_place_or_as_much_as_whole_pixels_can() -> None:
    sheet = sheets.Sheet(60, 60)
    large, small = (np.full((100, 100, 3), 7, np.uint8),
                    np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
    assert sheet.picture(large, 2, 3, 20) == 20
    assert (sheet.canvas[3:23, 2:22] == 7).all()
    assert sheet.picture(small, 30, 30, 20) == 16
    for y, x in np.ndindex(16, 16):
        assert (sheet.canvas[30 + y, 30 + x] == small[y // 2, x // 2]).all()
    assert (sheet.canvas[46:] == 255).all()


def test_words_on_a_sheet_are_never_formulas_nor_wider_than_their_room() -> None:
    sheet = sheets.Sheet(120, 40)
    sheet.words("$\\frac{ <b> \u732b", 4, 4, 110)
    sheet.words("W" * 100, 4, 20, 60)
    pixels = np.asarray(Image.open(io.BytesIO(sheet.figure("alt").content)).convert("L"))
    assert pixels.shape == (40, 120)
    assert (pixels[:18] < 128).any()
    assert (pixels[20:36, :64] < 128).any()
    assert (pixels[20:36, 65:] > 250).all()


def test_charts_do_not_depend_on_the_users_style() -> None:
    def drawn() -> figures.Figure:
        line = figures.Line("validation", "validation", np.array([1.0, 2.0]), np.array([0.5, 0.25]))
        return figures.chart("title", [line], [(0.0, 0.01), (0.7, 0.001)], "alt", percent=True)

    first = drawn()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": None,
                                "axes.grid": True}):
        second = drawn()
    assert first == second
    assert first.content != first.dark
    assert b"<dc:date>" not in first.content


FULL = ("dataset.source=imagenet2012", "dataset.location=archives", "network.width=1",
        "train.epochs=91")


def test_a_full_run_can_be_compared_with_the_paper() -> None:
    assert results.unlike_the_paper(read(*FULL), 1000) == []


@pytest.mark.parametrize(("override", "classes", "reason"),
                         [("dataset.source=folder", 1000, "archives"),
                          ("network.width=0.5", 1000, "0.5 of the paper's width"),
                          ("network.dropout=false", 1000, "dropout false"),
                          ("network.architecture=half", 1000, "architecture half"),
                          ("train.epochs=30", 1000, "30 epochs"),
                          ("dataset.incomplete=true", 1000, "known to be a part of ImageNet's"),
                          ("train.seed=2", 100, "100 classes")])
def test_what_keeps_a_run_from_comparison_is_named(override: str, classes: int,
                                                   reason: str) -> None:
    [found] = results.unlike_the_paper(read(*FULL, override), classes)
    assert reason in found


def test_a_data_set_that_is_known_to_be_a_part_is_called_so() -> None:
    for override, part in (("dataset.incomplete=true", True), ("dataset.incomplete=false", False)):
        parameters = read(*FULL, override)
        assert results.data_name(parameters).startswith("a part of ") == part
        assert ("dataset.incomplete" in dict(record.settings(parameters))) == part


def test_of_the_weights_to_start_from_only_the_files_name_is_told() -> None:
    found = record.settings(read("train.start_from=/some/where/a.safetensors"))
    assert dict(found)["train.start_from"] == "a.safetensors"


def test_long_curves_are_thinned_evenly_with_both_ends() -> None:
    curve = {name: np.arange(1001.0) for name in ("step", "epoch")}
    rows = learning.curve_rows(cast(Inputs, SimpleNamespace(curve=curve)))
    assert len(rows) == LONGEST_LIST
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 1000)
    gaps = {after["step"] - before["step"] for before, after in itertools.pairwise(rows)}
    assert math.isclose(max(gaps) - min(gaps), 1)


# --- the record, the matrix, the evidence ---

def test_the_record_has_every_digest() -> None:
    inputs = cast(Inputs, SimpleNamespace(provenance=MADE))
    assert ({value for _, value in record.more_digests(inputs)}
            == {"2" * 64, "3" * 64, "4" * 40, "5" * 64, "6" * 64, "7" * 64, "8" * 64})
    assert record.environment(inputs) == [("cpu", "two <i>"), ("threads", "2")]
    nothing = cast(Inputs, SimpleNamespace(provenance=None))
    assert record.more_digests(nothing) == record.environment(nothing) == []


def test_the_matrix_is_told_whole_and_a_matrix_of_another_stack_is_named() -> None:
    rows = [Cell("process", "train", "identical", True, "again"),
            Cell("threads", "train", "differs", False, "step 1")]
    inputs = cast(Inputs, SimpleNamespace(provenance=MADE,
                                          matrix=Matrix(rows, {"cpu": "one", "gpu": "none"}, [])))
    table = matrix.matrix_table(rows)
    assert [(axis, cells[3]) for axis, _, cells in table.lines] == [
        ("process*", rows[0]), ("threads", rows[1])]
    assert table.notes == [rows[1]]
    assert record.other_stack(inputs) == ["cpu"]


def test_the_top_of_the_page_says_when_where_and_at_what_cost() -> None:
    made = MADE | {"environment": {"cpu": "EPYC", "cores": "2", "torch": "2.13", "gpu": "none",
                                   "cpu_capability": "AVX2"},
                   "execution": {"device": "cpu", "deterministic": "true"}}
    resumed = training.Training(0, 5_400_000, 2, 4, 2, "cpu")
    assert training.about(read("train.arithmetic=native"), made, resumed) == [
        ("Trained", "1970-01-01 01:30 UTC, 90 min in the last of 2 sessions"),
        ("Cost", "12 core-hours in the last of 2 sessions: 4 processes of 2 threads"),
        ("Machine", "EPYC, 2 cores, no GPU"),
        ("Arithmetic", "native, fp32, PyTorch 2.13, AVX2, deterministic algorithms")]
    assert replace(resumed, device="cuda").hours == 6
    portable = dict(training.about(read("train.arithmetic=portable"), made, None))["Arithmetic"]
    assert portable.startswith("portable, number ")
    assert "AVX2" not in portable
    assert training.about(read(), None, None) == [
        ("Trained", "at a time that MLflow’s store here does not have")]


def test_the_page_says_when_it_was_last_verified_and_by_which_command() -> None:
    heading, said = training.verified(None, "1" * 64)
    assert (heading, said.partition(":")[0]) == ("Verified", "not yet")
    done = Verification("2026-11-27 16:00 UTC", "alexnet verify --steps 5", "a" * 40, "1" * 64,
                        {"mean": "identical", "pca": "differs", "train": "identical"})
    assert training.verified(done, "1" * 64)[1] == (
        "2026-11-27 16:00 UTC, by alexnet verify --steps 5, commit aaaaaaaaaaaa; differs: pca; "
        "identical: mean, train")
    assert training.verified(done, "2" * 64)[1].startswith("another run was, 2026-11-27")


def test_the_time_is_that_of_the_training_of_these_weights(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert training.recorded("1" * 64, "2" * 64) is None
    assert list(tmp_path.iterdir()) == []  # no store is made by asking
    client = mlflow_connection.client()
    experiment = client.create_experiment(mlflow_connection.experiment_name())
    tags = {"stage": "train", "weights_digest": "1" * 64, "environment_digest": "2" * 64,
            "processes": "2", "threads": "1", "device": "cpu"}
    run = client.create_run(experiment, 1000, tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED", 61_000)
    client.create_run(experiment, 500, tags={"stage": "train",
                                             "mlflow.parentRunId": run.info.run_id})
    assert training.recorded("1" * 64, "2" * 64) == training.Training(1000, 61_000, 2, 2, 1, "cpu")
    assert training.recorded("3" * 64, "2" * 64) is None
    assert training.recorded("1" * 64, "3" * 64) is None


def test_the_yardstick_is_the_best_of_what_was_measured_on_the_data() -> None:
    def stored(pixels: str, pictures: int = 60) -> dict[str, Any]:
        return {"pixels_digest": pixels, "train_images": pictures, "val_images": 20}

    def kept(source: str, name: str, *errors: float, crops: str = "_10crop",
             pictures: int = 60) -> RunSet:
        names = [f"top{top}_error{end}" for end in ("", crops) for top in (1, 5)]
        runs = [Run(seed, {"evaluate": dict.fromkeys(names, error),
                           "resize": stored(name, pictures)})
                for seed, error in enumerate(errors)]
        return RunSet(name, {"dataset.source": source}, "", {}, runs)

    sets = [kept("sample", "good", 0.1, 0.2, 0.3), kept("sample", "bad", 0.4, 0.4, 0.4),
            kept("sample", "lucky", 0.0), kept("sample", "larger", 0.0, 0.0, 0.0, pictures=61),
            kept("cifar10", "other", 0.0, 0.0, 0.5, crops="_9crop")]

    def inputs(source: str, pixels: str = "") -> Inputs:
        return cast(Inputs, SimpleNamespace(
            parameters=SimpleNamespace(dataset=SimpleNamespace(source=source)),
            metrics={"resize": stored(pixels)},
            evidence=SimpleNamespace(run_sets=sets)))

    def row(source: str, pixels: str = "") -> results.ErrorRow | None:
        return results.yardstick(inputs(source, pixels))

    best = row("sample")
    assert best is not None
    assert best.ten == (pytest.approx(0.2), pytest.approx(0.2))
    assert best.what.replace("\u00a0", " ") == (
        "Measured here: mean of 3 runs of good, from 10.0 % to 30.0 % top-1 with ten crops")
    assert results.good_here(inputs("sample"), 10)[1].replace("\u00a0", " ") == (
        "20.0 % top-1 and 20.0 % top-5 with ten crops, the mean of 3 runs of good; guessing is "
        "90.0 % top-1")
    assert results.good_here(inputs("imagenet2012"), 1000)[1].startswith("not known: no runs")
    nine = row("cifar10")
    assert nine is not None
    assert nine.what.endswith("to 50.0\u00a0% top-1 with nine crops")
    assert row("imagenet2012") is None
    # what is kept without its data set's name is found by its pixels
    sets.append(RunSet("claim", {}, "", {}, [
        Run(seed, {**sets[0].runs[0].metrics, "resize": stored("p")},
            record={"seconds": 90}) for seed in range(3)]))
    claimed = row("folder", "p")
    assert claimed is not None
    assert claimed.what.endswith("top-1 with ten crops, 90 s each")
    assert row("folder", "q") is None
    assert [row.ten for row in results.to_compare(10, best)][:2] == [best.ten, (0.9, 0.5)]
    assert results.to_compare(10, None)[0].what.startswith("Guessing")


def test_the_chart_of_errors_has_the_curve_of_what_is_good(
        monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[figures.Line]] = []
    monkeypatch.setattr(learning, "chart", lambda title, lines, *_, **__: drawn.append(lines))
    monkeypatch.setattr(learning, "Exhibit", lambda *_: None)
    yardstick = Yardstick("sample-1", 1200, 3, {}, "_10crop", 0.1, 0.3, None,
                          [(1.0, 0.4), (2.0, 0.2)])
    curve = {name: np.array([1.0, 2.0]) for name in (
        "step", "epoch", "training_loss", "validation_loss", "training_error", "validation_error")}
    inputs = cast(Inputs, SimpleNamespace(curve=curve, parameters=read("train.epochs=2")))
    for best in (None, yardstick, replace(yardstick, curve=[])):
        monkeypatch.setattr(learning, "best", lambda _, best=best: best)
        learning.exhibits(inputs)
    assert [len(lines) for lines in drawn] == [2, 2, 2, 3, 2, 2]
    line = drawn[3][2]
    assert (line.name, line.epochs.tolist(), line.values.tolist()) == (
        "validation, mean of 3 runs of sample-1", [1.0, 2.0], [0.4, 0.2])


def test_the_rates_of_a_training_that_stopped_early_are_those_of_the_whole() -> None:
    """Its schedule is that of all epochs: of 16, the drop at 25 of 91 is at epoch 4.4."""
    curve = {"step": np.array([100.0, 500.0]), "epoch": np.array([1.0, 5.0])}
    stopped = learning.learning_rates(read("train.epochs=16", "train.stop_below=0.3"), curve)
    assert [rate for _, rate in stopped] == [0.01, pytest.approx(0.001)]
    assert stopped[1][0] == pytest.approx(16 * 25 / 91, abs=0.01)
    whole = learning.learning_rates(read("train.epochs=5"), curve)
    assert len(whole) == 4


def test_the_tables_have_the_means_of_the_runs_that_are_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    book = load()
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "experiments/claims.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, name)
    for seed, error in ((1, 0.2), (2, 0.3), (3, 0.1)):
        metrics = {"evaluate": {"top1_error_10crop": error, "top5_error_10crop": error / 2,
                                "top1_error": error + 0.01}, "resize": {"train_images": 1200}}
        Results(book, "sample").add("base", Run(seed, metrics), {"device": "cpu"}, "a test")
    cifar = Results(book, "cifar10")
    for name in book.claim("relu-against-tanh").configurations():
        run = Run(1, {"train": {"training_loss": 1.0}}, curve=["1 2 0.9 2 0.8", "2 1 0.2 1 0.5"])
        cifar.add(name, run, {}, "a test")
    found = evidence.evidence()
    [figure] = found.figures
    assert figure.files().keys() == {"relu-against-tanh-cifar10.svg",
                                     "relu-against-tanh-cifar10.csv"}
    measure = book.claim("relu-against-tanh").measure
    assert isinstance(measure, Epochs)
    assert figure.data.decode().splitlines() == [
        "configuration,seed,epoch,training_error",
        *(f"{side[0]},1,{epoch}.0,{error}" for side in (measure.fast, measure.slow)
          for epoch, error in ((1, 0.9), (2, 0.2)))]
    assert found.scales == ["sample"]
    base = found.at("base", "sample")
    assert base
    assert (base.seeds, base.top1, base.top5) == (3, pytest.approx(0.2), pytest.approx(0.1))
    assert found.at("five-nets", "sample") is None
    [row] = [row for row in found.rows if row.claim.name == "ten-crops-top1"]
    assert (row.scale, row.ours) == ("sample", pytest.approx(1.0))
    assert {row.claim.name for row in found.rows} == {claim.name for claim in book.claims}
    configurations = {row.configuration for row in evidence.TABLE_2 if row.configuration}
    assert configurations <= book.configurations.keys()
