"""The official archives: verified by size and MD5, and hashed again only when they have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching, imagenet2012
from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.ilsvrc_writer import write
from pipeline.data.sources.imagenet2012 import OFFICIAL, Archive, verify
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError

TRAIN, VAL, DEVKIT = Y2012.train, Y2012.val, Y2012.devkit


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree in the official form; the current folder is elsewhere."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    write(tmp_path / "imagenet", [Class("n1", "one")], [[("n1_1.JPEG", b"11")]],
          [("ILSVRC2012_val_00000001.JPEG", b"v1")], [0])
    return tmp_path / "imagenet"


def dataset(location: Path) -> DatasetSection:
    return DatasetSection(source="imagenet2012", location=location, origin=None, incomplete=True,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


def archives_of(location: Path) -> dict[str, Archive]:
    contents = {name: (location / name).read_bytes() for name in (TRAIN, VAL, DEVKIT)}
    return {name: Archive(len(content), hashlib.md5(content).hexdigest())
            for name, content in contents.items()}


def test_whole_archives_are_listed_with_both_checksums(
        location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet2012, "OFFICIAL", archives_of(location))
    listing = fetching.fetch(dataset(location))
    assert listing.classes == [Class("n1", "one")]
    assert [file.name for file in listing.files] == [TRAIN, VAL, DEVKIT]
    for file in listing.files:
        content = (location / file.name).read_bytes()
        assert (file.bytes, file.sha256, file.md5) == (
            len(content), hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())
    found = fetching.load_catalogue(dataset(location))
    assert [read_picture(entry) for entry in [*found.train, *found.val]] == [b"11", b"v1"]


@pytest.mark.parametrize("name", [TRAIN, VAL, DEVKIT])
def test_one_flipped_bit_or_a_missing_byte_is_refused(location: Path, name: str) -> None:
    archives = archives_of(location)
    content = bytearray((location / name).read_bytes())
    content[700] ^= 1
    (location / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: MD5 .*damaged"):
        verify(location, archives)
    (location / name).write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"{name}: (MD5|[\d,]+ bytes, not [\d,]+: not whole)"):
        verify(location, archives)


def test_missing_archives_are_told_with_size_md5_and_where_to_register(location: Path) -> None:
    (location / VAL).unlink()
    (location / DEVKIT).unlink()
    with pytest.raises(UserError) as told:
        verify(location, OFFICIAL)
    message = str(told.value).partition(" looks like")[0]
    for part in (VAL, "6,744,924,160 bytes", "29b22e2961454d5413ddabcf34fc5622", DEVKIT,
                 "fa75699e90414af021442c21a62c3abf", "https://image-net.org/download-images",
                 str(location)):
        assert part in message
    assert TRAIN not in message.partition("ImageNet gives")[0]


def test_a_file_is_hashed_again_only_when_size_or_time_changed(location: Path) -> None:
    file = location / "a"
    file.write_bytes(b"old")
    os.utime(file, ns=(5, 5))
    old, new = (hashlib.sha256(content).hexdigest() for content in (b"old", b"new"))
    assert [one.sha256 for one in checksums(location, ["a"])] == [old]
    file.write_bytes(b"new")
    # same size, same time: taken from memory, which is what saves hashing 150 GB
    os.utime(file, ns=(5, 5))
    assert [one.sha256 for one in checksums(location, ["a"])] == [old]
    os.utime(file, ns=(6, 6))
    first, = checksums(location, ["a"], ("sha256", "md5"))
    assert (first.sha256, first.md5) == (new, hashlib.md5(b"new").hexdigest())
    file.write_bytes(b"longer")
    os.utime(file, ns=(6, 6))
    assert ([one.sha256 for one in checksums(location, ["a"])]
            == [hashlib.sha256(b"longer").hexdigest()])


def test_a_broken_memory_of_checksums_only_costs_time(location: Path) -> None:
    (location / "a").write_bytes(b"a")
    listed = list(checksums(location, ["a"]))
    for broken in ("", "no database", "SQLite format 3" + "x" * 5000):
        Path("work/checksums.sqlite").write_text(broken)
        assert list(checksums(location, ["a"])) == listed


def test_checksums_of_a_missing_file_name_it(location: Path) -> None:
    with pytest.raises(UserError, match="gone: No such file"):
        list(checksums(location, ["gone"]))
