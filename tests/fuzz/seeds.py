"""Writes the seeds of the corpus: `python -m tests.fuzz.seeds`, after a format has changed. What
once failed stays."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from pipeline.data.moments import Accumulator
from pipeline.data.pixels import decoder, reference_pictures
from pipeline.data.shards import shard_file, shard_writer
from pipeline.data.sources.catalogue import Class, Picture
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.index import PictureTable, write_index
from pipeline.data.store import StoredImage, StoredShard, publish_description
from pipeline.records import code_archive, exchange, kept_runs
from pipeline.training import checkpoints
from tests.fuzz.readers import CORPUS

ROOT = Path(__file__).resolve().parents[2]
PICTURE = np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3)


def picture(kind: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def tar(contents: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = (len(content),
                                        tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
            archive.addfile(member, io.BytesIO(content))
    whole = stream.getvalue().rstrip(b"\0")
    return whole + bytes(-len(whole) % 512 + 1024)  # without most of the padding at the end


def images() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {**{name: content for name, content in reference_pictures().items()
               if name.endswith(".jpg")},
            "exif.jpg": picture("JPEG", exif=exif, icc_profile=b"profile" * 9, comment=b"words"),
            "rgb.png": picture("PNG"), "palette.png": picture("PNG", "P", transparency=0),
            "alpha.png": picture("PNG", "RGBA"),
            "gray.png": picture("PNG", "L", icc_profile=b"profile"),
            "first.gif": picture("GIF", "P", comment=b"words"), "rgb.bmp": picture("BMP"),
            "rgb.ppm": picture("PPM"), "gray.pgm": b"P2 2 2 255 1 2 3 4\n"}


def stores() -> dict[str, bytes]:
    found = {}
    for encoding, side in (("raw", 4), ("jpeg", 8)):
        with tempfile.TemporaryDirectory() as name:
            folder, moments, shards = Path(name), Accumulator(side), []
            for split, count in (("train", 5), ("val", 2)):
                rows = []
                with shard_writer(folder / shard_file(split, 0, encoding), side,
                                   encoding) as writer:  # type: ignore[arg-type]
                    for k in range(count):
                        pixels = writer.add(np.full((side, side, 3), 40 * k, np.uint8), k % 2)
                        sha256 = hashlib.sha256(bytes([k])).hexdigest()
                        rows.append(StoredImage(f"{split}{k}", sha256, k % 2, writer.place))
                        if split == "train":
                            moments.add(pixels)
                shards.append(StoredShard(split, 0, writer.digest.hexdigest(), rows))
            publish_description(folder, [Class("n1", "cat"), Class("n2", "dog")], shards,
                                moments.moments(), [], {"decoder": decoder(), "order_seed": 0},
                                encoding)  # type: ignore[arg-type]
            found |= {f"{encoding}-{file.name}": file.read_bytes() for file in folder.iterdir()}
    return found


def record() -> dict[str, bytes]:
    kinds = {kind: {"digest": "d" * 64,
                    "tensors": {"conv1.weight/0": "0" * 16, "conv1.bias/1": "1" * 16}}
             for kind in ("weights", "momentum", "gradients")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trace.jsonl").write_text("".join(
            json.dumps({"step": step, "loss": (1 / step).hex(), **kinds}) + "\n"
            for step in (1, 2)))
        (folder / "environment.json").write_text('{"cpu": "x", "torch": "2.13.0", "variable '
                                                 'OMP_NUM_THREADS": "1"}')
        (folder / "parameters.json").write_text(json.dumps({"train": {"seed": 1}}))
        (folder / "learning.csv").write_text("step,training_loss\n1,0.5\n2,0.25\n")
        exchange.write_record(folder, kept_runs.Facts(
            "0123456789abcdef" * 2, "train", "FINISHED", 1, 2, {"train.seed": "1"},
            {"stage": "train", "code_digest": "0" * 64}, {"steps": 2.0},
            [{"step": 1, "training_loss": 0.5}]))
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def code() -> dict[str, bytes]:
    plain = tar({"alexnet/net.py": b"X = 1\n", "params.yaml": b"a: 1\n",
                 "pipeline/stages/train.py": b"Y = 2\n" * 99})
    return {"plain.tar": plain, "packed.tar.gz": gzip.compress(plain, 9, mtime=0)}


def checkpoint() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save(Path(folder), 10, {"weights/a.weight": torch.arange(6.0).reshape(2, 3),
                                            "momentum/a.weight": torch.zeros(2, 3)},
                         {"loss_sum": (0.5).hex(), "loss_count": 3, "wrong": 1}, ())
        return {"small.safetensors": next(Path(folder).glob("*.safetensors")).read_bytes()}


def index() -> dict[str, bytes]:
    entries = [Picture(f"n{k}_{k}.JPEG", k % 3, Path(f"{k % 2}.tar"), 512 + 1024 * k, 300 + k,
                     ("", "gzip")[k % 2]) for k in range(40)]
    splits = {"train": PictureTable.of(Path("root"), entries[:30]),
              "val": PictureTable.of(Path("root"), entries[30:])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.parquet"
        write_index(file, splits)
        return {"small.parquet": file.read_bytes()}


def devkit() -> dict[str, bytes]:
    fields = [(Y2012.number, "i4"), ("WNID", "U9"), ("words", "U9"), ("num_children", "i4"),
              ("children", "i4", (2,))]
    rows = [(1, "n01", "a, b", 0, (0, 0)), (2, "n02", "c", 0, (0, 0)),
            (3, "n03", "root", 2, (1, 2))]
    synsets = np.array(rows, fields)
    found = {}
    for name, packed in (("plain.mat", False), ("packed.mat", True)):
        stream = io.BytesIO()
        savemat(stream, {"synsets": synsets}, do_compression=packed)
        found[name] = stream.getvalue()
    return found


def arrays() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        moments = Accumulator(4)
        moments.add(np.full((4, 4, 3), 7, np.uint8))
        moments.moments().save(Path(folder) / "moments.safetensors")
        np.save(Path(folder) / "mean.npy", np.arange(12, dtype=np.float32).reshape(2, 2, 3))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, kind in (("train/n1/a.JPEG", zipfile.ZIP_STORED),
                           ("train/n2/b.JPEG", zipfile.ZIP_DEFLATED)):
            archive.writestr(zipfile.ZipInfo(name), b"picture" * 30, kind)
    return stream.getvalue()


def all_of_them() -> dict[str, dict[str, bytes]]:
    paths = {"./": b"", "./train/": b"", "./train/n1/a.JPEG": b"1" * 700, "./val/b.JPEG": b""}
    long = {"train/" + "n" * 120 + "/a.JPEG": b"1" * 20}
    lines = (line.partition(" #")[0].rstrip()
             for line in (ROOT / "params.yaml").read_text().splitlines())
    return {"image": images(), "store": stores(), "record": record(), "code": code(),
            "checkpoint": checkpoint(), "index": index(), "devkit": devkit(),
            "arrays": arrays(), "zip": {"two.zip": zipped()},
            "tar": {"flat.tar": tar({"a.JPEG": b"1" * 600, "b.JPEG": b"2" * 10, "c.JPEG": b""}),
                    "paths.tar": tar(paths), "ustar.tar": tar(long, tarfile.USTAR_FORMAT)},
            "tgz": {"paths.tar": tar(paths), "gnu.tar": tar(long),
                    "pax.tar": tar(long, tarfile.PAX_FORMAT),
                    "packed.tgz": gzip.compress(tar(paths), 9, mtime=0)},
            "params": {"params.yaml": "\n".join(line for line in lines if line.strip()).encode()
                       + b"\n"}}


if __name__ == "__main__":
    for reader, contents in all_of_them().items():
        (CORPUS / reader).mkdir(parents=True, exist_ok=True)
        for old in (CORPUS / reader).iterdir():
            if not old.name.startswith("failed-"):
                old.unlink()
        for name, content in contents.items():
            (CORPUS / reader / name).write_bytes(content)
    code_archive.file_digests(CORPUS / "code" / "packed.tar.gz")
