"""An ensemble is the average of its members' softmax outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.studies.ensemble import ensemble
from pipeline.system.errors import UserError

LABELS = np.array([0, 1, 2, 0])


def predictions(folder: Path, name: str, seed: int, classes: int = 7) -> str:
    random = np.random.default_rng(seed)
    arrays = {part: random.dirichlet(np.ones(classes), 4).astype(np.float32)
              for part in ("centre", "ten_crop")}
    np.savez(folder / name, labels=LABELS, **arrays)
    return str(folder / name)


def test_the_average_is_that_of_loops(tmp_path: Path) -> None:
    runs = [predictions(tmp_path, f"{seed}.npz", seed) for seed in range(3)]
    told = ensemble(runs)
    for part, suffix in (("centre", ""), ("ten_crop", "_10crop")):
        members = [np.load(run)[part].astype(np.float64) for run in runs]
        wrong = {1: 0, 5: 0}
        for image, label in enumerate(LABELS):
            average = [sum(member[image, c] for member in members) / 3 for c in range(7)]
            above = sum(value > average[label] for value in average)
            for top in wrong:
                wrong[top] += above >= top
        for top, count in wrong.items():
            assert told[f"top{top}_error{suffix}"] == count / 4
    assert [member["run"] for member in told["members"]] == runs
    alone = np.load(runs[1])["centre"]
    assert told["members"][1]["top1_error"] == np.mean(alone.argmax(1) != LABELS)


def test_runs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one, other = predictions(tmp_path, "a.npz", 1), predictions(tmp_path, "b.npz", 2, classes=8)
    with pytest.raises(UserError, match="two runs or more"):
        ensemble([one])
    with pytest.raises(UserError, match="other images or classes"):
        ensemble([one, other])
    arrays = dict(np.load(one))
    arrays["labels"] = LABELS[::-1].copy()
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(UserError, match="other images or classes"):
        ensemble([one, str(tmp_path / "c.npz")])
    (tmp_path / "d.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"damaged|not the predictions"):
        ensemble([one, str(tmp_path / "d.npz")])
    with pytest.raises(UserError, match="no such file"):
        ensemble([one, str(tmp_path / "e.npz")])
