"""What every reader must make of damaged input: refuse it clearly, or find exactly what the whole
one holds ("same"); "other" only where bytes are content, which a digest tells. Anything else is a
failure: another exception, an answer that an independent reader of the same bytes does not give, a
file written elsewhere."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io  # noqa: F401  (before any fork: it takes a third of a second)

from pipeline.config import parameters
from pipeline.data.formats import FORMATS
from pipeline.data.moments import Moments
from pipeline.data.pixels import Undecodable, decode, decode_stored, decoder
from pipeline.data.sources import layouts, meta_mat
from pipeline.data.sources.catalogue import Picture
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.index import read_index
from pipeline.data.sources.reading import read_picture
from pipeline.data.sources.repack import in_compressed_tar
from pipeline.data.sources.tars import is_safe, members
from pipeline.data.statistics import read_mean
from pipeline.data.store import Store
from pipeline.records import code_archive, environment, kept_runs
from pipeline.system.errors import UserError
from pipeline.training import checkpoints

CORPUS = Path(__file__).with_name("corpus")
REFUSED, SAME, OTHER = "refused", "same", "other"
REASONS = re.compile(r"empty|truncated|broken data|floating-point pixels|not a picture of a known "
                     f"format(, but ({'|'.join(re.escape(name) for _, name, _ in FORMATS)}))?"
                     r"|more than \d+ (pixels|bytes|segments)|a run-length BMP, which .*|a \d+-bit "
                     r"JPEG|a lossless or arithmetic-coded JPEG|a JPEG of \d+ scans, which .*")
# input, name of the seed it was made from, a folder of its own
Judge = Callable[[bytes, str, Path], str]


def seeds(reader: str) -> dict[str, bytes]:
    """By name; what once failed is among them. A store of JPEGs is of one decoder: elsewhere it is
    left out."""
    made_by = json.loads((CORPUS / "store" / "jpeg-store.json").read_text())["decoder"]["jpeg"]
    return {file.name: file.read_bytes() for file in sorted((CORPUS / reader).iterdir())
            if not (reader == "store" and "jpeg-" in file.name and made_by != decoder()["jpeg"])}


@functools.cache
def seed(reader: str, name: str) -> bytes:
    return (CORPUS / reader / name).read_bytes()


def _refused(error: Exception, beginning: object = "", within: object = "") -> str:
    """It names the file, and is of a length that a person reads."""
    told = str(error)
    assert told.startswith(str(beginning)), told
    assert str(within) in told, told
    assert len(told) < 5000, told
    return REFUSED


def _undecodable(reason: Undecodable) -> str:
    assert REASONS.fullmatch(str(reason)), reason
    return REFUSED


def image(content: bytes, name: str, folder: Path) -> str:
    try:
        decode_stored(content)
    except Undecodable as reason:
        _undecodable(reason)
    try:
        pixels = decode(content, 32)
    except Undecodable as reason:
        return _undecodable(reason)
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    assert np.array_equal(pixels, decode(content, 32)), "pixels that nothing decides"
    return SAME if np.array_equal(pixels, _pixels(name)) else OTHER


@functools.cache
def _pixels(name: str) -> Any:
    try:
        return decode(seed("image", name), 32)
    except Undecodable:
        return None


def tar(content: bytes, name: str, folder: Path) -> str:
    file = folder / "a.tar"
    file.write_bytes(content)
    outcomes = []
    for folders_only in (False, True):
        try:
            found = [(one.name, one.offset, one.size)
                     for one in members(file, folders=folders_only)]
        except UserError as error:
            outcomes.append(_refused(error, file))
            continue
        assert all(is_safe(path) and 0 <= start <= start + size <= len(content)
                   for path, start, size in found)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            assert found == [(one.name, one.offset_data, one.size)
                             for one in archive if one.isreg()]
        outcomes.append(SAME if content == seed("tar", name) else OTHER)
    return max(outcomes, key=(REFUSED, SAME, OTHER).index)


def tgz(content: bytes, name: str, folder: Path) -> str:
    packed = content if content[:2] == b"\x1f\x8b" else gzip.compress(content, 0, mtime=0)
    try:
        found = list(in_compressed_tar(io.BytesIO(packed), "a.tgz"))
    except UserError as error:
        return _refused(error, "a.tgz: ")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        assert found == [(one.name.removeprefix("./"),
                          archive.extractfile(one).read())  # type: ignore[union-attr]
                         for one in archive if one.isreg()]
    assert all(is_safe(path) for path, _ in found)
    return SAME if content == seed("tgz", name) else OTHER


def zipped(content: bytes, name: str, folder: Path) -> str:
    (folder / "a.zip").write_bytes(content)
    try:
        found = list(layouts.in_zip(folder, "a.zip"))
        contents = [read_picture(Picture(one.path, 0, folder / one.file, *one[2:]))
                    for one in found]
    except UserError as error:
        return _refused(error, folder / "a.zip")
    assert all(is_safe(one.path) for one in found)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        listed = [one for one in archive.infolist() if not one.is_dir()]
        assert [one.path for one in found] == [one.filename for one in listed]
        for mine, one in zip(contents, listed, strict=True):
            # a wrong checksum: the picture's own digest is another then
            with contextlib.suppress(*layouts.BROKEN_ZIP):
                # which stops at the size that the table says
                assert mine.startswith(archive.read(one))
    return SAME if content == seed("zip", name) else OTHER


def index(content: bytes, name: str, folder: Path) -> str:
    file = folder / "index.parquet"
    file.write_bytes(content)
    try:
        found = read_index(file, Path("root"), ("train", "val"))
    except UserError as error:
        return _refused(error, f"{file}: damaged")
    assert found == _index(name)
    return SAME


@functools.cache
def _index(name: str) -> Any:
    return read_index(CORPUS / "index" / name, Path("root"), ("train", "val"))


def store(content: bytes, name: str, folder: Path) -> str:
    """One file of a store is damaged, that which the seed is: raw-index.parquet, jpeg-store.json,
    ..."""
    kind, _, file = name.removeprefix(name[:16] if name.startswith("failed-")
                                      else "").partition("-")
    for other in (CORPUS / "store").iterdir():
        if other.name.startswith(f"{kind}-"):
            (folder / other.name.removeprefix(f"{kind}-")).write_bytes(other.read_bytes())
    whole = Store(folder)
    (folder / file).write_bytes(content)
    try:
        found = Store(folder)
        found.verify()
    except UserError as error:
        return _refused(error, within=folder)
    for split in ("train", "val"):
        mine, right = found.split(split), whole.split(split)
        assert np.array_equal(mine.labels, right.labels)
        assert all(np.array_equal(mine.image(k), right.image(k)) for k in range(len(right)))
    return SAME


def record(content: bytes, name: str, folder: Path) -> str:
    """A file of a record is damaged; half of the time the digests are then made right, as a
    stranger would."""
    for other in (CORPUS / "record").iterdir():
        if not other.name.startswith("failed-"):
            (folder / other.name).write_bytes(other.read_bytes())
    whole = kept_runs.read_folder(folder)
    file = folder / (name if not name.startswith("failed-") else name.split("-", 2)[2])
    file.write_bytes(content)
    sealed = zlib.crc32(content) % 2 and _seal(folder)
    try:
        found = kept_runs.read_folder(folder)
        found.trace(), found.environment(), found.curve(), found.text("parameters.json")
    except UserError as error:
        return _refused(error, within=folder)
    if not sealed:
        assert found.facts == whole.facts
        return SAME
    assert re.fullmatch("[0-9a-f]{32}", found.facts.run_id)
    json.dumps(asdict(found.facts))
    return OTHER


def _seal(folder: Path) -> bool:
    try:
        told = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        told["files"] |= {name: kept_runs.sha256_of(folder / name) for name in told["files"]}
        told.pop("digest", None)
        text = json.dumps(told | {"digest": kept_runs.record_digest(told)})
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OSError):
        return False
    (folder / "record.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    return True


def code(content: bytes, name: str, folder: Path) -> str:
    file = folder / "code.tar.gz"
    file.write_bytes(content if content[:2] == b"\x1f\x8b" else gzip.compress(content, 0, mtime=0))
    target = folder / "deep" / "code"
    try:
        code_archive.unpack_code(file, target, _code_digest())
    except UserError as error:
        return _refused(error, file)
    finally:
        assert {one.name for one in folder.iterdir()} <= {"code.tar.gz", "deep"}
        assert {one.name for one in (folder / "deep").glob("*")} <= {"code"}
    assert environment.code_digest(target) == _code_digest()
    return SAME


@functools.cache
def _code_digest() -> str:
    with tarfile.open(CORPUS / "code" / "plain.tar") as archive:
        contents = {one.name: archive.extractfile(one).read()
                    for one in archive}  # type: ignore[union-attr]
    digest = hashlib.sha256()
    for name in sorted(name for name in contents if name.endswith(".py")):
        digest.update(f"{name} {len(contents[name])}\n".encode() + contents[name])
    return digest.hexdigest()


def checkpoint(content: bytes, name: str, folder: Path) -> str:
    (folder / "step-00000010.safetensors").write_bytes(content)
    found = checkpoints.newest(folder)
    if found is None:
        return REFUSED
    step, tensors, memory = found
    right_step, right, right_memory = _checkpoint(name)
    assert (step, memory, list(tensors)) == (right_step, right_memory, list(right))
    assert all(tensors[key].numpy().tobytes() == right[key].numpy().tobytes() for key in right)
    return SAME


@functools.cache
def _checkpoint(name: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(CORPUS / "checkpoint" / name, Path(folder) / "step-00000010.safetensors")
        return checkpoints.newest(Path(folder))


def devkit(content: bytes, name: str, folder: Path) -> str:
    """Its meta.mat. In a process of its own, as in `classes_apart`, but by a fork, which takes
    milliseconds."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            faulthandler.disable()  # a crash is no news here
            meta_mat.within_limits()
            os.write(into, json.dumps(meta_mat.classes(content, Y2012.number)).encode()[:60_000])
        except ValueError:
            os.write(into, b"refused")
        finally:  # anything else leaves nothing in the pipe, and the status of a success
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        told = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert told or status in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS,
                              -signal.SIGFPE), status
    if not told or told == b"refused":
        return REFUSED
    return SAME if content == seed("devkit", name) else OTHER


