"""The store gives back what was written, and says so when it cannot."""

import io
import json
import os
import re
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.moments import Moments
from pipeline.data.pixels import SIDE, decoder
from pipeline.data.shards import Encoding, shard_file, shard_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.store import (
    CLASSES,
    DESCRIPTION,
    INDEX,
    QUARANTINE,
    SPLITS,
    Quarantined,
    Store,
    StoredImage,
    StoredShard,
    digest_of_shards,
    prepared_by,
    publish_description,
)
from pipeline.system.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)


def jpeg_of(image: NDArray[np.uint8]) -> io.BytesIO:
    stream = io.BytesIO()
    # 4:2:0, as Pillow has it unless told otherwise
    Image.fromarray(image).save(stream, "JPEG", quality=95)
    return stream


READ: dict[Encoding, NDArray[np.uint8]] = {"raw": IMAGES, "jpeg": np.stack([
    np.asarray(Image.open(jpeg_of(image)).convert("RGB")) for image in IMAGES])}
LABELS = [2, 0, 1, 1, 0, 2, 2, 1, 0]
CLASSES_ = [Class("n1", "a cat, a feline"), Class("n2", "β"), Class("n3", "c")]
# Shards of varied length; train-00001 had no decodable image, so there is none.
PLAN = [("train", 0, slice(0, 3)), ("train", 2, slice(3, 4)), ("train", 3, slice(4, 6)),
        ("val", 0, slice(6, 9))]


def write_store(folder: Path, encoding: Encoding = "raw") -> Path:
    shards = []
    for split, number, part in PLAN:
        rows = []
        with shard_writer(folder / shard_file(split, number, encoding),
                           encoding=encoding) as writer:
            for k in range(9)[part]:
                assert np.array_equal(writer.add(IMAGES[k], LABELS[k]), READ[encoding][k])
                rows.append(StoredImage(f"{split}{k}", f"{k:064x}", LABELS[k], writer.place))
        shards.append(StoredShard(split, number, writer.digest.hexdigest(), rows))
    publish_description(folder, CLASSES_, iter(shards), Moments.zero(),
                        [Quarantined("train", "x", "empty", "00")],
                        {"decoder": decoder(), "order_seed": 3}, encoding)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("finished") / "store")


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("compressed") / "store", "jpeg")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "store"))


@pytest.fixture
def jpegs(compressed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compressed, tmp_path / "jpegs"))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_round_trip(finished: Path, compressed: Path, encoding: Encoding) -> None:
    store, images = Store({"raw": finished, "jpeg": compressed}[encoding]), READ[encoding]
    assert store.encoding == encoding
    assert store.classes == CLASSES_
    assert store.decoder == decoder()
    train, val = (store.split(split) for split in SPLITS)
    assert (len(train), len(val)) == (6, 3)
    assert train.labels.dtype == np.int64
    assert [*train.labels, *val.labels] == LABELS
    for k in range(6):
        assert np.array_equal(train.image(k), images[k])
    assert np.array_equal(val.image(2), images[8])
    assert not train.image(0).flags.writeable
    for outside in (-1, 6):
        with pytest.raises(IndexError):
            train.image(outside)
    store.verify()


def test_shards_are_plain_numpy_files_and_the_rest_is_readable(finished: Path) -> None:
    assert np.array_equal(np.load(finished / "train-00003.npy", mmap_mode="r"), IMAGES[4:6])
    assert json.loads((finished / CLASSES).read_text())[1] == {"wnid": "n2", "words": "β"}
    assert json.loads((finished / QUARANTINE).read_text()) == [
        {"split": "train", "name": "x", "reason": "empty", "sha256": "00", "fix": ""}]
    description = json.loads((finished / DESCRIPTION).read_text())
    assert (description["images"], description["order_seed"]) == ({"train": 6, "val": 3}, 3)
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(finished / INDEX).to_pylist()[3] == {
        "split": "train", "name": "train3", "sha256": f"{3:064x}", "label": 1, "shard": 2, "row": 0}


def test_the_same_images_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    again = write_store(tmp_path / "again")
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in finished.iterdir()}


def obvious_crops(images: NDArray[np.uint8], tops: list[int], lefts: list[int], flips: list[bool],
                  size: int) -> NDArray[np.uint8]:
    crops = [image[top: top + size, left: left + size]
             for image, top, left in zip(images, tops, lefts, strict=True)]
    return np.stack([np.fliplr(crop) if flip else crop
                     for crop, flip in zip(crops, flips, strict=True)])


