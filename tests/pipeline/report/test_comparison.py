"""Runs side by side: what the page says of them against slow counts, and which runs it refuses."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from alexnet.digest import digest_of
from pipeline.config.paths import PREDICTIONS, STORE
from pipeline.data.predictions import Predictions
from pipeline.data.tensors import write_tensors
from pipeline.records import exchange, kept_runs
from pipeline.records.kept_runs import Facts
from pipeline.report import comparison
from pipeline.report.comparison import Side, compare
from pipeline.system.errors import UserError
from tests.pipeline.data.test_predictions import predictions_of
from tests.pipeline.report.test_report import CLASSES, SHOWN, Checked, read, write_store

IMAGES = 40
NAMES = [f"val{k}" for k in range(IMAGES)]
LABELS = np.random.default_rng(1).integers(0, len(CLASSES), IMAGES)


def entry(step: int, digit: str = "a") -> dict[str, Any]:
    part = {"digest": digit * 64, "tensors": {"conv1.weight/0": digit * 12}}
    return {"step": step, "loss": "0x1.8p+0", "weights": part, "momentum": part, "gradients": part}


def record(folder: Path, run_id: str, seed: int, digit: str = "a",
           tags: dict[str, str] | None = None, without: tuple[str, ...] = ()) -> str:
    """The folder of a recorded run, as `alexnet export --weights` leaves it."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    predictions_of(NAMES, LABELS, len(CLASSES), seed).save(folder / PREDICTIONS.name)
    weights = {"conv1.weight": random.standard_normal((24, 3, 11, 11)).astype(np.float32)}
    weights_digest = digest_of({name: torch.from_numpy(array) for name, array in weights.items()})
    save_file(weights, folder / "model.safetensors", {"digest": weights_digest})
    parameters = read(f"train.seed={seed}", "recipe.name=source")
    (folder / "parameters.json").write_text(parameters.model_dump_json())
    (folder / "environment.json").write_text(json.dumps({"cpu": f"one <i>{digit}</i>",
                                                         "torch": "2"}))
    (folder / "trace.jsonl").write_text("".join(json.dumps(one) + "\n"
                                                for one in (entry(1), entry(2, digit))))
    (folder / "learning.csv").write_text(
        "step,epoch,training_loss,training_error,validation_loss,validation_error\n"
        f"1,8,2,0.9,2,0.8\n2,16,1,0.5,1.5,{0.1 * seed}\n")
    for name in without:
        (folder / name).unlink()
    exchange.write_record(folder, Facts(run_id, "train", "FINISHED",
                                  1_700_000_000_000, 0, {"train.seed": str(seed)},
                                  {"weights_digest": weights_digest} | (tags or {}), {}, []))
    return str(folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_runs_stand_side_by_side(here: Path) -> None:
    digest = write_store(CLASSES, LABELS, np.random.default_rng(2))
    tags = {"resize.pixels_digest": digest}
    runs = [record(here / "a", "a1" * 16, 1, tags=tags),
            record(here / "b", "b2" * 16, 2, "b", tags)]
    assert compare(runs, Path("there")) == Path("there/index.html")
    html = (here / "there/index.html").read_text()
    page = Checked(html)
    held = [vars(Predictions.load(Path(run) / PREDICTIONS.name, "")) for run in runs]
    for one in held:
        for name in ("centre", "ten_crop"):
            wrong = sum(int(max(range(len(CLASSES)), key=lambda c: values[c]) != label)
                        for values, label in zip(one[name], LABELS, strict=True))
            assert f"{100 * wrong / IMAGES:.1f}" in page.text
    assert "they part at step 2: gradients of conv1.weight, column 0" in page.text
    assert "train.seed" in page.text
    assert "≠ differs" in page.text
    assert page.text.count("A and B") == 2  # as images and as traces
    assert page.text.count("seed 1 and seed 2") == 2  # by the names that tell them apart
    assert "one <i>b</i>" in page.text
    assert SHOWN in page.text
    assert "<i>b</i>" not in html
    assert not page.all("script", "link", "iframe")
    assert html.count("data:image/jpeg") == comparison.PICTURES
    names = {file.name for file in (here / "there/figures").iterdir()}
    assert names == {"learning-loss.svg", "learning-loss.csv", "learning-error.svg",
                     "learning-error.csv", "kernels-A.png", "kernels-A.npy", "kernels-B.png",
                     "kernels-B.npy"}
    rows = list(csv.DictReader((here / "there/figures/learning-error.csv").open()))
    assert {(row["run"], row["images"], float(row["error"])) for row in rows
            if row["epoch"] == "16.0"} == {("A", "training", 0.5), ("A", "validation", 0.1),
                                           ("B", "training", 0.5), ("B", "validation", 0.2)}


def side(seed: int) -> Side:
    predictions = predictions_of(NAMES, LABELS, len(CLASSES), seed)
    return Side("X", None, {}, None, None, predictions)  # type: ignore[arg-type]


def test_agreement_and_classes_are_those_of_loops() -> None:
    a, b = side(3), side(4)
    said = [[max(range(len(CLASSES)), key=lambda c: values[c]) for values in one.tested.ten_crop]
            for one in (a, b)]
    only_a = sum(x == label != y for x, y, label in zip(*said, LABELS, strict=True))
    only_b = sum(y == label != x for x, y, label in zip(*said, LABELS, strict=True))
    n = only_a + only_b
    likely = [math.comb(n, k) / 2**n for k in range(n + 1)]
    found = comparison.agreement(a, b)
    assert found.same == sum(x == y for x, y in zip(*said, strict=True)) / IMAGES
    assert (found.only_first, found.only_second) == (only_a, only_b)
    assert found.chance == pytest.approx(sum(one for one in likely
                                             if one <= likely[only_a] * (1 + 1e-7)))
    assert comparison.agreement(a, a).chance == 1.0
    apart = []
    for label, shares in comparison.class_errors([a, b]):
        images = [k for k in range(IMAGES) if LABELS[k] == label]
        assert shares == [sum(one[k] != label for k in images) / len(images) for one in said]
        apart.append(abs(shares[0] - shares[1]))
    assert apart == sorted(apart, reverse=True)
    own = [[float(one.tested.ten_crop[k, LABELS[k]]) for k in range(IMAGES)] for one in (a, b)]
    order = sorted(range(IMAGES), key=lambda k: -abs(own[0][k] - own[1][k]))
    assert comparison.contested([a, b]) == order[:comparison.PICTURES]


def test_the_same_run_twice_is_the_same_and_a_poor_record_says_what_it_lacks(here: Path) -> None:
    one = record(here / "a", "a1" * 16, 1)
    again = record(here / "b", "b2" * 16, 1,
                   without=(PREDICTIONS.name, "model.safetensors", "learning.csv"))
    text = Checked(compare([one, again], here / "page").read_text()).text
    assert "in all 2 traced steps, to step 2" in text
    assert "≠ differs" not in text
    assert "✓ identical" in text
    assert "Nothing in their records differs." in text
    assert "its record has no predictions" in text
    assert "Its record has no weights." in text
    assert "the image store here is not the one" in text
    assert not (here / STORE).exists()


def test_what_cannot_stand_side_by_side_is_refused(here: Path) -> None:
    one = record(here / "a", "a1" * 16, 1)
    with pytest.raises(UserError, match="named twice"):
        compare([one, one])
    with pytest.raises(UserError, match="7 runs; no more than 6"):
        compare([one] * 7)
    (here / "empty").mkdir()
    with pytest.raises(UserError, match="a folder without record"):
        compare([one, str(here / "empty")])
    write_tensors(here / "a" / PREDICTIONS.name, {"labels": LABELS})
    exchange.write_record(here / "a",
                    kept_runs.Facts("c3" * 16, "train", "FINISHED", 0, 0, {}, {}, {}, []))
    with pytest.raises(UserError, match=r"predictions\.safetensors: not the predictions.*run c3c3"):
        compare([one])
    assert not (here / comparison.FOLDER).exists()
