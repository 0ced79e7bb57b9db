"""The store does not depend on how it was made: workers, kills, places; and odd files are told, not
lost."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config.sections import ResizeSection
from pipeline.config.stages import code_digest
from pipeline.data import prepare
from pipeline.data.moments import Accumulator, Moments
from pipeline.data.pixels import decode, decoder
from pipeline.data.shard_worker import Shard, make_shard
from pipeline.data.shards import Encoding
from pipeline.data.sources.catalogue import Catalogue, Class, Picture
from pipeline.data.statistics import covariance, mean_image
from pipeline.data.store import DESCRIPTION, DOUBTFUL, MOMENTS, QUARANTINE, Store
from pipeline.system.errors import UserError
from pipeline.system.executors import process_pool
from pipeline.system.files import exclusive_lock
from pipeline.system.project import CODE

SHARD = 4  # images a shard here
TRAIN, VAL = 22, 5
UNDECODABLE = {"n1_3.JPEG": "truncated", "n0_8.JPEG": "not a picture of a known format, but an HTML page"}


def settings(order_seed: int, max_quarantined: int, side: int = 256) -> ResizeSection:
    return ResizeSection(side=side, order_seed=order_seed, max_quarantined=max_quarantined)


def write_pictures(folder: Path) -> Catalogue:
    """Some noise of varied size, of two classes, in one file that stands for an archive; two of
    them broken."""
    rng = np.random.default_rng(5)
    archive = folder / "archive"
    entries = []
    with archive.open("wb") as stream:
        for k in range(TRAIN + VAL):
            stream_of_one = io.BytesIO()
            size = (int(rng.integers(200, 300)), int(rng.integers(200, 300)), 3)
            Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(stream_of_one, "JPEG",
                                                                       quality=30)
            content, name = stream_of_one.getvalue(), f"n{k % 2}_{k}.JPEG"
            if name in UNDECODABLE:
                content = content[:2000] if UNDECODABLE[name] == "truncated" else b"<html>" * 100
            entries.append(Picture(name, k % 2, archive, stream.tell(), len(content)))
            stream.write(content)
    return Catalogue([Class("n0", "zero"), Class("n1", "one")], entries[:TRAIN], entries[TRAIN:])


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SHARD_IMAGES", SHARD)


@pytest.fixture
def thread() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def make(catalogue: Catalogue, folder: Path, executor: Executor, listing: str = "a", seed: int = 7,
         allowed: int = 2, encoding: Encoding = "raw") -> dict[str, Any]:
    return prepare.make_store(catalogue, listing, settings(seed, allowed), executor,
                              folder / "work", folder / "data/store", encoding)


def test_small_images_for_cifar(catalogue: Catalogue, tmp_path: Path, thread: Executor) -> None:
    prepare.make_store(catalogue, "a", settings(7, 2, side=32), thread, tmp_path / "work",
                       tmp_path / "store")
    store = Store(tmp_path / "store")
    assert store.side == 32
    accumulator = Accumulator(32)
    for split in ("train", "val"):
        images = store.split(split)
        for k in range(len(images)):
            assert images.image(k).shape == (32, 32, 3)
            if split == "train":
                accumulator.add(images.image(k))
    found = accumulator.moments()
    assert Moments.load(tmp_path / "store" / MOMENTS) == found
    pixels = np.concatenate([store.split("train").image(k).reshape(-1, 3)
                             for k in range(20)]).astype(object)
    assert (found.products == pixels.T @ pixels).all()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "data/store").iterdir()}


def test_the_store_has_every_image_in_its_place(catalogue: Catalogue, tmp_path: Path,
                                                thread: Executor) -> None:
    metrics = make(catalogue, tmp_path, thread)
    store = Store(tmp_path / "data/store")
    store.verify()
    train, val = store.split("train"), store.split("val")
    assert metrics == {"images": TRAIN + VAL - 2, "quarantined": 2,
                       "pixels_digest": store.pixels_digest, "train_images": TRAIN - 2,
                       "val_images": VAL}
    assert (len(train), len(val), store.classes) == (TRAIN - 2, VAL, catalogue.classes)

    def content(entry: Picture) -> bytes:
        return entry.file.read_bytes()[entry.offset: entry.offset + entry.size]

    order = prepare.stored_order([entry.name for entry in catalogue.train], 7)
    kept = [catalogue.train[k] for k in order if catalogue.train[k].name not in UNDECODABLE]
    for split, entries in ((train, kept), (val, catalogue.val)):
        assert split.labels.tolist() == [entry.label for entry in entries]
        for k, entry in enumerate(entries):
            assert np.array_equal(split.image(k), decode(content(entry)))
    quarantined = json.loads((tmp_path / "data/store" / QUARANTINE).read_text())
    assert {one["name"]: one["reason"] for one in quarantined} == UNDECODABLE
    by_name = {entry.name: entry for entry in catalogue.train}
    assert all(one["sha256"] == hashlib.sha256(content(by_name[one["name"]])).hexdigest()
               for one in quarantined)

    images = np.stack([train.image(k) for k in range(len(train))]).astype(np.int64)
    pixels = images.reshape(-1, 3)
    assert (Moments.load(tmp_path / "data/store" / MOMENTS)
            == Moments(len(train), images.sum(axis=0), pixels.T @ pixels))
    assert not list((tmp_path / "data/store").glob("*train*.part"))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]


def test_a_store_of_jpegs_has_the_sums_and_digest_of_what_is_read(
        catalogue: Catalogue, tmp_path: Path, thread: Executor) -> None:
    raw = make(catalogue, tmp_path / "raw", thread)
    stopped_after(3, catalogue, tmp_path, "jpeg")
    (damaged,) = (tmp_path / "work").glob("*/store/train-00001.jpegs")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with Counting() as executor:
        metrics = make(catalogue, tmp_path, executor, encoding="jpeg")
    assert len(executor.made) == SHARDS - 2
    store, whole = Store(tmp_path / "data/store"), Store(tmp_path / "raw/data/store")
    assert (store.encoding, metrics["images"]) == ("jpeg", raw["images"])
    store.verify()
    assert metrics["pixels_digest"] != raw["pixels_digest"]
    train = store.split("train")
    images = np.stack([train.image(k) for k in range(len(train))])
    for k, image in enumerate(images):
        original = Image.fromarray(whole.split("train").image(k))
        stream = io.BytesIO()
        original.save(stream, "JPEG", quality=95)
        assert np.array_equal(image, np.asarray(Image.open(stream)))
    assert train.labels.tolist() == whole.split("train").labels.tolist()
    pixels = images.reshape(-1, 3).astype(np.int64)
    assert Moments.load(tmp_path / "data/store" / MOMENTS) == Moments(
        len(images), images.sum(axis=0, dtype=np.int64), pixels.T @ pixels)


def test_workers_and_places_do_not_change_a_byte(catalogue: Catalogue, tmp_path: Path,
                                                 thread: Executor) -> None:
    make(catalogue, tmp_path / "a", thread)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with process_pool(2) as executor:
        make(write_pictures(elsewhere), tmp_path / "b", executor)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_one_changed_pixel_label_or_seed_changes_the_digest(catalogue: Catalogue, tmp_path: Path,
                                                            thread: Executor) -> None:
    def digest(changed: Catalogue, seed: int = 7) -> str:
        return str(make(changed, tmp_path, thread, seed=seed)["pixels_digest"])

    first, second = catalogue.val[:2]
    other_pixels = Catalogue(catalogue.classes, catalogue.train, [second, *catalogue.val[1:]])
    other_label = Catalogue(catalogue.classes, catalogue.train,
                            [Picture(first.name, 1 - first.label, first.file, first.offset,
                                   first.size), *catalogue.val[1:]])
    digests = [digest(catalogue), digest(other_pixels), digest(other_label),
               digest(catalogue, seed=8)]
    assert len(set(digests)) == 4
    assert digest(catalogue) == digests[0]


def test_too_many_undecodable_images_fail_by_name(catalogue: Catalogue, tmp_path: Path,
                                                  thread: Executor) -> None:
    with pytest.raises(UserError, match=r"(?s)2 images cannot be decoded.*resize\.max_quarantined "
                                        r"allows 1; .*work/quarantine\.json lists them.*1 not a "
                                        r"picture of a known format, but an HTML page \(fetch it.*"
                                        r"train n0_8\.JPEG\n.*1 truncated .*train n1_3\.JPEG"):
        make(catalogue, tmp_path, thread, allowed=1)
    assert not (tmp_path / "data/store").exists()
    listed = json.loads((tmp_path / "work" / QUARANTINE).read_text())
    assert {one["name"]: one["reason"] for one in listed} == UNDECODABLE
    assert all(one["fix"] for one in listed)
    with Counting() as executor:  # what is done already is not done again
        assert make(catalogue, tmp_path, executor, allowed=2)["quarantined"] == 2
    assert not executor.made
    assert not (tmp_path / "work" / QUARANTINE).exists()


def test_the_list_is_whole_however_long_it_is(catalogue: Catalogue, tmp_path: Path) -> None:
    junk = Picture("junk", 0, Path("/dev/null"), 0, 0)
    bad = Catalogue(catalogue.classes, [replace(junk, name=f"{k:03}") for k in range(100)],
                    catalogue.val)
    with (Counting() as executor, pytest.raises(UserError, match=r"100 images cannot.*\n"
                                                r"  100 empty \(fetch it again\): train 000, train "
                                                r"001, train 002, \.\.\.$")):
        make(bad, tmp_path, executor)
    assert len(json.loads((tmp_path / "work" / QUARANTINE).read_text())) == 100
    assert sum(len(shard.entries) for shard in executor.made) == 100 + VAL


def test_a_class_or_a_split_of_which_nothing_is_left_fails_by_name(
        catalogue: Catalogue, tmp_path: Path, thread: Executor,
        capsys: pytest.CaptureFixture[str]) -> None:
    def with_bad(split: str, label: int | None) -> Catalogue:
        return replace(catalogue, **{split: [
            replace(picture, size=100) if label in (None, picture.label) else picture
            for picture in getattr(catalogue, split)]})

    with pytest.raises(UserError, match=r"^none of the train images of 1 class can be decoded: n1 "
                                        r"\(11 images\); .*work/quarantine\.json says"):
        make(with_bad("train", 1), tmp_path, thread, allowed=99)
    assert json.loads((tmp_path / "work" / QUARANTINE).read_text())[0]["reason"] == "truncated"
    with pytest.raises(UserError, match=r"^val: none of its 5 images can be decoded; "):
        make(with_bad("val", None), tmp_path, thread, allowed=99)
    assert not (tmp_path / "data/store").exists()
    make(with_bad("val", 1), tmp_path, thread, allowed=99)
    assert "none of the val images of 1 class can be decoded: n1 (" in capsys.readouterr().err


def test_what_is_stored_although_it_is_damaged_is_listed_and_told(
        catalogue: Catalogue, tmp_path: Path, thread: Executor,
        capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue.val[0]
    content = entry.file.read_bytes()[entry.offset: entry.offset + entry.size]
    (tmp_path / "damaged").write_bytes(content[:-1000] + b"\xff\xd9")
    damaged = replace(entry, file=tmp_path / "damaged", offset=0, size=len(content) - 998)
    metrics = make(replace(catalogue, val=[damaged, *catalogue.val[1:]]), tmp_path, thread)
    assert (metrics["images"], metrics["quarantined"], metrics["doubtful"]) == (
        TRAIN + VAL - 2, 2, 1)
    listed = json.loads((tmp_path / "data/store" / DOUBTFUL).read_text())
    assert [(one["split"], one["name"]) for one in listed] == [("val", entry.name)]
    said = capsys.readouterr().err
    assert "1 images are stored although their files are damaged" in said
    assert f"its data end early; what is missing is filled in (fetch it again): val {entry.name}" in said
    assert "doubtful" not in make(catalogue, tmp_path / "b", thread)
    assert json.loads((tmp_path / "b/data/store" / DOUBTFUL).read_text()) == []
    assert "although" not in capsys.readouterr().err


def test_two_pictures_of_one_name_are_refused(catalogue: Catalogue, tmp_path: Path,
                                              thread: Executor) -> None:
    twice = replace(catalogue, train=[*catalogue.train, replace(catalogue.train[3], label=0)])
    with pytest.raises(UserError, match=r"two training images are named 'n1_3\.JPEG'"):
        make(twice, tmp_path, thread)


def test_labels_go_with_names(catalogue: Catalogue, tmp_path: Path, thread: Executor) -> None:
    """Whatever order the catalogue has, and with pictures more and fewer."""
    def by_name(folder: Path) -> dict[str, tuple[int, bytes]]:
        split = Store(folder / "data/store").split("train")
        assert split.places(split.names()).tolist() == [*range(len(split))]
        return {name: (int(split.labels[k]), split.image(k).tobytes())
                for k, name in enumerate(split.names())}

    make(catalogue, tmp_path / "a", thread)
    whole = by_name(tmp_path / "a")
    shuffled = np.random.default_rng(3).permutation(TRAIN).tolist()
    for order in (shuffled, shuffled[4:], shuffled[::-1]):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        make(replace(catalogue, train=[catalogue.train[k] for k in order]), folder, thread)
        names = {catalogue.train[k].name for k in order} - UNDECODABLE.keys()
        assert by_name(folder) == {name: whole[name] for name in names}
    with pytest.raises(UserError, match=r"index\.parquet: no train image 'other'"):
        Store(tmp_path / "a/data/store").split("train").places(["n1_1.JPEG", "other"])


def test_where_the_store_cannot_be_written_nothing_is_begun(
        catalogue: Catalogue, tmp_path: Path, thread: Executor,
        monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("work", "data"):
        (tmp_path / name).symlink_to(tmp_path / "not-mounted")
        with Counting() as executor, pytest.raises(
                UserError, match=rf"{name}: a link to .*not-mounted, where nothing is: mount"):
            make(catalogue, tmp_path, executor)
        assert not executor.made
        (tmp_path / name).unlink()
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=r"data: not a folder; make it a link"):
        make(catalogue, tmp_path, thread)
    monkeypatch.setattr(os, "access", lambda path, mode: "data" not in str(path))
    (tmp_path / "data").unlink()
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"data: cannot be written to; give yourself"):
        make(catalogue, tmp_path, thread)


def test_a_shard_without_a_decodable_image(tmp_path: Path, thread: Executor) -> None:
    file = tmp_path / "junk"
    file.write_bytes(b"junk")
    good = write_pictures(tmp_path)
    val = [Picture(f"junk{k}", 0, file, 0, 4) for k in range(SHARD)] + good.val
    metrics = make(Catalogue(good.classes, good.train, val), tmp_path, thread, allowed=9)
    assert (metrics["quarantined"], metrics["val_images"]) == (SHARD + 2, VAL)
    store = Store(tmp_path / "data/store")
    store.verify()
    assert sorted(name for name in contents(tmp_path)
                  if name.startswith("val")) == ["val-00001.npy", "val-00002.npy"]
    assert store.split("val").labels.tolist() == [entry.label for entry in good.val]


def big_integers(catalogue: Catalogue) -> tuple[list[list[list[float]]], list[list[float]]]:
    """The mean image and the covariance of colours, each number rounded once, in Python's integers
    alone."""
    images = [decode(entry.file.read_bytes()[entry.offset: entry.offset + entry.size], 32).tolist()
              for entry in catalogue.train if entry.name not in UNDECODABLE]
    mean = [[[float(np.float32(sum(image[y][x][c] for image in images) / len(images)))
              for c in range(3)] for x in range(32)] for y in range(32)]
    pixels = [pixel for image in images for row in image for pixel in row]
    n, sums = len(pixels), [sum(pixel[c] for pixel in pixels) for c in range(3)]
    return mean, [[float(Fraction(sum(p[i] * p[j] for p in pixels), n)
                         - Fraction(sums[i] * sums[j], n * n)) for j in range(3)] for i in range(3)]


@pytest.fixture(scope="module")
def exact(catalogue: Catalogue) -> tuple[list[list[list[float]]], list[list[float]]]:
    return big_integers(catalogue)


@hypothesis.settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), shard=st.integers(1, 25), workers=st.integers(1, 3))
def test_mean_and_covariance_of_any_order_sharding_and_workers_are_the_big_integers(
        catalogue: Catalogue, exact: Any, tmp_path_factory: pytest.TempPathFactory, seed: int,
        shard: int, workers: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(workers) as executor:
        patch.setattr(prepare, "SHARD_IMAGES", shard)
        prepare.make_store(catalogue, "a", settings(seed, 2, side=32), executor, folder / "work",
                           folder / "store")
    moments = Moments.load(folder / "store" / MOMENTS)
    assert (mean_image(moments).tolist(), covariance(moments)) == exact


@given(names=st.lists(st.text("abc", min_size=1, max_size=6), unique=True, max_size=40),
       data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_the_stored_order_is_a_permutation_that_names_decide(names: list[str], data: st.DataObject,
                                                             seed: int) -> None:
    order = prepare.stored_order(names, seed)
    assert sorted(order) == list(range(len(names)))
    listed = data.draw(st.permutations(names))
    assert [listed[k] for k in prepare.stored_order(listed, seed)] == [names[k] for k in order]


def test_the_stored_order_is_known() -> None:
    names = [f"{k:02}" for k in range(10)]
    assert prepare.stored_order(names, 2012) == [3, 9, 6, 5, 0, 2, 8, 4, 7, 1]
    assert prepare.stored_order(names, 2013) != prepare.stored_order(names, 2012)


def records(folder: Path) -> list[Path]:
    return list((folder / "work").glob("*/records/*.json"))


class Counting(ThreadPoolExecutor):
    """Counts the shards that are made, and stops after some of them."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(1)
        self.made: list[Shard] = []
        self._stop_after = stop_after

    def submit(self, task: Any, *arguments: Any) -> Any:  # type: ignore[override]
        return super().submit(self._counted if task is make_shard else task, *arguments)

    def _counted(self, shard: Shard) -> Any:
        if len(self.made) == self._stop_after:
            raise RuntimeError("stopped")
        self.made.append(shard)
        return make_shard(shard)


