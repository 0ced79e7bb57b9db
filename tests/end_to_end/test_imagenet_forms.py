"""A simulated ImageNet in the official, Kaggle's, the hub's and the unpacked form, by the real
commands: each stored picture has the label that its own pixels say.

ALEXNET_SIMULATED=20 has 20,000 pictures in each form, as they were tried; usually there are fewer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from benchmarks.simulated import STAGE
from tests.end_to_end.project import Project
from tests.pipeline.data.sources.imagenet_copies import CLASSES, Copy, write

PER_CLASS = int(os.environ.get("ALEXNET_SIMULATED", "1"))
FORMS = ("archives", "kaggle zip", "hub", "folders beside the devkit")
STEP = 25  # between the grey levels that stand for digits


def picture(label: int) -> bytes:
    """A JPEG of 24x24 pixels, of one colour: the digits of the label."""
    digits = label // 100, label // 10 % 10, label % 10
    image = Image.new("RGB", (24, 24), tuple(STEP * digit + STEP // 2 for digit in digits))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def copy() -> Copy:
    train = max(1, PER_CLASS * 19 // 20)
    labels = [(311 * number + 5) % 1000 for number in range(1000 * PER_CLASS // 20)]
    return Copy([[(f"{one.wnid}_{97 * k}.JPEG", picture(label)) for k in range(train)]
                 for label, one in enumerate(CLASSES)],
                [(f"ILSVRC2012_val_{number:08}.JPEG", picture(label))
                 for number, label in enumerate(labels, 1)], labels)


def labels_in_pixels(store: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """(split, name) to the stored label, and to that which the pixels of its row say: read without
    the code of this project."""
    table = pyarrow.parquet.read_table(store / "index.parquet").to_pylist()
    shards: dict[str, np.ndarray] = {}
    found = {}
    for row in table:
        shard = shards.setdefault(file := f"{row['split']}-{row['shard']:05}.npy",
                                  np.load(store / file, mmap_mode="r"))
        digits = (shard[row["row"], 100:150, 100:150].mean((0, 1)) // STEP).astype(int)
        found[row["split"], row["name"]] = row["label"], int(digits @ [100, 10, 1])
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_stored_picture_has_the_label_that_its_pixels_say(tmp_path: Path, form: str) -> None:
    small = copy()
    location = write(form, tmp_path / "imagenet", small)
    project = Project(tmp_path / "project")
    project.set(**{"dataset.source": "imagenet2012", "dataset.location": str(location),
                   "dataset.incomplete": True})
    (project.folder / "checksums.json").write_text(json.dumps(
        {file.name: (file.stat().st_size, hashlib.md5(file.read_bytes()).hexdigest())
         for file in location.glob("ILSVRC2012_*")}))
    for stage in ("download", "resize"):
        if form == "archives":  # as if these were the official ones
            subprocess.run([sys.executable, "-c", STAGE, stage], cwd=project.folder, check=True,
                           env=project.environment)
        else:
            project.run("alexnet", stage)
    found = labels_in_pixels(project.folder / "data/store")
    expected = {("train", name): label for label, some in enumerate(small.pictures)
                for name, _ in some}
    expected |= {("val", name): label
                 for (name, _), label in zip(small.val, small.labels, strict=True)}
    assert {key: stored for key, (stored, _) in found.items()} == expected
    assert {key: seen for key, (_, seen) in found.items()} == expected
