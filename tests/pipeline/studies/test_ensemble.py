"""An ensemble is the average of its members' softmax outputs, image by image, by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.predictions import Predictions
from pipeline.studies.ensemble import average, ensemble
from pipeline.system.errors import UserError
from tests.pipeline.data.test_predictions import predictions_of

NAMES, LABELS = ["c", "a", "d", "b"], [0, 1, 2, 0]


def predictions(folder: Path, name: str, seed: int, classes: int = 7) -> str:
    predictions_of(NAMES, LABELS, classes, seed).save(folder / name)
    return str(folder / name)


def test_the_average_is_that_of_loops(tmp_path: Path) -> None:
    runs = [predictions(tmp_path, f"{seed}.safetensors", seed) for seed in range(3)]
    told = ensemble(runs)
    loaded = [Predictions.load(Path(run), "") for run in runs]
    for part, suffix in (("centre", ""), ("ten_crop", "_10crop")):
        members = [getattr(one, part).astype(np.float64) for one in loaded]
        wrong = {1: 0, 5: 0}
        for image, label in enumerate(LABELS):
            average = [sum(member[image, c] for member in members) / 3 for c in range(7)]
            above = sum(value > average[label] for value in average)
            for top in wrong:
                wrong[top] += above >= top
        for top, count in wrong.items():
            assert told[f"top{top}_error{suffix}"] == count / 4
    assert [member["run"] for member in told["members"]] == runs
    assert told["members"][1]["top1_error"] == np.mean(loaded[1].centre.argmax(1) != LABELS)


def test_the_average_is_that_of_the_page_to_the_bit() -> None:
    """docs/arithmetic.md, section 5; the mean in float32 is another one."""
    members = [predictions_of(NAMES * 50, LABELS * 50, 7, seed).ten_crop for seed in range(3)]
    slow = [[np.float32((0.0 + float(a) + float(b) + float(c)) / 3)
             for a, b, c in zip(*rows, strict=True)] for rows in zip(*members, strict=True)]
    assert np.array_equal(average(members), slow)
    assert not np.array_equal(np.mean(members, axis=0, dtype=np.float32), slow)


def test_nets_that_were_tested_with_nine_crops_say_so(tmp_path: Path) -> None:
    runs = [predictions(tmp_path, f"{seed}.safetensors", seed) for seed in range(2)]
    ten = ensemble(runs)
    for run in runs:
        loaded = Predictions.load(Path(run), "")
        replace(loaded, each_crop=loaded.each_crop[:9]).save(Path(run))
    nine = ensemble(runs)
    assert nine.pop("members")[0]["top1_error_9crop"] == ten["members"][0]["top1_error_10crop"]
    assert nine == {name.replace("10crop", "9crop"): value for name, value in ten.items()
                    if name != "members"}


def test_a_member_with_its_images_in_another_order_counts_the_same(tmp_path: Path) -> None:
    runs = [predictions(tmp_path, f"{seed}.safetensors", seed) for seed in range(3)]
    told = ensemble(runs)
    second = Predictions.load(Path(runs[1]), "")
    second.of(["a", "b", "c", "d"]).save(Path(runs[1]))
    assert ensemble(runs) == told
    # the same rows under other names are other predictions
    replace(second, names=second.names[::-1], labels=second.labels[::-1]).save(Path(runs[1]))
    assert ensemble(runs) != told


def test_runs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one = predictions(tmp_path, "a.safetensors", 1)
    other = predictions(tmp_path, "b.safetensors", 2, classes=8)
    with pytest.raises(UserError, match="two runs or more"):
        ensemble([one])
    with pytest.raises(UserError, match="other classes"):
        ensemble([one, other])
    loaded, changed = Predictions.load(Path(one), ""), str(tmp_path / "c.safetensors")
    replace(loaded, labels=loaded.labels[::-1].copy()).save(Path(changed))
    with pytest.raises(UserError, match="other classes"):
        ensemble([one, changed])
    predictions_of(NAMES[:3], LABELS[:3], 7).save(Path(changed))
    with pytest.raises(UserError, match=r"other images .*1 of the images wanted have none.*'b'"):
        ensemble([one, changed])
    predictions_of([*NAMES, "e"], [*LABELS, 1], 7).save(Path(changed))
    with pytest.raises(UserError, match=r"other images .*1 are not wanted.*'e'"):
        ensemble([one, changed])
    Path(changed).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"damaged|not the predictions"):
        ensemble([one, changed])
    with pytest.raises(UserError, match="no such file"):
        ensemble([one, str(tmp_path / "e.safetensors")])