@settings(max_examples=25)
@given(data=st.data(), size=st.sampled_from([1, 67, 224, 256]))
def test_crops_are_those_of_plain_indexing(finished: Path, compressed: Path, data: st.DataObject,
                                           size: int) -> None:
    encoding = data.draw(st.sampled_from(["raw", "jpeg"]))
    n = data.draw(st.integers(1, 8))
    indices, tops, lefts, flips = (data.draw(st.lists(values, min_size=n, max_size=n))
                                   for values in (st.integers(0, 5), st.integers(0, SIDE - size),
                                                  st.integers(0, SIDE - size), st.booleans()))
    crops = Store({"raw": finished, "jpeg": compressed}[encoding]).split("train").gather_crops(
        np.array(indices), np.array(tops), np.array(lefts), np.array(flips), size)
    assert np.array_equal(crops, obvious_crops(READ[encoding][indices], tops, lefts, flips, size))


def test_crops_out_of_range(finished: Path) -> None:
    val, zero, one = Store(finished).split("val"), np.array([0]), np.array([1])
    assert np.array_equal(val.gather_crops(one, zero, zero, zero == 1), IMAGES[7:8, :224, :224])
    for index, top, left in ((3, 0, 0), (-1, 0, 0), (0, 33, 0), (0, 0, 33), (0, -1, 0)):
        with pytest.raises(IndexError):
            val.gather_crops(np.array([index]), np.array([top]), np.array([left]), zero == 1)


@pytest.mark.parametrize("shard", [shard_file(split, number) for split, number, _ in PLAN])
@pytest.mark.parametrize("position", [128, 100_000, -1])
def test_one_flipped_bit_of_a_pixel_is_noticed(copy: Path, shard: str, position: int) -> None:
    content = bytearray((copy / shard).read_bytes())
    content[position] ^= 1
    (copy / shard).write_bytes(content)
    with pytest.raises(UserError, match=f"{shard}: damaged: its pixels or labels"):
        Store(copy).verify()


def change_index(folder: Path, column: str, row: int, value: int) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(folder / INDEX).to_pylist()
    rows[row][column] = value
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / INDEX)
    change_description(folder)


def test_one_changed_label_is_noticed(copy: Path) -> None:
    change_index(copy, "label", 3, 0)
    with pytest.raises(UserError, match=r"train-00002\.npy: damaged: its pixels or labels"):
        Store(copy).verify()
    change_index(copy, "label", 3, 3)
    with pytest.raises(UserError,
                       match=r"index\.parquet: damaged: a train label is outside 0\.\.2"):
        Store(copy)


@pytest.mark.parametrize(("column", "value"), [("row", 1), ("shard", 1), ("split", "val")])
def test_an_index_of_other_images_is_noticed(copy: Path, column: str, value: int) -> None:
    change_index(copy, column, 3, value)
    with pytest.raises(UserError, match=r"index\.parquet: damaged: its (train|val) images"):
        Store(copy)


def change_description(folder: Path, **values: object) -> None:
    """And take its digest out, as a store of before there was one: what is left are the checks of
    meaning."""
    description = json.loads((folder / DESCRIPTION).read_text()) | values
    description.pop("digest", None)
    (folder / DESCRIPTION).write_text(json.dumps(description))


@pytest.mark.parametrize("file", [DESCRIPTION, INDEX, CLASSES, QUARANTINE])
@given(where=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_beside_the_shards_is_noticed(copy: Path, file: str, where: int,
                                                      bit: int) -> None:
    path = copy / file
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[where % len(whole)] ^= 1 << bit
    path.write_bytes(bytes(changed))
    try:
        if file == DESCRIPTION and _harmless(whole, bytes(changed)):
            Store(copy)
        else:
            with pytest.raises(UserError, match=re.escape(str(path))):
                Store(copy)
    finally:
        path.write_bytes(whole)


def _harmless(whole: bytes, changed: bytes) -> bool:
    """The same JSON, written otherwise (a space that is now a line's end); or only the name
    `digest` is another."""
    values = json.loads(whole)
    try:
        found = json.loads(changed)
    except ValueError:
        return False
    digest = values.pop("digest")
    return found in (values | {"digest": digest}, values) or any(
        found == values | {name: digest} for name in found.keys() - values.keys())


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_shard_is_checked_on_its_first_use_and_not_again(copy: Path, jpegs: Path,
                                                           encoding: Encoding) -> None:
    folder = {"raw": copy, "jpeg": jpegs}[encoding]
    shard = folder / shard_file("train", 3, encoding)
    content = bytearray(shard.read_bytes())
    content[-700] ^= 1
    split = Store(folder).split("train")
    split.image(0)
    split.image(3)
    shard.write_bytes(bytes(content))
    split.image(0)
    with pytest.raises(UserError,
                       match=f"{shard.name}: damaged: (its pixels or labels|image . *: )"):
        split.image(5)
    with pytest.raises(UserError,
                       match=f"{shard.name}: damaged: (its pixels or labels|image . *: )"):
        split.gather_crops(np.array([0, 5]), np.array([0, 0]), np.array([0, 0]),
                           np.array([False, False]))


def test_a_shard_that_is_changed_while_it_is_in_use_is_named(copy: Path) -> None:
    split = Store(copy).split("train")
    split.image(0)
    os.utime(copy / "train-00002.npy")  # not in use
    split.check_unchanged()
    with (copy / "train-00000.npy").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"x")
    with pytest.raises(UserError,
                       match=r"train-00000\.npy: damaged: it was changed while it was in use"):
        split.check_unchanged()
    (copy / "train-00000.npy").unlink()
    with pytest.raises(UserError, match=r"train-00000\.npy: damaged: it was changed"):
        split.check_unchanged()


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_shard_that_is_cut_off_while_it_is_in_use_is_named(copy: Path, jpegs: Path,
                                                             encoding: Encoding) -> None:
    """To touch what was cut off would end this process by SIGBUS."""
    folder = {"raw": copy, "jpeg": jpegs}[encoding]
    train, zero = Store(folder).split("train"), np.array([0])
    train.image(0)
    file = folder / shard_file("train", 0, encoding)
    with file.open("r+b") as stream:
        stream.truncate(5000)
    for read in (lambda: train.image(1),
                 lambda: train.gather_crops(np.array([2]), zero, zero, zero.astype(bool))):
        with pytest.raises(UserError, match=rf"{file.name}: damaged: it was cut off while it was "
                                            r"in use.*to 5000"):
            read()
    assert train.image(3).any()  # of the next shard