def params(content: bytes, name: str, folder: Path) -> str:
    file = folder / "params.yaml"
    file.write_bytes(content)
    try:
        found = parameters.load(file)
    except UserError as error:
        return _refused(error, file)
    return SAME if found == parameters.load(CORPUS / "params" / "params.yaml") else OTHER


def arrays(content: bytes, name: str, folder: Path) -> str:
    file = folder / ("a.npy" if content[:6] == b"\x93NUMPY" else "a.safetensors")
    file.write_bytes(content)
    try:
        if file.suffix == ".npy":
            assert read_mean(file).nbytes <= len(content)
            return OTHER
        found = Moments.load(file)
    except UserError as error:
        return _refused(error, file)
    assert found == Moments.load(CORPUS / "arrays" / "moments.safetensors")
    return SAME


READERS: dict[str, Judge] = {"image": image, "tar": tar, "tgz": tgz, "zip": zipped, "index": index,
                             "store": store, "record": record, "code": code,
                             "checkpoint": checkpoint, "devkit": devkit, "params": params,
                             "arrays": arrays}


def mended(reader: str, content: bytes, draw: random.Random) -> bytes:
    """Half of the time a damaged header gets a right checksum, so that the damage goes deeper."""
    if reader not in ("tar", "tgz", "code") or content[:2] == b"\x1f\x8b" or draw.random() < 0.5:
        return content
    found = bytearray(content)
    for start in range(0, len(found) - 511, 512):
        block = found[start: start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            found[start + 148: start + 156] = b"%06o\0 " % sum(block)
    return bytes(found)
