"""A shard is read from end to end once on a machine, and again whenever it could be another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from pipeline.data import proofs, split, store
from pipeline.data.store import DESCRIPTION, INDEX, Store
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of, write_json
from tests.pipeline.data.test_store import IMAGES, write_store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose files count as settled."""
    monkeypatch.setattr(proofs, "SETTLED_SECONDS", -1.0)
    return write_store(tmp_path / "store")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each shard had that was read from end to end."""
    lengths: list[int] = []
    digest = split.digest_of_images
    monkeypatch.setattr(split, "digest_of_images", lambda images, labels: (
        lengths.append(len(images)), digest(images, labels))[1])
    return lengths


def all_images(folder: Path) -> None:
    opened = Store(folder)
    for name in ("train", "val"):
        images = opened.split(name)
        for k in range(len(images)):
            images.image(k)


def test_another_process_reads_no_shard_again(folder: Path, read: list[int]) -> None:
    all_images(folder)
    assert sorted(read) == [1, 2, 3, 3]
    all_images(folder)
    assert len(read) == 4
    Store(folder).verify()  # this one always does
    assert len(read) == 8


def rewritten(shard: Path) -> None:
    """With a flipped bit, and the time of the old one."""
    times = shard.stat()
    content = bytearray(shard.read_bytes())
    content[-9] ^= 1
    shard.write_bytes(bytes(content))
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(shard: Path) -> None:
    """By a file beside it."""
    times = shard.stat()
    other = shard.with_name("other")
    content = bytearray(shard.read_bytes())
    content[-9] ^= 1
    other.write_bytes(bytes(content))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(shard)


@pytest.mark.parametrize("change", [rewritten, replaced])
def test_another_file_is_read(folder: Path, change: Callable[[Path], None]) -> None:
    all_images(folder)
    change(folder / "train-00003.npy")
    with pytest.raises(UserError, match=r"train-00003\.npy: damaged: its pixels or labels"):
        all_images(folder)


def test_other_labels_are_not_proved(folder: Path) -> None:
    """Whoever changes the index and makes store.json fit has not changed a shard."""
    all_images(folder)
    table = pyarrow.parquet.read_table(folder / INDEX)
    labels = table["label"].to_numpy().copy()
    labels[4] = (labels[4] + 1) % 3
    column = table.schema.get_field_index("label")
    pyarrow.parquet.write_table(table.set_column(column, "label", [labels]), folder / INDEX)
    description = json.loads((folder / DESCRIPTION).read_text())
    description["files"][INDEX] = sha256_of(folder / INDEX)
    description["digest"] = store._digest_of(description)
    write_json(folder / DESCRIPTION, description)
    with pytest.raises(UserError, match=r"train-00003\.npy: damaged: its pixels or labels"):
        all_images(folder)


def test_what_was_just_written_is_not_proved(folder: Path, read: list[int],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "SETTLED_SECONDS", 60.0)
    all_images(folder)
    all_images(folder)
    assert len(read) == 8


def test_a_damaged_proof_or_a_folder_without_right_is_none(
        folder: Path, read: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    all_images(folder)
    for proof in folder.parent.glob(".store-proofs/*/*.json"):
        proof.write_text(proof.read_text()[:-5])
    all_images(folder)
    assert len(read) == 8

    def refused(file: Path, value: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(proofs, "write_json", refused)
    monkeypatch.setattr(proofs.Proofs, "holds", lambda *arguments: False)
    all_images(folder)
    assert np.array_equal(Store(folder).split("train").image(0), IMAGES[0])


def test_a_link_to_a_shard_in_use_is_no_change(folder: Path) -> None:
    """As a rerun makes it, of a store that another training reads."""
    train = Store(folder).split("train")
    train.image(0)
    os.link(folder / "train-00000.npy", folder.parent / "link")
    train.check_unchanged()
    rewritten(folder / "train-00000.npy")
    os.utime(folder / "train-00000.npy")
    with pytest.raises(UserError, match="changed while it was in use"):
        train.check_unchanged()
