"""ImageNet's archives, written small by ilsvrc_writer and read back in place."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from pipeline.data.sources import ilsvrc
from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.ilsvrc_writer import write
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError
from tests.pipeline.data.sources.imagenet_copies import official_catalogue

CLASSES = [Class("n03", "c, third"), Class("n01", "a"), Class("n02", "b")]
TRAIN = [[("n03_2.JPEG", b"32"), ("n03_1.JPEG", b"31" * 400)], [("n01_1.JPEG", b"11")],
         [("n02_1.JPEG", b"")]]
VAL = [("ILSVRC2012_val_00000001.JPEG", b"v1"), ("ILSVRC2012_val_00000002.JPEG", b"v2")]


def tree(folder: Path, classes: Sequence[Class] = CLASSES,
         train: list[list[tuple[str, bytes]]] = TRAIN, val: list[tuple[str, bytes]] = VAL,
         labels: Sequence[int] = (2, 0)) -> Path:
    write(folder, classes, train, val, labels, [Class("n00", "everything")])
    return folder


def test_every_picture_is_found_with_its_label(tmp_path: Path) -> None:
    found = official_catalogue(tree(tmp_path))
    assert found.classes == CLASSES  # in order of id, without the ancestor
    assert [(one.name, one.label, read_picture(one))
            for one in found.train] == [("n03_1.JPEG", 0, b"31" * 400), ("n03_2.JPEG", 0, b"32"),
                                        ("n01_1.JPEG", 1, b"11"), ("n02_1.JPEG", 2, b"")]
    assert [(one.name, one.label, read_picture(one)) for one in found.val] == [
        ("ILSVRC2012_val_00000001.JPEG", 2, b"v1"), ("ILSVRC2012_val_00000002.JPEG", 0, b"v2")]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), labels=st.lists(st.integers(0, 5), max_size=8))
def test_labels_follow_the_ids_whatever_the_wnids(tmp_path: Path, order: list[int],
                                                  labels: list[int]) -> None:
    classes = [Class(f"n{number}", f"word {number}") for number in order]
    train = [[(f"{one.wnid}_{i}.JPEG", f"{one.wnid} {i}".encode()) for i in range(2)]
             for one in classes]
    val = [(f"ILSVRC2012_val_{i + 1:08}.JPEG", b"") for i in range(len(labels))]
    folder = tree(tmp_path, classes, train, val, labels)
    found = official_catalogue(folder)
    assert found.classes == classes
    assert [entry.label for entry in found.val] == labels
    assert all(read_picture(entry).decode().split()[0] == classes[entry.label].wnid
               for entry in found.train)


def test_the_archives_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "1"), tree(tmp_path / "2")
    other = tree(tmp_path / "3", labels=(2, 1))
    for name in (Y2012.train, Y2012.val, Y2012.devkit):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / Y2012.devkit).read_bytes() != (other / Y2012.devkit).read_bytes()


def test_meta_has_the_fields_of_the_original(tmp_path: Path) -> None:
    with tarfile.open(tree(tmp_path) / Y2012.devkit, "r:gz") as archive:
        meta = archive.extractfile(Y2012.meta)
        assert meta
        synsets = loadmat(io.BytesIO(meta.read()), squeeze_me=True)["synsets"]
    assert synsets.dtype.names[:5] == ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    assert list(synsets["num_children"]) == [0, 0, 0, 3]


@pytest.mark.parametrize(("change", "message"), [
    ({"labels": (2,)}, r"in val without a label: val/ILSVRC2012_val_00000002\.JPEG"),
    ({"labels": (2, 0, 1)}, r"\['ILSVRC2012_val_00000003'\]"),
    ({"labels": (2, 3)}, r"ids outside 1\.\.3"),
    ({"labels": (2, -1)}, r"ids outside 1\.\.3"),
    ({"val": [VAL[0], VAL[0]]}, "ILSVRC2012_val_00000001 is there twice"),
    ({"train": [TRAIN[0], TRAIN[0], TRAIN[2]]},
     r"train/n01/n03_2\.JPEG: its folder says n01, but its name says n03 \(2 such pictures\)"),
    ({"train": [[TRAIN[0][0], TRAIN[0][0]], TRAIN[1], TRAIN[2]]}, r"n03_2\.JPEG is there twice"),
    ({"classes": [CLASSES[0], CLASSES[0], CLASSES[2]]}, r"n03\.tar occurs twice"),
])
def test_archives_that_do_not_belong_together_are_refused(tmp_path: Path, change: dict[str, object],
                                                          message: str) -> None:
    with pytest.raises(UserError, match=message):
        official_catalogue(tree(tmp_path, **change))  # type: ignore[arg-type]


def test_classes_of_archive_and_devkit_must_agree(tmp_path: Path) -> None:
    tree(tmp_path / "all")
    tree(tmp_path / "two", CLASSES[:2], TRAIN[:2], labels=(0, 1))
    for kit, message in (("all", r"no n02\.tar"), ("two", r"n02\.tar is of no class")):
        mixed = tmp_path / f"{kit} kit"
        mixed.mkdir()
        other = "two" if kit == "all" else "all"
        (mixed / Y2012.devkit).write_bytes((tmp_path / kit / Y2012.devkit).read_bytes())
        for name in (Y2012.train, Y2012.val):
            (mixed / name).write_bytes((tmp_path / other / name).read_bytes())
        with pytest.raises(UserError, match=message):
            official_catalogue(mixed)


@pytest.mark.parametrize("damage",
                         [lambda whole: b"", lambda whole: b"not gzip", lambda whole: whole[:3000],
                          lambda whole: whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:],
                          lambda whole: gzip.compress(bytes(10240))])
def test_a_damaged_devkit_is_refused(tmp_path: Path, damage: object) -> None:
    file = tree(tmp_path) / Y2012.devkit
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=Y2012.devkit):
        ilsvrc.devkit(file)


def test_a_missing_devkit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{Y2012.devkit}: No such file"):
        ilsvrc.devkit(tmp_path / Y2012.devkit)
