"""What a trained network says of validation images, found by the images' names:
models/predictions.safetensors.

    names            uint8: the validation images' names, as the data set has them, a JSON list
    labels           int64 [n]: of these images
    centre, ten_crop float32 [n, classes]: probabilities, of the centre crop and of ten crops
    crops_of         int64 [k]: the images, by their row above, of whom single crops are kept
    each_crop        float32 [10, k, classes]: what each of their ten crops says, or nine views on
                     CIFAR-10
    searched         uint8: the names of the training images among which the nearest were sought
    queries          int64 [q]: the images, by their row, whose nearest ones were sought
    nearest_hidden   int64 [q, 6]: these, by the last hidden layer, as places in `searched`
    nearest_pixels   int64 [q, 6]: and by their pixels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tensors import array_of_names, names_in, read_tensors, write_tensors
from pipeline.system.errors import UserError

# Dimensions of each array; those of floats are float32, the others int64.
_DIMENSIONS = {"labels": 1, "centre": 2, "ten_crop": 2, "crops_of": 1, "each_crop": 3, "queries": 1,
               "nearest_hidden": 2, "nearest_pixels": 2}
_FLOATS = ("centre", "ten_crop", "each_crop")
_NAMES = ("names", "searched")


@dataclass(frozen=True, eq=False)
class Predictions:
    """The file's contents, as the head of this module has them."""

    names: list[str]
    labels: NDArray[np.int64]
    centre: NDArray[np.float32]
    ten_crop: NDArray[np.float32]
    crops_of: NDArray[np.int64]
    each_crop: NDArray[np.float32]
    searched: list[str]
    queries: NDArray[np.int64]
    nearest_hidden: NDArray[np.int64]
    nearest_pixels: NDArray[np.int64]

    def save(self, file: Path) -> None:
        """Write the file; equal predictions give equal files."""
        write_tensors(file, {name: array_of_names(value) if name in _NAMES else value
                             for name, value in vars(self).items()})

    @staticmethod
    def load(file: Path, fix: str) -> Predictions:
        """Return the predictions in a file.

        Raises:
            UserError: the file is missing, damaged, or holds something else; the message ends in
                `fix`.
        """
        arrays = read_tensors(file, fix)
        if problem := _problem_with(arrays):
            raise UserError(f"{file}: not the predictions of a run: {problem}; {fix}")
        values: dict[str, Any] = {name: names_in(array) if name in _NAMES else array
                                  for name, array in arrays.items()}
        return Predictions(**values)

    def of(self, names: Sequence[str]) -> Predictions:
        """Return these predictions with the images in another order, that of `names`.

        Raises:
            UserError: `names` are not exactly the predictions' images.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        missing = [name for name in names if name not in rows]
        surplus = rows.keys() - set(names)
        if missing or surplus or len(names) != len(rows):
            example = missing[0] if missing else min(surplus, default="a name twice")
            raise UserError(f"the predictions are for other images: {len(missing)} of the images "
                            f"wanted have none, {len(surplus)} are not wanted, among them "
                            f"{example!r}")
        order = np.array([rows[name] for name in names], np.int64)
        place = np.argsort(order)  # of an old row
        return replace(self, names=list(names), labels=self.labels[order],
                       centre=self.centre[order], ten_crop=self.ten_crop[order],
                       crops_of=place[self.crops_of], queries=place[self.queries])


def _problem_with(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    wanted = {*_DIMENSIONS, *_NAMES}
    if differing := wanted ^ arrays.keys():
        return f"its arrays differ from theirs in {', '.join(sorted(differing))}"
    for name, dimensions in _DIMENSIONS.items():
        dtype = "float32" if name in _FLOATS else "int64"
        if (str(arrays[name].dtype), arrays[name].ndim) != (dtype, dimensions):
            return f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}"
    try:
        names, searched = (names_in(arrays[name]) for name in _NAMES)
    except ValueError as error:
        return f"{error}"
    if len({*names}) != len(names) or len({*searched}) != len(searched):
        return "an image stands there twice"
    n, classes = arrays["centre"].shape
    k, q = len(arrays["crops_of"]), len(arrays["queries"])
    near = arrays["nearest_hidden"].shape[1]
    views = 9 if len(arrays["each_crop"]) == 9 else 10  # 9 of the nets on CIFAR-10
    shapes = {"labels": (n,), "ten_crop": (n, classes), "each_crop": (views, k, classes),
              "nearest_hidden": (q, near), "nearest_pixels": (q, near)}
    if len(names) != n or any(arrays[name].shape != shape for name, shape in shapes.items()):
        return "its arrays are of different numbers of images or classes"
    for name, count in (("labels", classes), ("crops_of", n), ("queries", n),
                        ("nearest_hidden", len(searched)), ("nearest_pixels", len(searched))):
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < count:
            return f"{name} has numbers outside 0..{count - 1}"
    return None