def test_other_digests_and_formats_are_noticed(copy: Path) -> None:
    change_description(copy, pixels_digest="0" * 64)
    with pytest.raises(UserError, match=r"store\.json: damaged: pixels_digest"):
        Store(copy).verify()
    change_description(copy, format=3)
    with pytest.raises(UserError,
                       match=r"store\.json: format 3, but this program reads formats 1, 2"):
        Store(copy)
    change_description(copy, format=1, shards={})
    with pytest.raises(UserError, match=r"store\.json: damaged: KeyError"):
        Store(copy)
    (copy / DESCRIPTION).write_text("[]")
    with pytest.raises(UserError, match="format None"):
        Store(copy)
    (copy / DESCRIPTION).unlink()
    with pytest.raises(UserError,
                       match=r"store\.json: no such file; make it with `alexnet resize`"):
        Store(copy)


def test_missing_truncated_and_foreign_shards_are_named(copy: Path) -> None:
    shard = copy / "train-00003.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1000])
    with pytest.raises(UserError,
                       match=r"train-00003\.npy: damaged: \d+ bytes are too few for 2 images"):
        Store(copy)
    shard.unlink()
    with pytest.raises(UserError, match=r"train-00003\.npy: damaged: No such file"):
        Store(copy)
    for other in (np.zeros((3, SIDE, SIDE, 3), np.uint8), np.zeros((2, SIDE, SIDE, 3), np.int8)):
        np.save(shard, other)
        with pytest.raises(UserError, match=r"train-00003\.npy: damaged: (uint8 .* where uint8 "
                                            r"\[2, 256, 256, 3\]|int8 .*, not uint8)"):
            Store(copy).split("train").image(5)
    shard.write_bytes(b"\0" * len(content))
    with pytest.raises(UserError, match=r"train-00003\.npy: damaged"):
        Store(copy).split("train").image(5)


@pytest.mark.parametrize("file", [INDEX, CLASSES])
def test_other_broken_files_are_named(copy: Path, file: str) -> None:
    (copy / file).write_bytes((copy / file).read_bytes()[:-20])
    with pytest.raises(UserError, match=file):
        Store(copy)
    (copy / file).unlink()
    with pytest.raises(UserError, match=file):
        Store(copy)


