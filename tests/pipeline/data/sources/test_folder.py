"""Pictures in folders of classes: what is taken, in which order, and what is refused."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching
from pipeline.data.sources.catalogue import Catalogue, Class
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cc"]),
                min_size=1, max_size=12).filter(lambda name: not name.startswith("."))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def grown(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def found(root: Path) -> Catalogue:
    dataset = DatasetSection(source="folder", location=root, origin=None,
                             sample=SampleSection(seed=0, train_images=20, val_images=10))
    fetching.fetch(dataset)
    return fetching.load_catalogue(dataset)


SMALL = {"train/b/2.jpg": b"b2", "train/b/1.PNG": b"b1", "train/a b/ä.JPEG": b"ab",
         "val/b/9.Jpeg": b"b9", "val/a b/10.jpg": b"a10"}


def test_train_is_by_class_then_name_and_val_by_name(tmp_path: Path) -> None:
    catalogue = found(grown(tmp_path / "d", SMALL))
    assert catalogue.classes == [Class("a b", "a b"), Class("b", "b")]
    assert [(one.name, one.label, read_picture(one)) for one in catalogue.train] == [
        ("a b/ä.JPEG", 0, b"ab"), ("b/1.PNG", 1, b"b1"), ("b/2.jpg", 1, b"b2")]
    assert [(one.name, one.label, read_picture(one)) for one in catalogue.val] == [
        ("a b/10.jpg", 0, b"a10"), ("b/9.Jpeg", 1, b"b9")]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(classes=st.lists(NAMES, min_size=1, max_size=4, unique=True),
       names=st.sets(NAMES, min_size=1, max_size=4))
def test_any_names_any_order_of_making(tmp_path_factory: pytest.TempPathFactory, classes: list[str],
                                       names: set[str]) -> None:
    files = {f"{split}/{one}/{name}.jpg": f"{split} {one} {name}".encode()
             for split in ("train", "val") for one in classes for name in names}
    one = found(grown(tmp_path_factory.mktemp("one"), files))
    two = found(grown(tmp_path_factory.mktemp("two"), dict(reversed(files.items()))))
    for split in ("train", "val"):
        assert len(getattr(one, split)) == len(classes) * len(names)
        of_one, of_two = ([(e.name, e.label, read_picture(e)) for e in getattr(c, split)]
                          for c in (one, two))
        assert of_one == of_two
        assert of_one == sorted(of_one,
                                key=lambda one: (one[1], one[0]) if split == "train" else one[0])
        assert [content.decode() for *_, content in of_one] == [
            f"{split} {name.replace('/', ' ').removesuffix('.jpg')}" for name, *_ in of_one]
        assert {(name, label) for name, label, _ in of_one} == {
            (f"{c}/{name}.jpg", sorted(classes).index(c)) for c in classes for name in names}


def test_everything_that_is_not_taken_is_told_and_counted(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = grown(tmp_path / "d", SMALL | {
        "train/b/.hidden.jpg": b"", "train/.git/x.jpg": b"", "train/b/notes.txt": b"",
        "val/b/Thumbs.db": b"", "train/b/more/3.jpg": b"", "val/readme.txt": b"",
        "train/b/4.webp": b"", "train/b/5.TIF": b"", "train/lost.jpg": b"", "val/lost.jpg": b"",
        "train/b/6.bmp": b"six", "train/b/7.gif": b"seven", "train/b/8.ppm": b"eight"})
    assert [one.name for one in found(root).train][-3:] == ["b/6.bmp", "b/7.gif", "b/8.ppm"]
    told = [line for line in capsys.readouterr().err.splitlines() if " left out, " in line]
    assert told == [
        "2 files left out, hidden: train/.git/x.jpg, train/b/.hidden.jpg",
        "1 file left out, no pictures by their names (.db): val/b/Thumbs.db",
        "2 files left out, no pictures by their names (.txt): train/b/notes.txt, val/readme.txt",
        "1 file left out, of a format that is not decoded here (.tif); convert them to PNG or "
        "JPEG: train/b/5.TIF",
        "1 file left out, of a format that is not decoded here (.webp); convert them to PNG or "
        "JPEG: train/b/4.webp",
        "1 file left out, deeper than train/<class>/: train/b/more/3.jpg",
        "1 file left out, directly in train, where no folder says the class: train/lost.jpg",
        "1 file left out, in val without a label: val/lost.jpg"]


def test_links_to_pictures_are_followed_and_links_to_nothing_refused(tmp_path: Path) -> None:
    root = grown(tmp_path / "d", SMALL)
    (grown(tmp_path / "far", {"x": b"linked"}) / "x").rename(tmp_path / "far.bin")
    (root / "train/b/3.jpg").symlink_to(tmp_path / "far.bin")
    assert read_picture(found(root).train[-1]) == b"linked"
    (root / "train/b/4.jpg").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"4\.jpg: a link to .*gone, where nothing is: mount"):
        found(root)


@pytest.mark.parametrize(("more", "less", "message"), [
    ({"val/c/1.jpg": b""}, None, r"val/c: no such class in .*train"),
    ({"train/c/notes.txt": b""}, None, r"no training picture of 1 class: c"),
    ({}, "val", r"d has no folder of validation pictures\.\n.*: train: 3 training pictures in 2 "),
    ({"test/b/1.jpg": b""}, "val", r"(?s)no folder of validation pictures.*ln -s test .*d/val"),
    ({}, "train", r"(?s)d has no folder of training pictures.*belong in .*/d/train"),
])
def test_what_is_missing_or_unknown_is_named(tmp_path: Path, more: dict[str, bytes],
                                             less: str | None, message: str) -> None:
    files = {name: content
             for name, content in SMALL.items() if not less or not name.startswith(less)}
    with pytest.raises(UserError, match=message):
        found(grown(tmp_path / "d", files | more))


def test_empty_splits_and_names_that_are_no_text_are_named(tmp_path: Path) -> None:
    root = grown(tmp_path / "d", SMALL)
    with (root / os.fsdecode(b"train/b/\xff.jpg")).open("wb"), pytest.raises(
            UserError, match=r"not UTF-8; rename"):
        found(root)
    for place in ("train/b/1\nforged.jpg", "train/b\nforged/1.jpg", "val/b/1\u2028forged.jpg"):
        other = grown(tmp_path / place.encode().hex(), SMALL | {place: b"x"})
        with pytest.raises(UserError, match=r"the name '.*(\\n|\\u2028)forged.*' has a line break"):
            found(other)
    (root / "x/train").mkdir(parents=True)
    (root / "x/val").mkdir(parents=True)
    with pytest.raises(UserError, match="train: no class folders"):
        found(root / "x")
