"""Predictions belong to their images by name, whatever the order in which they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.predictions import Predictions
from pipeline.data.tensors import array_of_names, read_tensors, write_tensors
from pipeline.system.errors import UserError

CROPS = 3


def predictions_of(names: Sequence[str], labels: Any, classes: int, seed: int = 0,
                   searched: Sequence[str] = (), **changed: Any) -> Predictions:
    """Return random predictions; where `searched` are given, every other image is a query."""
    random, n = np.random.default_rng(seed), len(names)
    queries = np.arange(0, n, 2) if searched else np.zeros(0, np.int64)
    centre, ten = (random.dirichlet(np.ones(classes), n).astype(np.float32) for _ in range(2))
    near = [random.integers(0, max(1, len(searched)), (len(queries), 6)) for _ in range(2)]
    kept = min(CROPS, n)
    made = Predictions(list(names), np.asarray(labels, np.int64), centre, ten, np.arange(kept),
                       random.dirichlet(np.ones(classes), (10, kept)).astype(np.float32),
                       list(searched), queries, *near)
    return replace(made, **changed)


SOME = predictions_of([f"val{k}" for k in range(8)], [0, 1, 2, 3, 0, 1, 2, 3], 4, 1,
                      [f"train{k}" for k in range(9)])


def by_name(predictions: Predictions) -> dict[str, Any]:
    """All that is said of each image, found by names alone."""
    said: dict[str, Any] = {name: [int(label), centre.tolist(), ten.tolist()] for name, label, centre, ten in
                            zip(predictions.names, predictions.labels, predictions.centre,
                                predictions.ten_crop, strict=True)}
    for column, row in enumerate(predictions.crops_of):
        said[predictions.names[row]].append(predictions.each_crop[:, column].tolist())
    for query, *near in zip(predictions.queries, predictions.nearest_hidden,
                            predictions.nearest_pixels, strict=True):
        said[predictions.names[query]].append([[predictions.searched[k] for k in places]
                                               for places in near])
    return said


@given(order=st.permutations(range(8)))
def test_another_order_says_the_same_of_each_image(order: list[int]) -> None:
    names = [SOME.names[k] for k in order]
    shuffled = SOME.of(names)
    assert shuffled.names == names
    assert by_name(shuffled) == by_name(SOME)
    assert by_name(replace(shuffled, names=SOME.names)) != by_name(SOME) or order == [*range(8)]


@pytest.mark.parametrize(("names", "words"), [
    (SOME.names[1:], "0 of the images wanted have none, 1 are not wanted.*'val0'"),
    ([*SOME.names, "new"], "1 of the images wanted have none, 0 are not wanted.*'new'"),
    ([*SOME.names[:-1], "new"], "1 of the images wanted have none, 1 are not wanted.*'new'"),
    ([*SOME.names, "val0"], "twice"),
])
def test_other_images_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SOME.of(names)


def test_a_file_round_trip(tmp_path: Path) -> None:
    SOME.save(tmp_path / "a")
    SOME.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert by_name(Predictions.load(tmp_path / "a", "")) == by_name(SOME)
    nothing_sought = predictions_of(["a", "b"], [0, 1], 2)
    nothing_sought.save(tmp_path / "c")
    assert by_name(Predictions.load(tmp_path / "c", "")) == by_name(nothing_sought)
    nine = replace(SOME, each_crop=SOME.each_crop[:9])  # of the nets on CIFAR-10
    nine.save(tmp_path / "d")
    assert np.array_equal(Predictions.load(tmp_path / "d", "").each_crop, nine.each_crop)


@pytest.mark.parametrize(("changed", "words"), [
    ({"labels": None}, "differ from theirs in labels"),
    ({"more": np.zeros(1)}, "differ from theirs in more"),
    ({"labels": SOME.labels.astype(np.int32)}, "labels is int32"),
    ({"centre": SOME.centre[0]}, r"centre is float32 \[4\]"),
    ({"labels": SOME.labels[1:]}, "different numbers"),
    ({"names": array_of_names(SOME.names[1:])}, "different numbers"),
    ({"names": array_of_names(["val0", *SOME.names[:-1]])}, "twice"),
    ({"names": np.frombuffer(b"{}", np.uint8)}, "no list of names"),
    ({"labels": SOME.labels + 1}, r"labels has numbers outside 0\.\.3"),
    ({"queries": SOME.queries - 1}, "queries has numbers outside"),
    ({"crops_of": SOME.crops_of + 6}, "crops_of has numbers outside"),
    ({"searched": array_of_names(SOME.searched[:1])}, "nearest_hidden has numbers outside"),
    ({"each_crop": SOME.each_crop[:8]}, "different numbers"),
])
def test_what_is_no_predictions_is_refused(tmp_path: Path, changed: dict[str, Any],
                                           words: str) -> None:
    SOME.save(tmp_path / "a")
    arrays = read_tensors(tmp_path / "a", "") | changed
    write_tensors(tmp_path / "a",
                  {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=f"not the predictions of a run: .*{words}.*; fix it"):
        Predictions.load(tmp_path / "a", "fix it")
