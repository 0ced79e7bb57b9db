"""ImageNet 2010 from its archives, with what they have of their own: folders, gzipped pictures,
other names."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching, ilsvrc_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.ilsvrc import Y2010, Y2012
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError

CLASSES = [Class("n03", "c, third"), Class("n01", "a"), Class("n02", "b")]
TRAIN = [[("n03_2.JPEG", b"32"), ("n03_1.JPEG", gzip.compress(b"31"))], [("n01_1.JPEG", b"11")],
         [("n02_1.JPEG", b"")]]
VAL = [("ILSVRC2010_val_00000001.JPEG", gzip.compress(b"v1")),
       ("ILSVRC2010_val_00000002.JPEG", b"v2")]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSection:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    ilsvrc_writer.write(tmp_path / "archives", CLASSES, TRAIN, VAL, (2, 0), [Class("n00", "all")],
                        Y2010)
    return DatasetSection(source="imagenet2010", location=tmp_path / "archives", origin=None, incomplete=True,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


def test_every_picture_is_found_unpacked_and_labelled(dataset: DatasetSection) -> None:
    listing = fetching.fetch(dataset)
    found = fetching.load_catalogue(dataset)
    assert (listing.source, listing.classes) == ("imagenet2010", CLASSES)
    assert [(one.name, one.label, read_picture(one))
            for one in found.train] == [("n03_1.JPEG", 0, b"31"), ("n03_2.JPEG", 0, b"32"),
                                        ("n01_1.JPEG", 1, b"11"), ("n02_1.JPEG", 2, b"")]
    assert [(one.name, one.label, read_picture(one)) for one in found.val] == [
        ("ILSVRC2010_val_00000001.JPEG", 2, b"v1"), ("ILSVRC2010_val_00000002.JPEG", 0, b"v2")]


def test_a_gzipped_picture_that_is_broken_is_refused(dataset: DatasetSection) -> None:
    fetching.fetch(dataset)
    entry = fetching.load_catalogue(dataset).val[0]
    content = bytearray(entry.file.read_bytes())
    content[entry.offset + entry.size - 8] ^= 1  # in its checksum
    entry.file.write_bytes(content)
    with pytest.raises(UserError, match=r"ILSVRC2010_val_00000001\.JPEG: cannot be unpacked"):
        read_picture(entry)


def test_what_is_missing_is_named_with_the_page(dataset: DatasetSection) -> None:
    assert dataset.location is not None
    (dataset.location / Y2010.val).rename(dataset.location / Y2012.val)
    with pytest.raises(UserError, match=r"lacks\n  ILSVRC2010_images_val\.tar\n.*registered"):
        fetching.fetch(dataset)
