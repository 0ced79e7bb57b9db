"""Imagenette and CIFAR-10 from their archives, made small here in the real layout and fetched from
a server."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.pixels import decode
from pipeline.data.sources import cifar10, fetching, http, imagenette
from pipeline.data.sources.planning import RemoteFile
from pipeline.data.sources.reading import read_picture
from pipeline.data.sources.repack import in_compressed_tar
from pipeline.system.errors import UserError
from tests.pipeline.data.sources.misbehaving_server import Server, serving

RANDOM = np.random.default_rng(3)
BATCHES = {f"data_batch_{number}.bin": RANDOM.integers(0, 256, (20, 3073), np.uint8)
           for number in range(1, 6)}
BATCHES["test_batch.bin"] = RANDOM.integers(0, 256, (10, 3073), np.uint8)
for _batch in BATCHES.values():
    _batch[:, 0] = RANDOM.permutation(np.arange(len(_batch)) % 10)
NETTE = {f"imagenette2-320/{split}/{one.wnid}/{one.wnid}_{number}.JPEG": f"{split} {one.wnid} "
                                                                         f"{number}".encode()
         for split, numbers in (("train", (12, 3)), ("val", (7,))) for one in imagenette.CLASSES
         for number in numbers}
NETTE_OTHERS = {"imagenette2-320/noisy_imagenette.csv": b"a,b",
                "imagenette2-320/train/.DS_Store": b"",
                "imagenette2-320/train/n01440764/._n01440764_3.JPEG": b"resource fork"}


def targz(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT,
          change: Callable[[tarfile.TarInfo], object] = lambda header: None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1, format=form) as archive:
        folders = sorted({str(parent) for path in files for parent in Path(path).parents} - {"."})
        for name in folders:
            header = tarfile.TarInfo(name)
            header.type = tarfile.DIRTYPE
            archive.addfile(header)
        for path, content in files.items():
            header = tarfile.TarInfo(path)
            # half a second: PAX writes an extended header for it
            header.size, header.mtime = len(content), 1234.5
            change(header)
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def cifar(batches: dict[str, np.ndarray]) -> bytes:
    files = {f"cifar-10-batches-bin/{name}": batch.tobytes() for name, batch in batches.items()}
    return targz({"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", **files},
                 tarfile.USTAR_FORMAT)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(http, "FIRST_WAIT", 0.002)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(b"") as one:
        yield one


def offered(monkeypatch: pytest.MonkeyPatch, server: Server, module: ModuleType,
            content: bytes) -> None:
    """The server has this archive, and it is the right one."""
    server.content = content
    known = module.ARCHIVE
    monkeypatch.setattr(module, "ARCHIVE",
                        RemoteFile(known.name, server.address("dropping", known.name),
                                   len(content), hashlib.md5(content).hexdigest()))


def dataset(source: str, location: Path | None = None, origin: str | None = None) -> DatasetSection:
    return DatasetSection(source=source, location=location, origin=origin, incomplete=True,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


def read(source: str, location: Path | None = None) -> dict[str, list[tuple[str, int, bytes]]]:
    found = fetching.load_catalogue(dataset(source, location))
    return {split: [(one.name, one.label, read_picture(one)) for one in entries]
            for split, entries in (("train", found.train), ("val", found.val))}


def test_imagenette_is_fetched_and_read(server: Server, monkeypatch: pytest.MonkeyPatch,
                                        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offered(monkeypatch, server, imagenette, targz(NETTE | NETTE_OTHERS))
    fetching.fetch(dataset("imagenette"))
    got = read("imagenette")
    assert got == {"train": [(f"{one.wnid}_{number}.JPEG",
                              label, f"train {one.wnid} {number}".encode())
                             for label, one in enumerate(imagenette.CLASSES) for number in (12, 3)],
                   "val": [(f"{one.wnid}_7.JPEG", label, f"val {one.wnid} 7".encode())
                           for label, one in enumerate(imagenette.CLASSES)]}
    assert capsys.readouterr().err.count("non-commercial research") == 1
    assert sorted(path.name for path in Path("archives").iterdir()) == ["imagenette2-320.tar",
                                                                        "imagenette2-320.tgz"]

    requests = len(server.requests)
    # nothing is fetched twice, and nothing is said twice
    listing = fetching.fetch(dataset("imagenette"))
    assert (len(server.requests), capsys.readouterr().err.count("non-commercial")) == (requests, 0)
    # the folders that one unpacks from it are the same data set
    for path, content in NETTE.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert (fetching.fetch(dataset("imagenette", tmp_path / "imagenette2-320")).classes
            == listing.classes)
    assert read("imagenette", tmp_path / "imagenette2-320") == got


def test_folders_of_another_data_set_below_are_passed_over(
        server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """archives/ may hold several; what lies in subfolders must look like the one that is meant."""
    offered(monkeypatch, server, imagenette, targz(NETTE))
    for path, content in NETTE.items():
        file = Path("archives") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (Path("archives/cats/train/cat")).mkdir(parents=True)
    (Path("archives/cats/val")).mkdir()
    fetching.fetch(dataset("imagenette"))
    assert not server.requests
    expected = read("imagenette")
    Path("archives/imagenette2-320").rename("elsewhere")
    fetching.fetch(dataset("imagenette"))
    assert server.requests
    assert read("imagenette") == expected


def test_cifar10_pixels_are_those_of_its_records(server: Server,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, server, cifar10, cifar(BATCHES))
    fetching.fetch(dataset("cifar10"))
    got = read("cifar10")
    assert (len(got["train"]), len(got["val"])) == (100, 10)
    for name, label, content in got["train"] + got["val"]:
        batch, _, index = name.removesuffix(".ppm").rpartition("_")
        record = BATCHES[f"{batch}.bin"][int(index)]
        assert label == record[0]
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        # the planes of red, green and blue, row by row
        for row, column in ((0, 0), (0, 31), (31, 0), (17, 5)):
            assert list(pixels[row, column]) == [record[1 + 1024 * plane + 32 * row + column]
                                                 for plane in range(3)]
        assert (decode(content, 32) == pixels).all()


@pytest.mark.parametrize(("change", "message"), [
    (lambda batches: batches["data_batch_2.bin"].__setitem__((3, 0), 10),
     "a label is not among 0..9"),
    (lambda batches: batches.__setitem__("test_batch.bin", np.zeros(3000, np.uint8)),
     "no whole number of records"),
])
def test_cifar10_records_that_are_none(server: Server, monkeypatch: pytest.MonkeyPatch,
                                       change: object, message: str) -> None:
    batches = {name: batch.copy() for name, batch in BATCHES.items()}
    change(batches)  # type: ignore[operator]
    offered(monkeypatch, server, cifar10, cifar(batches))
    with pytest.raises(UserError, match=message):
        fetching.fetch(dataset("cifar10"))
    assert not Path("archives/cifar10.tar").exists()


def test_another_archive_of_the_right_name_is_refused(server: Server,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    content = cifar(BATCHES)
    offered(monkeypatch, server, cifar10, content)
    Path("archives").mkdir()
    Path("archives/cifar-10-binary.tar.gz").write_bytes(content[:-9] + bytes([content[-9] ^ 1])
                                                        + content[-8:])
    with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz: MD5 .* rename it \(mv .* fetches the right one"):
        fetching.fetch(dataset("cifar10"))
    assert not Path("archives/cifar10.tar").exists()


def test_it_can_be_fetched_from_another_address(server: Server,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, server, cifar10, cifar(BATCHES))
    fetching.fetch(dataset("cifar10", origin=server.address("honest", "mirror/")))
    assert server.requests[0][0] == "/honest/mirror/cifar-10-binary.tar.gz"


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.location: .*gone: no such folder; make it"):
        fetching.fetch(dataset("imagenette", tmp_path / "gone"))


def test_folders_that_are_not_as_they_must_be_are_told_with_the_mend(tmp_path: Path) -> None:
    for name in ("train/cat/0.jpg", "train/dog/0.jpg", "test/cat/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a picture")
    with pytest.raises(UserError,
                       match=r"(?s)no folder of validation pictures\.\n.* looks like CIFAR-10 in "
                             r"folders: train: 2 of 50,000 .*: ln -s test .*/val$"):
        fetching.fetch(dataset("cifar10", tmp_path))
    (tmp_path / "test").rename(tmp_path / "val")
    for name in cifar10.NAMES:
        (tmp_path / "train" / name).mkdir(exist_ok=True)
        (tmp_path / "train" / name / "0.jpg").write_bytes(b"a picture")
    with pytest.raises(UserError, match=r"0\.jpg is there twice, as .*; or "
                                        r"set dataset\.source to folder"):
        fetching.fetch(dataset("cifar10", tmp_path))


# What a compressed tar may hold.

@pytest.mark.parametrize(("name", "kind"),
                         [("../evil", tarfile.REGTYPE), ("/etc/passwd", tarfile.REGTYPE),
                          ("a/../../b", tarfile.REGTYPE), ("a/./b", tarfile.REGTYPE),
                          ("a", tarfile.SYMTYPE), ("a", tarfile.LNKTYPE), ("a", tarfile.CHRTYPE),
                          ("a", tarfile.BLKTYPE), ("a", tarfile.FIFOTYPE)])
def test_hostile_members_are_refused(name: str, kind: bytes) -> None:
    def hostile(header: tarfile.TarInfo) -> None:
        header.name, header.type, header.linkname = name, kind, "/etc/passwd"

    content = targz({"x": b""}, change=hostile)
    with pytest.raises(UserError,
                       match=r"archive: .* leads out of its folder, or is not a plain file"):
        list(in_compressed_tar(io.BytesIO(content), "archive"))


def test_damage_anywhere_in_a_compressed_tar_is_found() -> None:
    content = targz({"a": RANDOM.bytes(1000), "b": RANDOM.bytes(3000)})
    files = list(in_compressed_tar(io.BytesIO(content), "archive"))
    assert [name for name, _ in files] == ["a", "b"]
    for damaged in (content[:-1], content[: len(content) // 2], b"", gzip.compress(bytes(100)),
                    b"not gzip"):
        with pytest.raises(UserError, match="damaged or cut short"):
            list(in_compressed_tar(io.BytesIO(damaged), "archive"))
    unseen = 0
    for at in range(10, len(content), 7):
        damaged = content[:at] + bytes([content[at] ^ 4]) + content[at + 1:]
        with contextlib.suppress(UserError):
            assert list(in_compressed_tar(io.BytesIO(damaged), "archive")) == files, at
            unseen += 1  # some codes have another spelling that unpacks to the same bytes
    assert unseen < 10
