"""Pictures in columns are the pictures, in memory and on disk."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.sources.catalogue import Picture
from pipeline.data.sources.index import PictureTable, read_index, write_index
from pipeline.system.errors import UserError

ROOT = Path("/data set/ü")
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1,
                max_size=9).filter(lambda name: name not in (".", ".."))
ENTRIES = st.lists(st.builds(Picture, NAMES, st.integers(0, 2**31 - 1), st.builds(Path, NAMES),
                             st.integers(0, 2**62), st.integers(0, 2**62),
                             st.sampled_from(["", "gzip", "deflate"])), max_size=8)


def under(entry: Picture) -> Picture:
    return Picture(entry.name, entry.label, ROOT / entry.file, entry.offset, entry.size,
                 entry.packing)


@settings(max_examples=60)
@given(train=ENTRIES, val=ENTRIES)
def test_they_survive_the_index(tmp_path_factory: pytest.TempPathFactory, train: list[Picture],
                                val: list[Picture]) -> None:
    file = tmp_path_factory.mktemp("x") / "index.parquet"
    splits = {"train": PictureTable.of(ROOT, train), "val": PictureTable.of(ROOT, val)}
    assert list(splits["train"]) == [under(entry) for entry in train]
    write_index(file, splits)
    content = file.read_bytes()
    found = read_index(file, ROOT, ("train", "val"))
    assert {split: list(entries) for split, entries in found.items()} == {
        "train": [under(entry) for entry in train], "val": [under(entry) for entry in val]}
    write_index(file, found)
    assert file.read_bytes() == content


@settings(max_examples=60)
@given(entries=ENTRIES, data=st.data())
def test_they_behave_as_a_list_does(entries: list[Picture], data: st.DataObject) -> None:
    columns, usual = PictureTable.of(ROOT, entries), [under(entry) for entry in entries]
    assert (len(columns), columns.names) == (len(usual), [entry.name for entry in usual])
    bounds = st.none() | st.integers(-9, 9)
    chosen = slice(data.draw(bounds), data.draw(bounds),
                   data.draw(st.sampled_from([None, 1, 2, -1])))
    assert list(columns[chosen]) == usual[chosen]
    if usual:
        index = data.draw(st.integers(-len(usual), len(usual) - 1))
        assert columns[index] == usual[index]
    with pytest.raises(IndexError):
        columns[len(usual)]
    if len({entry.name for entry in usual}) == len(usual):
        columns.sort("label", "name")
        assert (list(columns)
                == sorted(usual, key=lambda entry: (entry.label, entry.name)))
    else:
        with pytest.raises(UserError, match="is there twice"):
            columns.sort("label", "name")


def test_a_missing_or_damaged_index_is_named(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    with pytest.raises(UserError,
                       match=r"index\.parquet: no such file; make it with `alexnet download`"):
        read_index(file, ROOT, ("train",))
    write_index(file, {"train": PictureTable.of(ROOT, [Picture("a", 0, Path("b"), 0, 1)])})
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"index\.parquet: damaged"):
        read_index(file, ROOT, ("train",))


def test_no_value_is_taken_that_was_not_written(tmp_path: Path) -> None:
    file = tmp_path / "index.parquet"
    entries = PictureTable.of(ROOT,
                         [Picture(f"n{k}", k, Path("a.tar"), 512 * k, 400 + k) for k in range(9)])
    write_index(file, {"train": entries})
    whole = pq.read_table(file)
    for name, values in {"name": ["x"], "label": [3], "offset": [7], "size": [7], "file": ["b.tar"],
                         "packing": ["gzip"], "split": ["val"]}.items():
        place = whole.schema.get_field_index(name)
        column = pa.array([*values, *whole[name].to_pylist()[1:]])
        pq.write_table(whole.set_column(place, name, column.cast(whole.schema.field(name).type)),
                       file)
        with pytest.raises(UserError, match=r"index\.parquet: damaged \(its digest is another"):
            read_index(file, ROOT, ("train",))
    pq.write_table(whole, file)
    assert read_index(file, ROOT, ("train",))["train"] == entries


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "a/../../b"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    file = tmp_path / "index.parquet"
    write_index(file, {"train": PictureTable.of(ROOT, [Picture("a", 0, Path(path), 0, 1)])})
    with pytest.raises(UserError, match="leads out of the data set's folder"):
        read_index(file, ROOT, ("train",))


@pytest.mark.parametrize("table",
                         [pa.table({}), pa.table({"split": ["train"]}), pa.table({"split": [None]}),
                          pa.table({"file": [1.5], "split": [b"x"]})])
def test_parquet_of_something_else_is_no_index(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "index.parquet")
    with pytest.raises(UserError, match=r"index\.parquet: damaged"):
        read_index(tmp_path / "index.parquet", ROOT, ("train",))


def test_an_index_of_more_pictures_than_there_are_is_not_read(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.sources.index.LARGEST", 8)
    write_index(tmp_path / "index.parquet",
                {"train": PictureTable.of(ROOT, [Picture("a", 0, Path("b"), 0, 1)] * 9)})
    with pytest.raises(UserError, match="9 pictures"):
        read_index(tmp_path / "index.parquet", ROOT, ("train",))
