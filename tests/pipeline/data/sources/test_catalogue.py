"""The contract of a source: reading an entry, and a listing that still holds."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.config.paths import LISTING
from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching
from pipeline.data.sources.catalogue import Class, ListedFile, Picture
from pipeline.data.sources.listing import read_listing, write_listing
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError
from pipeline.system.files import write_json


def dataset(source: str = "folder", location: Path | None = None, seed: int = 1) -> DatasetSection:
    return DatasetSection(source=source, location=location, origin=None, incomplete=True,
                          sample=SampleSection(seed=seed, train_images=20, val_images=10))


def test_read_gives_exactly_the_bytes_of_the_entry(tmp_path: Path) -> None:
    file = tmp_path / "archive"
    content = os.urandom(1000)
    file.write_bytes(content)
    assert read_picture(Picture("a", 0, file, 10, 100)) == content[10:110]
    assert read_picture(Picture("a", 0, file, 900, 100)) == content[900:]
    assert read_picture(Picture("a", 0, file, 11, 100)) != content[10:110]


def test_read_of_a_short_or_missing_file_names_it(tmp_path: Path) -> None:
    file = tmp_path / "archive"
    file.write_bytes(bytes(100))
    with pytest.raises(UserError,
                       match=r"archive: ends within a\.jpg: 11 bytes expected at 90, 10 there"):
        read_picture(Picture("a.jpg", 0, file, 90, 11))
    with pytest.raises(UserError, match=r"gone: No such file.*listed for a\.jpg"):
        read_picture(Picture("a.jpg", 0, tmp_path / "gone", 0, 1))


def test_listing_survives_json(tmp_path: Path) -> None:
    classes = [Class("n1", "a, b"), Class("n2", "c")]
    file = tmp_path / "listing.json"
    for files in ([ListedFile("x", 3, "00"), ListedFile("y", 4, "01", "02")], []):
        def assert_read(files: list[ListedFile]) -> None:
            listing = read_listing(file)
            assert (listing.source, listing.classes, listing.made_with) == (
                "sample", classes, {"seed": 3})
            assert list(listing.files) == files

        write_listing(file, "sample", classes, {"seed": 3}, files)
        assert_read(files)
        values = {"source": "sample", "made_with": {"seed": 3},
                  "classes": [asdict(one) for one in classes],
                  "files": [{key: value for key, value in asdict(one).items() if value}
                            for one in files]}
        assert file.read_text() == json.dumps(values, indent=2) + "\n"
        file.write_text(json.dumps(values))  # in another form, it is the same listing
        assert_read(files)


def test_a_listing_that_is_cut_or_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "listing.json"
    write_listing(file, "folder", [Class("a", "a")], {},
                  (ListedFile(f"train/a/{k}.jpg", k, f"{k:064x}") for k in range(9)))
    lines = file.read_text().splitlines(keepends=True)
    assert len(list(read_listing(file).files)) == 9
    for end in range(len(lines)):
        file.write_text("".join(lines[:end]))
        with pytest.raises(UserError, match="not a listing, or broken"):
            list(read_listing(file).files)
    file.write_text("".join(lines).replace('"bytes": 4', '"bytes": "4"'))
    with pytest.raises(UserError, match="not a listing, or broken"):
        list(read_listing(file).files)


def test_catalogue_wants_the_listing_of_these_very_parameters(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="alexnet download"):
        fetching.load_catalogue(dataset("sample"))
    fetching.fetch(dataset("sample", seed=1))
    assert len(fetching.load_catalogue(dataset("sample", seed=1)).train) == 20
    with pytest.raises(UserError,
                       match=r"listing\.json: of dataset\.source sample .*'seed': 1.*'seed': 2"):
        fetching.load_catalogue(dataset("sample", seed=2))
    with pytest.raises(UserError, match=r"the parameters say folder"):
        fetching.load_catalogue(dataset("folder", location=tmp_path))
    write_json(LISTING, {"source": "sample"})
    with pytest.raises(UserError, match="not a listing"):
        fetching.load_catalogue(dataset("sample"))


def test_a_listed_file_that_changed_its_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    fetching.check_in_place(tmp_path, [ListedFile("a", 10, "")])
    with pytest.raises(UserError, match="10 bytes, but 11"):
        fetching.check_in_place(tmp_path, [ListedFile("a", 11, "")])
    with pytest.raises(UserError, match="b: No such file"):
        fetching.check_in_place(tmp_path, [ListedFile("b", 11, "")])
