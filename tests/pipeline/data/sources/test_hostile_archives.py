"""Archives that mean harm: bombs of every kind, a great many members, headers that lie. Refused by
name, in little memory and time. (Paths, links and devices in plain tars: test_sources_tars.)"""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.data.sources import ilsvrc, kaggle, labels, layouts, reading, repack
from pipeline.data.sources.catalogue import Class, Picture
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.reading import read_picture
from pipeline.data.sources.repack import in_compressed_tar
from pipeline.data.sources.tars import members
from pipeline.system.errors import UserError

MB = 1 << 20


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, form: int = tarfile.GNU_FORMAT,
           **more: object) -> bytes:
    one = tarfile.TarInfo(name)
    one.size, one.type = size, kind
    for key, value in more.items():
        setattr(one, key, value)
    return one.tobuf(form)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def extended(*lines: bytes) -> bytes:
    return header("x", sum(map(len, lines)), tarfile.XHDTYPE) + padded(b"".join(lines))


def unpacked(plain: bytes) -> list[str]:
    return [name for name, _ in in_compressed_tar(io.BytesIO(gzip.compress(plain, 1)), "a.tgz")]


def peak(do: Callable[[], object]) -> int:
    """Bytes that Python had at most more than before."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


END = bytes(1024)


@pytest.mark.parametrize(("what", "plain"), [
    ("this folder, as a file", header("./") + END),
    ("absolute", header("/etc/passwd") + END), ("above", header("a/../../b") + END),
    ("symbolic link", header("a", kind=tarfile.SYMTYPE, linkname="/etc/passwd") + END),
    ("hard link", header("a", kind=tarfile.LNKTYPE, linkname="/etc/passwd") + END),
    ("device", header("a", kind=tarfile.CHRTYPE) + END),
    ("pipe", header("a", kind=tarfile.FIFOTYPE) + END),
    ("sparse", header("a", kind=tarfile.GNUTYPE_SPARSE) + END),
    ("name of a gigabyte", header("././@LongLink", 1 << 30, tarfile.GNUTYPE_LONGNAME) + END),
    ("extended header of a gigabyte", header("x", 1 << 30, tarfile.XHDTYPE) + END),
    ("extended headers without end", extended(b"20 comment=aaaaaaaaa\n") * 2000 + END),
    ("member of eight gigabytes", header("a", 8 << 30) + END),
    ("size below zero", header("a", -1) + END),
    ("size of an extended header", extended(b"19 size=9999999999\n") + header("a") + END),
    ("sparse by an extended header",
     extended(b"22 GNU.sparse.major=1\n", b"22 GNU.sparse.minor=0\n", b"31 "
              b"GNU.sparse.realsize=99999999\n") + header("a", 512) + padded(b"1\n0\n0\n") + END),
    ("sparse without a map", extended(b"22 GNU.sparse.major=1\n", b"22 GNU.sparse.minor=0\n")
     + header("a", 512) + padded(b"x") + END),
    ("damaged header after the first", header("a") + b"\1" + header("b")[1:] + END),
    ("no end", header("a", 600) + bytes(512)), ("nothing", b""),
])
def test_in_a_compressed_tar_is_refused(what: str, plain: bytes) -> None:
    start = time.process_time()
    def refused() -> None:
        with pytest.raises(UserError, match=r"a\.tgz: "):
            unpacked(plain)

    assert peak(refused) < 20 * MB
    assert time.process_time() - start < 5


def test_a_tar_that_unpacks_to_much_more_than_itself_is_a_bomb(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repack, "AT_ONCE", 1 << 16)
    for plain in (b"".join(header(f"{number}", MB) + bytes(MB) for number in range(8)) + END,
                  END + bytes(8 * MB)):
        with pytest.raises(UserError, match="more than 50 times its size"):
            unpacked(plain)


def test_a_great_many_empty_members_cost_time_but_no_memory(tmp_path: Path) -> None:
    count = 3000  # tarfile, if it kept them, would have six megabytes of them
    plain = b"".join(header(f"{number}.jpg") for number in range(count)) + END
    (tmp_path / "a.tar").write_bytes(plain)
    packed = gzip.compress(plain, 1)
    for walk in (lambda: sum(1 for _ in members(tmp_path / "a.tar")),
                 lambda: sum(1 for _ in in_compressed_tar(io.BytesIO(packed), "a.tgz"))):
        assert walk() == count
        assert peak(walk) < 2 * MB


def devkit(folder: Path, plain: bytes) -> Path:
    file = folder / Y2012.devkit
    file.write_bytes(gzip.compress(plain, 1))
    return file


def kit(meta: bytes, truth: bytes = b"1\n", **of_meta: object) -> bytes:
    return (header(Y2012.meta, len(meta), **of_meta) + padded(meta)  # type: ignore[arg-type]
            + header(Y2012.truth_path, len(truth)) + padded(truth) + END)


def mat(**variables: object) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


SYNSETS = np.array([(1, "n01", "a"), (2, "n02", "b")],
                   [(Y2012.number, "i4"), ("WNID", "U9"), ("words", "U9")])
WHOLE = mat(synsets=np.array([(*one, 0) for one in SYNSETS.tolist()],
                             [*SYNSETS.dtype.descr, ("num_children", "i4")]))


@pytest.mark.parametrize(("what", "meta"),
                         [("empty", b""), ("zeros", bytes(1000)),
                          ("text", b"<html>404</html>" * 50), ("pickle", b"\x80\x04K\x01." * 50),
                          ("version 7.3, which is HDF5", b"MATLAB 7.3 MAT-file".ljust(124)
                           + b"\0\2IM" + b"\x89HDF\r\n\x1a\n" + bytes(500)),
                          ("cut", WHOLE[: len(WHOLE) // 2]), ("no synsets", mat(other=1)),
                          ("numbers", mat(synsets=np.arange(9.0))),
                          ("without a field", mat(synsets=SYNSETS)),
                          ("dimensions that lie", WHOLE.replace(b"\2\0\0\0", b"\2\0\0\x40")),
                          ("types that lie", WHOLE.replace(b"\x0e\0\0\0", b"\x0f\0\0\0")),
                         ])
def test_a_meta_mat_that_is_none_is_refused(tmp_path: Path, what: str, meta: bytes) -> None:
    assert ([one.wnid for one in ilsvrc.devkit(devkit(tmp_path, kit(WHOLE))).classes]
            == ["n01", "n02"])
    with pytest.raises(UserError,
                       match=r"devkit_t12\.tar\.gz: damaged, or no ILSVRC development kit"):
        ilsvrc.devkit(devkit(tmp_path, kit(meta)))


def test_a_development_kit_that_is_a_bomb_or_links_elsewhere_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = header(Y2012.meta, kind=tarfile.SYMTYPE,
                    linkname=Y2012.truth_path) + kit(WHOLE).partition(WHOLE)[2]
    with pytest.raises(UserError, match="is not a file"):
        ilsvrc.devkit(devkit(tmp_path, linked + header(Y2012.truth_path, 2) + padded(b"1\n") + END))
    monkeypatch.setattr(ilsvrc, "LARGEST_KIT", MB)
    with pytest.raises(UserError, match="unpacks to more than 1,048,576 bytes"):
        ilsvrc.devkit(devkit(tmp_path, kit(WHOLE) + bytes(MB)))


def test_a_picture_larger_than_any_is_not_read(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 1000)
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    for size in (1001, 2**62, -1):
        with pytest.raises(UserError, match="bytes are no picture"):
            read_picture(Picture("a", 0, tmp_path / "a.jpg", 0, size))
    assert len(read_picture(Picture("a", 0, tmp_path / "a.jpg", 0, 1000))) == 1000


CLASSES = [Class("n01440764", "tench")]


def zipped(folder: Path, contents: dict[str, bytes], **of_member: object) -> Path:
    with zipfile.ZipFile(folder / kaggle.ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            one = zipfile.ZipInfo(name)
            for key, value in of_member.items():
                setattr(one, key, value)
            archive.writestr(one, content)
    return folder / kaggle.ZIP


@pytest.mark.parametrize(("what", "name", "of_member"), [
    ("absolute", "/train/n01440764/a.JPEG", {}), ("above", "train/../../a.JPEG", {}),
    ("link", "train/n01440764/a.JPEG", {"external_attr": 0o120777 << 16}),
    ("device", "train/n01440764/a.JPEG", {"external_attr": 0o020666 << 16}),
    ("unknown packing", "train/n01440764/a.JPEG", {"compress_type": zipfile.ZIP_LZMA})])
def test_in_a_zip_is_refused(tmp_path: Path, what: str, name: str,
                             of_member: dict[str, object]) -> None:
    zipped(tmp_path, {name: b"x"}, **of_member)
    with pytest.raises(UserError, match=r"leads out of its folder|packed in a way"):
        list(layouts.in_zip(tmp_path, kaggle.ZIP))


def test_names_that_occur_twice_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / kaggle.ZIP, "w") as archive:
        for name in ("train/n01440764/a.JPEG", "val/n01440764/v.JPEG"):
            archive.writestr(name, b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("train/n01440764/a.JPEG", b"y")
    with pytest.raises(UserError, match=r"a\.JPEG is there twice"):
        layouts.assemble(tmp_path, layouts.in_zip(tmp_path, kaggle.ZIP), Assembly(CLASSES))


@pytest.mark.parametrize("solution", [b"", b"\xff\xfe", b'"',
                                      b"ImageId\na\n", b"ImageId,PredictionString\na,\n",
                                      b"ImageId,PredictionString\na,n00 1 2\n", b"a,b\0c\n"])
def test_a_list_of_validation_classes_that_is_none_is_refused(tmp_path: Path,
                                                              solution: bytes) -> None:
    zipped(tmp_path, {labels.SOLUTION: solution, f"{kaggle.TOP}train/n01440764/a.JPEG": b"x",
                      f"{kaggle.TOP}val/a.JPEG": b"x"})
    with pytest.raises(UserError, match=r"LOC_val_solution\.csv: not Kaggle's list"):
        kaggle.fetch(tmp_path, False, CLASSES)
