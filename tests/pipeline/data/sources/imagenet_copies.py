"""One small ImageNet 2012, of all thousand classes, in every form in which people have it."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow
import pyarrow.parquet

from pipeline.data.sources import ilsvrc, ilsvrc_writer, kaggle, labels, layouts
from pipeline.data.sources.catalogue import Catalogue
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.imagenet_classes import imagenet_classes
from pipeline.data.sources.layouts import Assembly
from pipeline.system.errors import UserError

CLASSES = imagenet_classes()
PICTURES = [[(f"{one.wnid}_{7 * number}.JPEG", f"{one.wnid} {number} ".encode() * 20)
             for number in range(1 + label % 2)] for label, one in enumerate(CLASSES)]
LABELS = [(311 * number + 5) % 1000 for number in range(30)]
VAL = [(f"ILSVRC2012_val_{number + 1:08}.JPEG", f"val {number}".encode() * 30)
       for number in range(len(LABELS))]
FORMS = ("archives", "kaggle zip", "kaggle deflated zip", "kaggle zip of a tar.gz", "kaggle tar.gz",
         "kaggle tar", "kaggle unpacked", "folders", "folders beside the devkit",
         "folders by Kaggle's names", "hub", "hub, data/", "hub with hashes", "class tars",
         "kaggle renamed zip", "kaggle unpacked, CLS-LOC", "folders one level deeper",
         "folders by the archives' names beside the unpacked devkit", "folders beside the truth")


def official_catalogue(folder: Path) -> Catalogue:
    """The pictures of three archives in the official form, whatever their classes are."""
    kit = ilsvrc.devkit(folder / Y2012.devkit)
    places = chain(ilsvrc.train_places(folder, kit.classes), ilsvrc.val_places(folder))
    contents = layouts.assemble(folder, places, Assembly(kit.classes, kit.val_labels))
    if contents.strays.counts or contents.missing:
        raise UserError(f"{contents.strays.lines()} {contents.missing}")
    return contents.catalogue


@dataclass(frozen=True)
class Copy:
    """The pictures of each class, those of validation, and the labels of these."""

    pictures: list[list[tuple[str, bytes]]]
    val: list[tuple[str, bytes]]
    labels: list[int]

    def train_files(self) -> list[tuple[str, bytes]]:
        """train/<wnid>/<name>, and contents."""
        return [(f"train/{one.wnid}/{name}", content) for one, some in
                zip(CLASSES, self.pictures, strict=True) for name, content in some]

    def flat_files(self) -> list[tuple[str, bytes]]:
        """val/<name>, and contents."""
        return [(f"val/{name}", content) for name, content in self.val]

    def sorted_files(self) -> list[tuple[str, bytes]]:
        """val/<wnid>/<name>, and contents."""
        return [(f"val/{CLASSES[label].wnid}/{name}", content)
                for (name, content), label in zip(self.val, self.labels, strict=True)]

    def solution(self) -> str:
        """Kaggle's list, in an order of its own."""
        lines = [f"{name.removesuffix('.JPEG')},{CLASSES[label].wnid} 1 2 3 4 "
                 f"{CLASSES[label].wnid} 5 6 7 8 "
                 for (name, _), label in zip(self.val, self.labels, strict=True)]
        return "\n".join(["ImageId,PredictionString", *reversed(lines)]) + "\n"


SMALL = Copy(PICTURES, VAL, LABELS)


def write(form: str, folder: Path, copy: Copy = SMALL) -> Path:
    """Write the copy in this form; return what `dataset.location` is."""
    folder.mkdir(parents=True)
    if form == "archives":
        ilsvrc_writer.write(folder, CLASSES, copy.pictures, copy.val, copy.labels, [])
    elif form.startswith("kaggle"):
        _write_kaggle(form, folder, copy)
    elif form.startswith("hub"):
        write_parquet(folder / "data" if form.endswith("data/") else folder, form == "hub", copy,
                      hashed="hashes" in form)
    elif form == "class tars":
        _write_files(folder, copy.sorted_files())
        (folder / "train").mkdir()
        for one, pictures in zip(CLASSES, copy.pictures, strict=True):
            with tarfile.open(folder / f"train/{one.wnid}.tar", "w") as archive:
                for name, content in pictures:
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
    else:
        _write_folders(form, folder, copy)
    return folder / kaggle.TOP if form.endswith("CLS-LOC") else folder