class Slow(ThreadPoolExecutor):
    """One thread, and `most`: how many tasks it had been given and not finished at a time."""

    def __init__(self) -> None:
        super().__init__(1)
        self.most = self._given = 0
        self._lock = threading.Lock()

    def submit(self, task: Any, *arguments: Any) -> Any:  # type: ignore[override]
        with self._lock:
            self._given += 1
            self.most = max(self.most, self._given)
        return super().submit(self._slowly, task, *arguments)

    def _slowly(self, task: Any, *arguments: Any) -> Any:
        time.sleep(0.02)
        result = task(*arguments)
        with self._lock:
            self._given -= 1
        return result


def stopped_after(shards: int, catalogue: Catalogue, folder: Path,
                  encoding: Encoding = "raw") -> None:
    with Counting(shards) as executor, pytest.raises(RuntimeError, match="stopped"):
        make(catalogue, folder, executor, encoding=encoding)
    assert len(records(folder)) == shards


SHARDS = -(-TRAIN // SHARD) + -(-VAL // SHARD)


def test_finished_shards_are_not_made_again(catalogue: Catalogue, tmp_path: Path,
                                            thread: Executor) -> None:
    stopped_after(3, catalogue, tmp_path / "a")
    with Counting() as executor:
        make(catalogue, tmp_path / "a", executor)
    assert len(executor.made) == SHARDS - 3
    make(catalogue, tmp_path / "b", thread)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("pattern", ["store/train-00001.npy", "records/train-00001.json",
                                     "records/train-00001.safetensors"])
@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_a_damaged_shard_is_made_again(catalogue: Catalogue, tmp_path: Path, pattern: str,
                                       damage: str) -> None:
    stopped_after(3, catalogue, tmp_path)
    (file,) = (tmp_path / "work").glob(f"*/{pattern}")
    content = bytearray(file.read_bytes())
    content[20 if file.suffix == ".json" else 1000] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes(content if damage == "bit" else content[:700])
    with Counting() as executor:
        make(catalogue, tmp_path, executor)
    assert len(executor.made) == SHARDS - 2
    Store(tmp_path / "data/store").verify()


def test_work_of_other_files_is_not_taken_up_but_removed(catalogue: Catalogue,
                                                         tmp_path: Path) -> None:
    stopped_after(3, catalogue, tmp_path)
    with Counting() as executor:
        make(catalogue, tmp_path, executor, listing="b")
    assert len(executor.made) == SHARDS
    assert not records(tmp_path)


def test_another_mode_makes_other_pixels_of_other_work(catalogue: Catalogue, tmp_path: Path,
                                                       thread: Executor) -> None:
    centre = settings(7, 2)
    squash = centre.model_copy(update={"mode": "squash"})
    digests = [prepare.make_store(catalogue, "a", chosen, thread, tmp_path / "work",
                                  tmp_path / "store")["pixels_digest"]
               for chosen in (centre, squash, centre)]
    assert digests[0] == digests[2] != digests[1]


def test_another_filter_makes_other_pixels_of_other_work(catalogue: Catalogue, tmp_path: Path,
                                                         thread: Executor) -> None:
    bicubic = settings(7, 2)
    area = bicubic.model_copy(update={"filter": "area"})
    digests = [prepare.make_store(catalogue, "a", chosen, thread, tmp_path / "work",
                                  tmp_path / "store")["pixels_digest"] for chosen in (bicubic, area)]
    assert digests[0] != digests[1]
    store = Store(tmp_path / "store")
    assert json.loads((tmp_path / "store" / DESCRIPTION).read_text())["filter"] == "area"
    order = prepare.stored_order([entry.name for entry in catalogue.train], 7)
    contents = [entry.file.read_bytes()[entry.offset: entry.offset + entry.size]
                for entry in (catalogue.train[k] for k in order) if entry.name not in UNDECODABLE]
    train = store.split("train")
    assert all(np.array_equal(train.image(k), decode(content, filter="area"))
               for k, content in enumerate(contents))
    assert not all(np.array_equal(train.image(k), decode(content))
                   for k, content in enumerate(contents))


def test_another_decoder_among_the_workers_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    shard = Shard("train", 0, tuple(catalogue.train[:2]), str(tmp_path), "/",
                        decoder()["fingerprint"], code_digest("resize", CODE))
    assert make_shard(shard) == []
    with pytest.raises(UserError, match="install the same Pillow and libjpeg everywhere"):
        make_shard(replace(shard, fingerprint="0" * 16))
    with pytest.raises(UserError, match="runs other code than the main process"):
        make_shard(replace(shard, code="0" * 64))


def test_unfinished_work_of_another_decoder_is_told_and_not_taken_up(
        catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(prepare, "decoder", lambda: decoder() | {"library": "Pillow 1.0"})
        stopped_after(2, catalogue, tmp_path)
    assert "not taken up" not in capsys.readouterr().err
    with Counting() as executor:
        make(catalogue, tmp_path, executor)
    assert "is of Pillow 1.0, libjpeg" in (said := capsys.readouterr().err)
    assert f"is not taken up with {decoder()['library']}" in said
    assert len(executor.made) == SHARDS
    assert Store(tmp_path / "data/store").decoder == decoder()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]


def test_a_relative_source_is_found_wherever_a_worker_is(tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch,
                                                         thread: Executor) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = write_pictures(Path())
    assert pictures.val[0].file == Path("archive")

    def elsewhere(shard: Shard) -> Any:
        with contextlib.chdir("/"):
            return make_shard(shard)

    monkeypatch.setattr(prepare, "make_shard", elsewhere)
    assert prepare.make_store(pictures, "a", settings(7, 2), thread, Path("work"),
                              Path("store"))["images"] == TRAIN + VAL - 2


def test_a_bounded_number_of_shards_is_in_flight(catalogue: Catalogue, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "IN_FLIGHT", 3)
    with Slow() as executor:
        make(catalogue, tmp_path, executor)
    assert executor.most == 3


def test_only_one_run_at_a_time(catalogue: Catalogue, tmp_path: Path, thread: Executor) -> None:
    with (exclusive_lock(tmp_path / "work/lock", "x"),
          pytest.raises(UserError, match="another `alexnet resize` is running")):
        make(catalogue, tmp_path, thread)
    make(catalogue, tmp_path, thread)


def test_a_full_disk_is_told_before_it_is_full(catalogue: Catalogue,
                                               tmp_path: Path, thread: Executor,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"27 images take 0\.0 GB.*free"):
        make(catalogue, tmp_path, thread)


def test_an_existing_store_is_replaced(catalogue: Catalogue, tmp_path: Path,
                                       thread: Executor) -> None:
    (tmp_path / "data/store").mkdir(parents=True)
    (tmp_path / "data/store/old.npy").touch()
    make(catalogue, tmp_path, thread)
    assert "old.npy" not in contents(tmp_path)


def kill_self(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told() -> None:
    with (pytest.raises(UserError, match="a worker process was killed, perhaps for lack of memory"),
          process_pool(1) as executor):
        executor.submit(kill_self, 1).result()


def test_workers_leave_ctrl_c_to_the_main_process() -> None:
    with process_pool(1) as executor:
        blocked = executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
        assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("workers", [0, -3])
def test_a_number_of_workers_is_1_or_more(workers: int) -> None:
    with (pytest.raises(UserError, match=r"execution\.workers: (0|-3); expected"),
          process_pool(workers)):
        pass


# The real thing, stopped from outside.

PROGRAM = textwrap.dedent("""
    import sys
    from pathlib import Path
    from pipeline.data import prepare
    from pipeline.system.executors import process_pool
    from tests.pipeline.data.test_resize import SHARD, many, settings, write_pictures

    if __name__ == "__main__":
        prepare.SHARD_IMAGES = SHARD
        folder = Path(sys.argv[1])
        with process_pool(2) as executor:
            pictures = many(write_pictures(folder))
            prepare.make_store(pictures, "a", settings(7, 10_000), executor,
                               folder / "work", folder / "data/store")
    """)
PROJECT = Path(__file__).parents[3]


def many(catalogue: Catalogue, times: int = 15) -> Catalogue:
    """The same pictures under many names, so that there is time to interrupt."""
    return Catalogue(catalogue.classes, [
        Picture(f"{k:04}_{entry.name}", entry.label, entry.file, entry.offset, entry.size)
        for k in range(times) for entry in catalogue.train], catalogue.val)


def alive_in_group(group: int) -> list[int]:
    alive = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            alive.append(int(status.parent.name))
    return alive


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path,
                                                            stop: signal.Signals) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    process = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(stopped)],
                               start_new_session=True, env=os.environ
                               | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.PIPE, text=True)
    while len(records(stopped)) < 5 and process.poll() is None:
        time.sleep(0.005)
    if stop is signal.SIGKILL:
        process.kill()  # the main process alone: its workers must notice
    else:
        os.killpg(process.pid, stop)  # what Ctrl-C does
    moment = time.monotonic()
    _, errors = process.communicate()
    while alive_in_group(process.pid) and time.monotonic() < moment + 10:
        time.sleep(0.05)
    assert alive_in_group(process.pid) == []
    assert time.monotonic() - moment < 5
    # none from the workers
    assert errors.count("Traceback") == (0 if stop is signal.SIGKILL else 1), errors
    done = len(records(stopped))
    catalogue = many(write_pictures(stopped))
    total = -(-len(catalogue.train) // SHARD) + -(-VAL // SHARD)
    assert 5 <= done < total
    with Counting() as executor:
        metrics = make(catalogue, stopped, executor, allowed=10_000)
    assert len(executor.made) <= total - 5
    with ThreadPoolExecutor(1) as executor:
        assert metrics == make(catalogue, tmp_path / "whole", executor, allowed=10_000)
    assert contents(stopped) == contents(tmp_path / "whole")


MEASURED = textwrap.dedent("""
    import resource, sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from pipeline.data import prepare
    from tests.pipeline.data.test_resize import many, settings, write_pictures

    folder = Path(sys.argv[1])
    with ThreadPoolExecutor(1) as executor:
        pictures = many(write_pictures(folder), int(sys.argv[2]))
        prepare.make_store(pictures, "a", settings(7, 10_000), executor,
                               folder / "work", folder / "data/store")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    """)


def test_memory_does_not_grow_with_the_images_or_the_shard(tmp_path: Path) -> None:
    """Main process and worker in one; the shard is one of up to 1,024."""
    peaks = []
    for times in (3, 30):
        folder = tmp_path / str(times)
        folder.mkdir()
        peaks.append(int(subprocess.run([sys.executable, "-c", MEASURED, str(folder), str(times)],
                                        check=True, env=os.environ | {"PYTHONPATH": str(PROJECT)},
                                        stdout=subprocess.PIPE).stdout))
    pixels = 27 * TRAIN * 256 * 256 * 3  # those of the additional images: 117 MB
    assert abs(peaks[1] - peaks[0]) < pixels / 10, peaks
