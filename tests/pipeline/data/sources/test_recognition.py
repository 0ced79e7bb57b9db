"""What lies in a data set's folder is recognised, and what it lacks is told; nothing advises anybody
to lose a picture."""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import datasets
from pipeline.config.datasets import Expected
from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data import sources
from pipeline.data.sources import fetching, ilsvrc_writer, imagenet2012, kaggle, recognition
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.imagenet2012 import Archive
from pipeline.data.sources.imagenet_classes import imagenet_classes
from pipeline.data.sources.recognition import IMAGEWOOF
from pipeline.system.errors import UserError
from tests.pipeline.data.sources import imagenet_copies
from tests.pipeline.data.sources.imagenet_copies import CLASSES, LABELS, PICTURES, VAL


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def dataset(source: str, location: Path | None, incomplete: bool = False,
            origin: str | None = None) -> DatasetSection:
    return DatasetSection(source=source, location=location, origin=origin, incomplete=incomplete,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


def grown(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def refused(*arguments: object, **options: object) -> str:
    with pytest.raises(UserError) as error:
        fetching.fetch(dataset(*arguments, **options))  # type: ignore[arg-type]
    return str(error.value)


WOOF = [f"{split}/{wnid}/{wnid}_{k}.JPEG" for wnid in sorted(IMAGEWOOF)
        for split, k in (("train", 1), ("val", 2))]
FLAT = [f"train/{one.wnid}/{one.wnid}_1.JPEG" for one in imagenet_classes()[:3]] + [
    "val/ILSVRC2012_val_00000001.JPEG"]


@pytest.mark.parametrize(("source", "paths", "parts"), [
    ("imagenette", WOOF, ["looks like Imagewoof", "it is not imagenette",
                          "alexnet configure folder --location"]),
    ("imagenet2012", FLAT, [
        "looks like a part of ImageNet 2012: train: 3 of 1,281,167 training pictures in 3 classes",
        "val: 1 of 50,000 validation pictures, flat; no list of labels", Y2012.devkit,
        "LOC_val_solution.csv"]),
    ("imagenet2012", ["notes.txt"], [Y2012.train, "147,897,477,120 bytes", "holds notes.txt",
                                     "unpacked it needs train/<wnid>/*"]),
    ("folder", ["cat/1.jpg", "dog/1.jpg"], ["it needs train/<class>/* and val/<class>/*",
                                            "/train; mv "]),
    ("folder", ["pictures.zip"], ["holds pictures.zip", "tar -C "]),
    ("folder", ["train/cat/1.jpg", "test/cat/1.jpg"], ["no validation pictures", "ln -s test "]),
    ("folder", ["train/cat/1.jpg", "val/1.jpg"], ["val: 1 validation pictures, flat",
                                                  "validation pictures need a folder a class"]),
    ("folder", ["a/train/c/1.jpg", "a/val/c/1.jpg", "b/train/c/1.jpg", "b/val/c/1.jpg"],
     ["2 folders in it hold train and val", "name one of them"]),
])
def test_a_refusal_says_what_is_there_and_what_to_do(tmp_path: Path, source: str, paths: list[str],
                                                     parts: list[str]) -> None:
    message = refused(source, grown(tmp_path / "d", *paths))
    for part in parts:
        assert part in message, message


def test_a_location_within_the_data_set_is_told_the_one_above(tmp_path: Path) -> None:
    grown(tmp_path / "d", "train/cat/1.jpg", "val/cat/1.jpg")
    assert f"--set dataset.location={tmp_path / 'd'}" in refused("folder", tmp_path / "d" / "train")


def test_one_level_deeper_is_read_and_told(tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    grown(tmp_path / "d", "pets/train/cat/1.jpg", "pets/val/cat/1.jpg")
    fetching.fetch(dataset("folder", tmp_path / "d"))
    assert f"train and val are those of {tmp_path / 'd/pets'}" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "parts"), [
    (None, []),
    ("fewer", ["9,468 of 9,469 training pictures", "n01440764 (962 of 963)"]),
    ("more", ["3,926 of 3,925 validation pictures", "too many", "n03888257 (391 of 390)"]),
    ("a copy", ["1 file left out, copies by their names: train/n01440764/n01440764_0 (1).JPEG"])])
def test_known_counts_are_held_against_what_is_there(tmp_path: Path, change: str | None,
                                                     parts: list[str]) -> None:
    counts = {"train": (963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
              "val": (387, 395, 357, 386, 409, 394, 389, 419, 399, 390)}
    root = tmp_path / "imagenette2-320"
    for split, of_classes in counts.items():
        for wnid, count in zip(sorted(recognition.IMAGENETTE), of_classes, strict=True):
            (root / split / wnid).mkdir(parents=True)
            for k in range(count):
                (root / split / wnid / f"{wnid}_{k + 5000 * (split == 'val')}.JPEG").touch()
    first = root / "train/n01440764/n01440764_0.JPEG"
    if change == "fewer":
        first.rename(tmp_path / "elsewhere.JPEG")
    elif change == "more":
        (root / "val/n03888257/n03888257_9999.JPEG").touch()
    elif change:
        first.with_name("n01440764_0 (1).JPEG").touch()
    usual, part = dataset("imagenette", tmp_path), dataset("imagenette", tmp_path, incomplete=True)
    counted = fetching.plan(usual).as_json(256, "raw")["found"]
    assert counted["train"] == sum(counts["train"]) - (change == "fewer") + (change == "a copy")
    assert fetching.plan(usual).images == 9_469 + 3_925
    assert fetching.plan(part).images == counted["train"] + counted["val"]
    if change:
        message = refused("imagenette", tmp_path)
        for text in [*parts, "dataset.incomplete"]:
            assert text in message, message
    fetching.fetch(part if change else usual)
    assert len(fetching.load_catalogue(part).train) == 9_469 - (change == "fewer")


@pytest.mark.parametrize("packed", ["train", "val"])
def test_a_split_may_still_be_its_official_archive(tmp_path: Path, packed: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    folder = imagenet_copies.write("folders beside the devkit", tmp_path / "d")
    ilsvrc_writer.write(tmp_path / "x", CLASSES, PICTURES, VAL, LABELS, [])
    archive = {"train": Y2012.train, "val": Y2012.val}[packed]
    (tmp_path / "x" / archive).rename(folder / archive)
    (folder / packed).rename(tmp_path / "put away")
    content = (folder / archive).read_bytes()
    monkeypatch.setitem(imagenet2012.OFFICIAL, archive,
                        Archive(len(content), hashlib.md5(content).hexdigest()))
    fetching.fetch(dataset("imagenet2012", folder, incomplete=True))
    catalogue = fetching.load_catalogue(dataset("imagenet2012", folder))
    assert [one.label for one in catalogue.val] == LABELS
    assert all(one.name.startswith(CLASSES[one.label].wnid) for one in catalogue.train)
    assert len(catalogue.train) == sum(map(len, PICTURES))
    (folder / archive).write_bytes(content[:-1] + b"\1")
    assert re.search(rf"{archive}: MD5 .*damaged", refused("imagenet2012", folder))


# Cheap checks before dear work.

def test_labels_are_looked_for_before_150_gb_are_repacked(tmp_path: Path) -> None:
    folder = imagenet_copies.write("kaggle tar.gz", tmp_path / "d")
    (folder / "LOC_val_solution.csv").rename(tmp_path / "elsewhere.csv")
    assert "LOC_val_solution.csv: no such file" in refused("imagenet2012", folder)
    assert not (folder / kaggle.TAR).exists()


def test_a_disk_that_is_not_mounted_is_told_before_the_first_byte(tmp_path: Path) -> None:
    Path("archives").symlink_to("/mnt/gone/ilsvrc")
    message = refused("imagenette", None)
    assert message.startswith("archives: a link to /mnt/gone/ilsvrc, where nothing is: mount")
    Path("archives").unlink()
    Path("archives").write_bytes(b"")
    assert refused("cifar10", None).startswith("archives: not a folder")


def test_no_message_advises_to_lose_anything() -> None:
    """Of what is said to a user, wherever the data set's files are read."""
    words = re.compile(r"\b(remov\w*|delet\w*|eras\w*|overwrit\w*|rm)\b", re.IGNORECASE)
    package = Path(sources.__file__).parents[1]
    for file in (*sorted(package.rglob("*.py")), package.parent / "commands/doctor/data.py"):
        tree = ast.parse(file.read_text())
        documented = {id(node.body[0].value) for node in ast.walk(tree)
                      if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
                      and isinstance(node.body[0], ast.Expr)}
        for node in ast.walk(tree):
            if (isinstance(node, ast.Constant) and isinstance(node.value, str)
                    and id(node) not in documented):
                assert not words.search(node.value), (file.name, node.value)


@pytest.mark.parametrize("change", ["", "one less", "another kit"])
def test_the_development_kit_says_how_many_pictures_each_class_has(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Exactly, where its sum is the data set's: else all is between 732 and 1,300."""
    counts = [1 + label % 2 for label in range(1000)]
    folder = imagenet_copies.write("folders beside the devkit", tmp_path / "d")
    told = [9] * 1000 if change == "another kit" else counts
    ilsvrc_writer.write(tmp_path / "x", CLASSES, [[] for _ in CLASSES], [], LABELS, [],
                        train_counts=told)
    (tmp_path / "x" / Y2012.devkit).replace(folder / Y2012.devkit)
    monkeypatch.setitem(datasets.BY_NAME, "imagenet2012", replace(
        datasets.BY_NAME["imagenet2012"], expected={"train": Expected(1500, 1, 2),
                                                         "val": Expected(30, 0, 1)}))
    if change == "one less":
        wnid = CLASSES[1].wnid
        (folder / f"train/{wnid}/{wnid}_7.JPEG").rename(
            folder / f"train/{CLASSES[0].wnid}/{CLASSES[0].wnid}_99.JPEG")
        message = refused("imagenet2012", folder)
        assert f"too few training pictures: {wnid} (1 of 2); 1 of 1,000 classes" in message
        assert f"too many training pictures: {CLASSES[0].wnid} (2 of 1); 1 of 1,000" in message
        return
    fetching.fetch(dataset("imagenet2012", folder))
