"""Folders of a great many pictures: at most 300 bytes of memory and 0.15 ms of a processor each."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching

PROJECT = Path(__file__).parents[4]
BYTES, MILLISECONDS = 300, 0.15  # a picture
# Prints the bytes a picture that assembling and writing, and reading again, take at most; CODE
# stands for what is done with the table of the training pictures first.
MEASURED = """
import pathlib, sys
from pipeline.data.sources import layouts
from pipeline.data.sources.catalogue import Class, Place
from pipeline.data.sources.index import FileNames, read_index, write_index
from pipeline.data.sources.layouts import Assembly

INDEX = pathlib.Path("index.parquet")
CLASSES = [Class(f"n{k:08}", "words") for k in range(1000)]

def in_memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status")
                if line.startswith(field))

def places(count):
    for k in range(count):
        path = f"{'val' if k % 26 == 0 else 'train'}/n{k * 7 % 1000:08}/n{k * 7 % 1000:08}_{k}.JPEG"
        yield Place(path, path, 0, 100_000 + k)

def make(count):
    contents = layouts.assemble(pathlib.Path("."), places(count), Assembly(CLASSES))
    train, val = contents.catalogue.train, contents.catalogue.val
    CODE
    write_index(INDEX, {"train": train, "val": val})
    assert sum(1 for _ in FileNames(train, val)) == count == len(train) + len(val)

def peak(work, *arguments):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = in_memory("VmRSS")
    kept = work(*arguments)
    return in_memory("VmHWM") - before

count = int(sys.argv[1])
make(2000), read_index(INDEX, pathlib.Path("."), ("train", "val"))
print(peak(make, count) / count, peak(read_index, INDEX, pathlib.Path("."), ("train", "val")) / count)
"""


def measured(folder: Path, code: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", MEASURED.replace("CODE", code), "200000"],
                          cwd=folder, env={"PYTHONPATH": str(PROJECT)}, text=True, check=True,
                          capture_output=True)
    return [float(word) for word in done.stdout.split()]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_two_hundred_thousand_pictures_take_little_memory(tmp_path: Path) -> None:
    making, reading = measured(tmp_path, "pass")
    assert max(making, reading) < BYTES
    # the control: one object for each is seen
    assert measured(tmp_path, "kept = list(train)")[0] > BYTES


def test_a_folder_is_listed_in_little_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 4000
    for k in range(count):
        folder = tmp_path / "pictures" / ("val" if k % 20 == 0 else "train") / f"class {k % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.jpg").write_bytes(b"%d" % k)
    monkeypatch.chdir(tmp_path)
    dataset = DatasetSection(source="folder", location=tmp_path / "pictures", origin=None,
                             sample=SampleSection(seed=0, train_images=20, val_images=10))
    start = time.process_time()
    fetching.fetch(dataset)
    assert (time.process_time() - start) / count * 1e3 < MILLISECONDS
    catalogue = fetching.load_catalogue(dataset)
    assert len(catalogue.train) + len(catalogue.val) == count
