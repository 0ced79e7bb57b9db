"""Labels are found by keys: whatever is shuffled, dropped, added or misplaced, a picture has its
own label, or is left out and counted, or the data set is refused by the name of what is wrong."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching, labels, layouts
from pipeline.data.sources.catalogue import Class, Contents, Place
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError

WNIDS = ["n03000001", "n01000002", "n02000003", "n04000004"]
CLASSES = [Class(wnid, wnid) for wnid in WNIDS]
# What may befall a picture; those of the second row contradict another key.
HARMLESS = ("none", "copy", "deeper", "another suffix", "hidden", "class in its name", "dropped")
WRONG = ("in another class's folder", "twice in two folders", "named for another class")


def one_of_them(wnid: str) -> str:
    return WNIDS[WNIDS.index(wnid) - 1]


def placed(split: str, wnid: str, name: str, fault: str, flat: bool) -> list[str]:
    """The paths of a picture of class `wnid` after what befell it."""
    folder = f"{split}/" if flat else f"{split}/{wnid}/"
    stem, _, suffix = name.rpartition(".")
    return {"none": [folder + name], "dropped": [], "hidden": [f"{folder}._{name}", folder + name],
            "copy": [folder + name, f"{folder}{stem} (1).{suffix}"],
            "deeper": [f"{split}/{wnid}/old/{name}"],
            "another suffix": [f"{folder}{stem}.jpeg"],
            "class in its name": [f"{folder}{stem}_{wnid}.{suffix}"],
            "in another class's folder": [f"{split}/{one_of_them(wnid)}/{name}"],
            "twice in two folders": [f"{split}/{wnid}/{name}", f"{split}/{one_of_them(wnid)}/{name}"],
            "named for another class": [f"{split}/{wnid}/{one_of_them(wnid)}_77.JPEG"
                                        if split == "train" else
                                        f"{split}/{wnid}/{stem}_{one_of_them(wnid)}.{suffix}"]}[fault]


FAULTS = st.sampled_from(["none"] * 6 + [*HARMLESS])


@settings(max_examples=300)
@given(data=st.data())
def test_right_labels_or_a_refusal_that_names_the_picture(data: st.DataObject) -> None:
    planted = data.draw(st.sampled_from(["", *WRONG]))
    pictures: list[tuple[str, str, str, str, bool]] = []
    for label, wnid in enumerate(WNIDS):
        for k in range(data.draw(st.integers(1, 4))):
            pictures.append(("train", wnid, f"{wnid}_{k * 17 + label}.JPEG", data.draw(FAULTS),
                             False))
    truth = data.draw(st.lists(st.sampled_from(WNIDS), min_size=1, max_size=12))
    for number, wnid in enumerate(truth, 1):
        pictures.append(("val", wnid, f"ILSVRC2012_val_{number:08}.JPEG", data.draw(FAULTS),
                         data.draw(st.booleans())))
    if planted:
        k = data.draw(st.integers(0, len(pictures) - 1))
        split, wnid, name, _, flat = pictures[k]
        pictures[k] = (split, wnid, name, planted, flat)
    places = [Place(path, wnid, 0, 1) for split, wnid, name, fault, flat in pictures
              for path in placed(split, wnid, name, fault, flat)]
    places += [Place(path, "", 0, 1) for path in data.draw(st.lists(st.sampled_from(
        ["val/.DS_Store", "val/valprep.sh", "train/Thumbs.db", "val/holiday.jpg",
         "train/n09999999/n09999999_1.JPEG", "val/ILSVRC2012_val_00009999.JPEG"]), unique=True))]
    places = data.draw(st.permutations(places))
    val_labels = {f"ILSVRC2012_val_{number:08}": WNIDS.index(wnid)
                  for number, wnid in enumerate(truth, 1)}
    assembly = Assembly(CLASSES, val_labels if data.draw(st.integers(0, 4)) or planted else {})
    if planted:
        with pytest.raises(UserError) as refused:
            layouts.assemble(Path("root"), places, assembly)
        assert name.rpartition(".")[0] in str(refused.value) or "_77.JPEG" in str(refused.value)
        return
    contents = layouts.assemble(Path("root"), places, assembly)
    assert_accounted(contents, places)
    for picture in (*contents.catalogue.train, *contents.catalogue.val):
        assert WNIDS[picture.label] == picture.file.name  # the class that it was made with
    keys = {picture.name.rpartition(".")[0] for picture in contents.catalogue.val}
    assert set(contents.missing) == assembly.val_labels.keys() - keys


def assert_accounted(contents: Contents, places: list[Place]) -> None:
    """Every file is taken, or counted among what is not."""
    taken = len(contents.catalogue.train) + len(contents.catalogue.val)
    left_out = sum(contents.left_out.counts.values()) + sum(contents.strays.counts.values())
    assert taken + left_out == len(places)


def test_a_validation_picture_in_train_is_no_training_picture() -> None:
    places = [Place(path, "", 0, 1) for path in (
        f"train/{WNIDS[0]}/{WNIDS[0]}_1.JPEG", f"train/{WNIDS[0]}/ILSVRC2012_val_00000001.JPEG",
        f"val/{WNIDS[1]}/ILSVRC2012_val_00000002.JPEG")]
    contents = layouts.assemble(Path("root"), places, Assembly(CLASSES, {
        "ILSVRC2012_val_00000001": 0, "ILSVRC2012_val_00000002": 1}))
    assert [one.name for one in contents.catalogue.train] == [f"{WNIDS[0]}_1.JPEG"]
    assert contents.strays.counts == {"validation pictures by their names, in train": 1}
    assert contents.missing == ["ILSVRC2012_val_00000001"]


def test_labels_by_position_would_be_seen() -> None:
    """The control of the test above: of pictures in order of name, one is missing."""
    truth = [WNIDS[k % 3] for k in range(9)]
    places = [Place(f"val/ILSVRC2012_val_{number:08}.JPEG", wnid, 0, 1)
              for number, wnid in enumerate(truth, 1) if number != 4]
    by_position = {place.path[4:-5]: WNIDS.index(wnid)
                   for place, wnid in zip(places, truth, strict=False)}
    by_key = {f"ILSVRC2012_val_{number:08}": WNIDS.index(wnid)
              for number, wnid in enumerate(truth, 1)}
    for val_labels, right in ((by_key, 8), (by_position, 3)):
        contents = layouts.assemble(Path("root"), places, Assembly(CLASSES, val_labels))
        assert sum(WNIDS[picture.label] == picture.file.name
                   for picture in contents.catalogue.val) == right


# The user's own folders, by the real `fetch`.

@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def folder_of(location: Path) -> DatasetSection:
    return DatasetSection(source="folder", location=location, origin=None,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


FOLDER_FAULTS = ("link to nothing for a class", "link to nothing for a picture",
                 "class that train lacks", "class without a picture", "no picture in val")


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_own_folders_have_right_labels_or_are_refused(
        project: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("pictures")
    classes = data.draw(st.lists(st.sampled_from(["cat", "dog", "café", "Ähre", "owl"]), min_size=2,
                                 unique=True))
    forms = st.sampled_from(["NFC", "NFD"])
    taken = set()
    for split in ("train", "val"):
        for name in classes:
            folder = root / split / unicodedata.normalize(data.draw(forms), name)
            folder.mkdir(parents=True)
            for k in range(data.draw(st.integers(1, 3))):
                suffix = data.draw(st.sampled_from(["jpg", "PNG", "bmp", "gif", "ppm"]))
                content = f"{split} {name} {k}"
                (folder / f"{k}.{suffix}").write_bytes(content.encode())
                taken.add(content)
            for other in data.draw(st.sets(st.sampled_from(
                    ["x.webp", "x.tif", "notes.txt", ".DS_Store"]))):
                (folder / other).write_bytes(b"left out")
        if data.draw(st.booleans()):
            (root / split / "lost.jpg").write_bytes(b"left out")
    fault = data.draw(st.sampled_from(["", *FOLDER_FAULTS]))
    first = next((root / "train").iterdir())
    if fault == "link to nothing for a class":
        (root / "train" / "eel").symlink_to("/nowhere")
    elif fault == "link to nothing for a picture":
        (root / "train" / "eel.jpg").symlink_to("/nowhere")
    elif fault == "class that train lacks":
        (root / "val" / "eel").mkdir()
        (root / "val" / "eel" / "1.jpg").write_bytes(b"x")
    elif fault == "class without a picture":
        (root / "train" / "eel").mkdir()
        (root / "train" / "eel" / "1.webp").write_bytes(b"x")
    elif fault:
        (root / "val").rename(root / "validated")
        first = root / "val"
        first.mkdir()
    if fault:
        with pytest.raises(UserError, match="eel" if "val" not in fault else "validation"):
            fetching.fetch(folder_of(root))
        return
    fetching.fetch(folder_of(root))
    catalogue = fetching.load_catalogue(folder_of(root))
    names = [unicodedata.normalize("NFC", one.wnid) for one in catalogue.classes]
    assert sorted(names) == sorted(unicodedata.normalize("NFC", name) for name in classes)
    seen = set()
    for split in ("train", "val"):
        for picture in getattr(catalogue, split):
            content = read_picture(picture).decode()
            seen.add(content)
            made_for, name, _ = content.split()
            assert (made_for, name) == (split, names[picture.label])
    assert seen == taken


def test_two_classes_whose_names_differ_in_unicode_form_only(project: Path) -> None:
    for form in ("NFC", "NFD"):
        folder = project / "d" / "train" / unicodedata.normalize(form, "café")
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"x")
    (project / "d/val/café").mkdir(parents=True)
    if len(os.listdir(project / "d/train")) < 2:
        pytest.skip("this file system takes the two names for one")
    with pytest.raises(UserError, match="differ only in the Unicode form"):
        fetching.fetch(folder_of(project / "d"))


# Kaggle's list of labels, as people save it again.

@pytest.mark.parametrize("saved", [
    lambda text: text.encode(), lambda text: text.encode("utf-8-sig"),
    lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: text.encode("utf-16"), lambda text: text.replace(",", ";").encode(),
    lambda text: text.replace(",", "\t").encode("utf-16"),
    lambda text: (text + ",\n,\n").encode(),
    lambda text: text.replace(",n", ".JPEG,n").encode()])
def test_kaggles_list_is_read_however_it_was_saved(saved: object) -> None:
    text = ("ImageId,PredictionString\nILSVRC2012_val_00000002,n01000002 1 2 3 4 \n"
            "ILSVRC2012_val_00000001,n02000003 1 2 3 4 n02000003 5 6 7 8 \n")
    assert labels.read_solution(saved(text), "x.csv", CLASSES) == {  # type: ignore[operator]
        "ILSVRC2012_val_00000001": 2, "ILSVRC2012_val_00000002": 1}


@pytest.mark.parametrize(("text", "message"), [
    ("ImageId,PredictionString\na,n01000002 1\na,n02000003 1\n", "a has two labels, n01000002 and"),
    ("ImageId,PredictionString\na,n09999999 1\n", "n09999999"),
    ("ImageId,PredictionString\n", "no row"), ("a,b\n1,2\n", "ImageId")])
def test_a_list_that_contradicts_itself_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"x\.csv: .*{message}"):
        labels.read_solution(text.encode(), "x.csv", CLASSES)


def test_two_lists_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for name, text in (("LOC_val_solution.csv",
                        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01000002 1 2 3 4\n"),
                       ("ILSVRC2012_validation_ground_truth.txt", "2\n4\n")):
        (tmp_path / name).write_text(text)
    files = labels.places(tmp_path, tmp_path / "val")
    assert labels.find(files, CLASSES) == {"ILSVRC2012_val_00000001": 1,
                                           "ILSVRC2012_val_00000002": 3}
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n4\n")
    with pytest.raises(UserError, match=r"ILSVRC2012_val_00000001 is n03000001, but .*csv says n01"):
        labels.find(files, CLASSES)