def _write_folders(form: str, folder: Path, copy: Copy) -> None:
    _write_files(folder, copy.train_files())
    flat = "devkit" in form or "truth" in form
    _write_files(folder, copy.flat_files() if flat else copy.sorted_files())
    if flat:
        ilsvrc_writer.write(folder / "x", CLASSES, [[] for _ in CLASSES], [], copy.labels, [])
        kit = folder / "x" / Y2012.devkit
        if "unpacked devkit" in form:
            with tarfile.open(kit) as archive:
                archive.extractall(folder, filter="data")
            (folder / "train").rename(folder / "ILSVRC2012_img_train")
            (folder / "val").rename(folder / "ILSVRC2012_img_val")
        elif "truth" in form:
            with tarfile.open(kit) as archive:
                archive.extract(Y2012.truth_path, folder / "x", filter="data")
            shutil.move(folder / "x" / Y2012.truth_path, folder)
        else:
            shutil.move(kit, folder)
        shutil.rmtree(folder / "x")
    if form == "folders by Kaggle's names":
        for file in sorted((folder / "val").glob("*/*")):
            file.rename(file.with_stem(f"{file.stem}_{file.parent.name}"))
    if "one level deeper" in form:
        (folder / "imagenet").mkdir()
        for split in ("train", "val"):
            (folder / split).rename(folder / "imagenet" / split)


def _write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for path, content in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _write_kaggle(form: str, folder: Path, copy: Copy) -> None:
    files = [(f"{kaggle.TOP}{path}", content)
             for path, content in (*copy.train_files(), *copy.flat_files())]
    files += [("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", b"<x/>"),
              (f"{kaggle.TOP}test/ILSVRC2012_test_00000001.JPEG", b"unlabelled"),
              ("ILSVRC/ImageSets/CLS-LOC/val.txt", b"")]
    if "unpacked" in form:
        _write_files(folder, files)
    tar = folder / kaggle.TAR
    if "tar" in form:
        compressed = form != "kaggle tar"
        with tarfile.open(f"{tar}.gz" if compressed else tar, "w:gz" if compressed else "w",
                          format=tarfile.GNU_FORMAT) as archive:
            for name in ("ILSVRC", "ILSVRC/Data"):
                header = tarfile.TarInfo(name)
                header.type = tarfile.DIRTYPE
                archive.addfile(header)
            for path, content in files:
                header = tarfile.TarInfo(path)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    if "zip" in form:
        packing = zipfile.ZIP_DEFLATED if "deflated" in form else zipfile.ZIP_STORED
        file = folder / ("archive (1).zip" if "renamed" in form else kaggle.ZIP)
        with zipfile.ZipFile(file, "w", packing) as archive:
            archive.writestr(labels.SOLUTION, copy.solution())
            if "tar" in form:
                archive.write(f"{tar}.gz", f"{tar.name}.gz")
                Path(f"{tar}.gz").unlink()
            else:
                for path, content in files:
                    archive.writestr(path, content)
    else:
        (folder / labels.SOLUTION).write_text(copy.solution())


def write_parquet(folder: Path, suffixed: bool, copy: Copy = SMALL, hashed: bool = False) -> None:
    """Three files of train and one of validation; labels in the order of the wnids, as the hub has
    them."""
    folder.mkdir(parents=True, exist_ok=True)
    place = {wnid: number for number, wnid in enumerate(sorted(one.wnid for one in CLASSES))}
    rows = [(name, content, CLASSES[label].wnid) for label, some in enumerate(copy.pictures)
            for name, content in some]
    parts = {f"train-{part:05}-of-00003": rows[part::3] for part in range(3)}
    parts["validation-00000-of-00001"] = [
        (name, content, CLASSES[label].wnid)
        for (name, content), label in zip(copy.val, copy.labels, strict=True)]
    for number, (stem, some) in enumerate(parts.items()):
        images = [{"bytes": content, "path": name.replace(".", f"_{wnid}.") if suffixed else name}
                  for name, content, wnid in some]
        table = pyarrow.table({"image": images, "label": [place[wnid] for *_, wnid in some]})
        suffix = f"-{0xabcdef0123456789 + number:016x}" if hashed else ""
        pyarrow.parquet.write_table(table, folder / f"{stem}{suffix}.parquet", row_group_size=100)
