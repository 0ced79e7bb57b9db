"""The `download` stage: the listing, its digest, and what is left after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.config.parameters import Parameters, load
from pipeline.config.paths import DOWNLOAD, FILES_LEFT_OUT, LISTING
from pipeline.data.sources import fetching
from pipeline.stages import download
from pipeline.system.errors import UserError

PROJECT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def tiny(*more: str) -> Parameters:
    return load(PROJECT / "params.yaml",
                ["dataset.sample.train_images=20", "dataset.sample.val_images=10", *more])


def folder_of(location: Path) -> Parameters:
    for name in ("train/a/1.jpg", "train/b/2.png", "val/b/3.jpeg"):
        (location / name).parent.mkdir(parents=True)
        (location / name).write_bytes(name.encode())
    return tiny("dataset.source=folder", f"dataset.location={location}")


def test_the_sample_is_listed_and_can_be_read() -> None:
    metrics = download.run(tiny())
    listing = json.loads(LISTING.read_text())
    assert {key: metrics[key] for key in ("files", "classes")} == {"files": 3, "classes": 10}
    assert metrics["bytes"] == sum(file["bytes"] for file in listing["files"])
    assert sorted(path.name for path in DOWNLOAD.iterdir()) == sorted(
        ["index.parquet", "listing.json", *(file["name"] for file in listing["files"])])
    catalogue = fetching.load_catalogue(tiny().dataset)
    assert (len(catalogue.train), len(catalogue.val)) == (20, 10)


def test_the_digest_is_that_of_the_data_and_of_nothing_else() -> None:
    first = download.run(tiny())
    assert download.run(tiny()) == first
    assert download.run(tiny("dataset.sample.seed=9"))["listing_digest"] != first["listing_digest"]


def test_the_listing_does_not_say_where_the_data_lies(tmp_path: Path) -> None:
    one, two = folder_of(tmp_path / "one"), folder_of(tmp_path / "two" / "deeper")
    metrics = download.run(one)
    content = LISTING.read_bytes()
    assert download.run(two) == metrics
    assert LISTING.read_bytes() == content
    assert str(tmp_path).encode() not in content
    assert (metrics["files"], metrics["bytes"], metrics["classes"]) == (3, 38, 2)

    (tmp_path / "two/deeper/train/a/1.jpg").write_bytes(b"Train/a/1.jpg")  # one bit
    assert download.run(two)["listing_digest"] != metrics["listing_digest"]


def test_nothing_of_an_earlier_data_set_stays(tmp_path: Path) -> None:
    download.run(tiny())
    (DOWNLOAD / ".half.123.part").write_bytes(b"left by a kill")
    (DOWNLOAD / "old").mkdir()
    (DOWNLOAD / "link").symlink_to(tmp_path)
    download.run(folder_of(tmp_path / "d"))
    assert sorted(path.name for path in DOWNLOAD.iterdir()) == ["index.parquet", "listing.json"]
    assert (tmp_path / "d").is_dir()


def test_a_location_that_would_be_emptied_is_refused(project: Path) -> None:
    parameters = folder_of(project / DOWNLOAD / "mine")
    with pytest.raises(UserError, match=r"dataset\.location: .* is within data/download"):
        download.run(parameters)
    assert (project / DOWNLOAD / "mine/train/a/1.jpg").exists()


def test_missing_imagenet_leaves_no_listing(tmp_path: Path) -> None:
    DOWNLOAD.mkdir(parents=True)
    LISTING.write_text("{}")
    with pytest.raises(UserError, match=r"lacks\n  ILSVRC2012_img_train\.tar"):
        download.run(tiny("dataset.source=imagenet2012", f"dataset.location={tmp_path}"))
    assert not LISTING.exists()


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes() -> None:
    parameters = ["dataset.sample.train_images=80", "dataset.sample.val_images=10"]
    metrics = download.run(tiny(*parameters))
    contents = {path.name: path.read_bytes() for path in DOWNLOAD.iterdir()}
    shutil.rmtree(DOWNLOAD)
    code = ("from pathlib import Path; from pipeline.config.parameters import load; from "
            "pipeline.stages import download\n"
            f"download.run(load(Path({str(PROJECT / 'params.yaml')!r}), {parameters!r}))")
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ
                             | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not any(DOWNLOAD.glob(".*.part")):  # until an archive is half written
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not LISTING.exists()
    assert download.run(tiny(*parameters)) == metrics
    assert {path.name: path.read_bytes() for path in DOWNLOAD.iterdir()} == contents


def test_all_that_is_not_taken_is_listed_whole_and_makes_no_data_another(tmp_path: Path) -> None:
    location = tmp_path / "d"
    parameters = folder_of(location)
    alone = download.run(parameters)
    assert (alone["left_out"], alone["unlabelled"], alone["missing"]) == (0, 0, 0)
    for k in range(40):
        (location / f"train/a/{k}.txt").write_bytes(b"")
        (location / f"val/{k}.jpg").write_bytes(b"")
    with_others = download.run(parameters)
    account = json.loads(FILES_LEFT_OUT.read_text())
    assert account == {
        "taken": {"train": 2, "val": 1}, "missing": [],
        "left_out": {"no pictures by their names (.txt)":
                     sorted(f"train/a/{k}.txt" for k in range(40))},
        "unlabelled": {"in val without a label": sorted(f"val/{k}.jpg" for k in range(40))}}
    assert with_others == alone | {"left_out": 40, "unlabelled": 40}


def test_the_list_is_written_for_a_data_set_that_is_refused(tmp_path: Path) -> None:
    location = tmp_path / "d"
    parameters = folder_of(location)
    (location / "val/b/3.jpeg").rename(location / "val/3.jpeg")
    with pytest.raises(UserError, match="no validation picture with a label"):
        download.run(parameters)
    account = json.loads(FILES_LEFT_OUT.read_text())
    assert account["unlabelled"] == {"in val without a label": ["val/3.jpeg"]}
    assert account["taken"] == {"train": 2, "val": 0}


def test_what_lies_beside_train_and_val_is_told(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    location = tmp_path / "d"
    parameters = folder_of(location)
    (location / "test").mkdir()
    (location / "notes.txt").write_bytes(b"")
    (location / ".DS_Store").write_bytes(b"")
    assert download.run(parameters)["left_out"] == 2
    assert "2 files left out, beside train and val: notes.txt, test/" in capsys.readouterr().err