def test_a_shard_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with shard_writer(tmp_path / "train-00000.npy") as writer:
            writer.add(IMAGES[0], 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_digest_of_shards_depends_on_split_and_order() -> None:
    digests = [digest_of_shards({"train": train, "val": val})
               for train, val in ((["a", "b"], ["c"]), (["b", "a"], ["c"]), (["a"], ["b", "c"]),
                                  (["a", "b", "c"], []), (["ab"], ["c"]))]
    assert len(set(digests)) == len(digests)


# What stores of JPEGs have of their own.

def test_a_jpeg_shard_is_jpegs_end_to_end_whose_places_are_in_the_index(compressed: Path) -> None:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(compressed / INDEX).to_pylist()
    for k, row in enumerate(rows):
        content = (compressed / shard_file(row["split"], row["shard"], "jpeg")).read_bytes()
        assert content[row["offset"]: row["offset"] + row["size"]] == jpeg_of(IMAGES[k]).getvalue()
        last = k + 1 == len(rows) or rows[k + 1]["row"] == 0
        assert (row["offset"] + row["size"] == len(content)) == last
    assert not list(compressed.glob("*.npy"))


@pytest.mark.parametrize("shard", [shard_file(split, number, "jpeg") for split, number, _ in PLAN])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_one_flipped_bit_of_a_jpeg_is_noticed(jpegs: Path, shard: str, part: float) -> None:
    Store(jpegs).verify()
    content = bytearray((jpegs / shard).read_bytes())
    content[int(part * len(content))] ^= 1
    (jpegs / shard).write_bytes(content)
    with pytest.raises(UserError, match=f"{shard}: damaged: (its pixels or labels|image . *: )"):
        Store(jpegs).verify()


def test_a_jpeg_that_cannot_be_decoded_or_is_of_another_size_is_named(jpegs: Path) -> None:
    shard = jpegs / "train-00002.jpegs"
    size = shard.stat().st_size
    shard.write_bytes(bytes(size))
    with pytest.raises(UserError, match=r"train-00002\.jpegs: damaged: image 0: broken data"):
        Store(jpegs).split("train").image(3)
    small = jpeg_of(IMAGES[0, :8, :8]).getvalue()
    shard.write_bytes(small.ljust(size, b"\0"))
    with pytest.raises(UserError, match=r"train-00002\.jpegs: damaged: image 0 is \[8, 8, 3\], not "
                                        r"\[256, 256, 3\]"):
        Store(jpegs).split("train").image(3)
    shard.write_bytes(bytes(size - 1))
    with pytest.raises(UserError,
                       match=r"train-00002\.jpegs: damaged: \d+ bytes are too few for 1 images"):
        Store(jpegs)


def made_elsewhere(folder: Path, **values: str) -> Store:
    change_description(folder, decoder=decoder() | values)
    return Store(folder)


def test_jpegs_that_decode_to_other_pixels_here_are_refused(jpegs: Path) -> None:
    with pytest.raises(UserError, match=r"its JPEGs were written by .*jpeg 0123.* and decode to "
                                        r"other pixels with .*; make the store again .* "
                                        r"store\.encoding: raw"):
        made_elsewhere(jpegs, jpeg="0123")


def test_raw_pixels_are_the_same_everywhere_but_another_resampler_is_told(copy: Path,
                                                                          jpegs: Path) -> None:
    assert Store(copy).other_decoder() is None
    for folder in (copy, jpegs):
        told = made_elsewhere(folder, library="Pillow 1.0", fingerprint="0123").other_decoder()
        assert told is not None
        assert "was prepared by Pillow 1.0, libjpeg" in told
        assert "fingerprint 0123" in told
        assert f"here is {decoder()['library']}" in told
    made_elsewhere(copy, jpeg="0123")


def test_a_run_is_told_who_prepared_its_store(finished: Path, jpegs: Path) -> None:
    told = ", ".join(f"{name} {value}" for name, value in decoder().items() if name != "library")
    told = f"{decoder()['library']}, {told}"
    assert prepared_by(finished) == {"store_encoding": "raw", "store_decoder": told}
    assert prepared_by(jpegs) == {"store_encoding": "jpeg", "store_decoder": told}
    change_description(jpegs, decoder=None)
    with pytest.raises(UserError, match=r"store\.json: damaged"):
        prepared_by(jpegs)


def test_threads_read_a_split_side_by_side(compressed: Path) -> None:
    train = Store(compressed).split("train")
    with ThreadPoolExecutor(4) as threads:
        for k, image in zip(list(range(6)) * 3, threads.map(train.image, list(range(6)) * 3),
                            strict=True):
            assert np.array_equal(image, READ["jpeg"][k])


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_the_system_is_told_which_images_will_be_read(finished: Path,
                                                      compressed: Path, encoding: Encoding,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly their bytes; images that lie side by side are one piece of a file."""
    told: list[bytes] = []

    def advise(file: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        told.append(os.pread(file, length, start))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    split = Store({"raw": finished, "jpeg": compressed}[encoding]).split("train")
    split.expect(np.array([5, 0, 1, 3]))
    wanted = [IMAGES[k].tobytes() if encoding == "raw" else jpeg_of(IMAGES[k]).getvalue()
              for k in (0, 1, 3, 5)]
    assert told == [wanted[0] + wanted[1], wanted[2], wanted[3]]
    with pytest.raises(IndexError):
        split.expect(np.array([6]))


def test_a_shard_for_which_there_is_no_memory_is_not_called_damaged(copy: Path) -> None:
    split = Store(copy).split("train")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1_000_000, hard))
    try:
        with pytest.raises((OSError, MemoryError)):  # no UserError
            split.image(0)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
