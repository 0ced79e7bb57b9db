"""One small ImageNet 2012, of all thousand classes, in every form in which people have it."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterable
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
         "folders by Kaggle's names", "hub", "hub, data/")


def official_catalogue(folder: Path) -> Catalogue:
    """The pictures of three archives in the official form, whatever their classes are."""
    kit = ilsvrc.devkit(folder / Y2012.devkit)
    places = chain(ilsvrc.train_places(folder, kit.classes), ilsvrc.val_places(folder))
    contents = layouts.assemble(folder, places, Assembly(kit.classes, kit.val_labels))
    if contents.strays.counts or contents.missing:
        raise UserError(f"{contents.strays.lines()} {contents.missing}")
    return contents.catalogue


def paths() -> list[tuple[str, bytes]]:
    """As in Kaggle's copy: train/<wnid>/<name>, val/<name>."""
    train = [(f"train/{one.wnid}/{name}", content)
             for one, pictures in zip(CLASSES, PICTURES, strict=True) for name, content in pictures]
    return train + [(f"val/{name}", content) for name, content in VAL]


def solution() -> str:
    lines = [f"{name.removesuffix('.JPEG')},{CLASSES[label].wnid} 1 2 3 4 {CLASSES[label].wnid} 5 "
             "6 7 8 " for (name, _), label in zip(VAL, LABELS, strict=True)]
    return "\n".join(["ImageId,PredictionString", *reversed(lines)]) + "\n"


def write(form: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    if form == "archives":
        ilsvrc_writer.write(folder, CLASSES, PICTURES, VAL, LABELS, [])
    elif form.startswith("kaggle"):
        _write_kaggle(form, folder)
    elif form.startswith("hub"):
        write_parquet(folder / "data" if form.endswith("data/") else folder, suffixed=form == "hub")
    else:
        _write_files(folder,
                     [(path, content) for path, content in paths() if path.startswith("train/")])
        if form == "folders beside the devkit":
            _write_files(folder, [(f"val/{name}", content) for name, content in VAL])
            ilsvrc_writer.write(folder / "x", CLASSES, [[] for _ in CLASSES], [], LABELS, [])
            shutil.move(folder / "x" / ilsvrc_writer.Y2012.devkit, folder)
            shutil.rmtree(folder / "x")
        else:
            _write_files(folder, [(f"val/{CLASSES[label].wnid}/{name}", content)
                                  for (name, content), label in zip(VAL, LABELS, strict=True)])
            if form == "folders by Kaggle's names":
                for file in sorted((folder / "val").glob("*/*")):
                    file.rename(file.with_stem(f"{file.stem}_{file.parent.name}"))
    return folder


def _write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for path, content in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _write_kaggle(form: str, folder: Path) -> None:
    files = [(f"{kaggle.TOP}{path}", content) for path, content in paths()]
    files += [("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", b"<x/>"),
              (f"{kaggle.TOP}test/ILSVRC2012_test_00000001.JPEG", b"unlabelled"),
              ("ILSVRC/ImageSets/CLS-LOC/val.txt", b"")]
    if form == "kaggle unpacked":
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
        with zipfile.ZipFile(folder / kaggle.ZIP, "w", packing) as archive:
            archive.writestr(labels.SOLUTION, solution())
            if "tar" in form:
                archive.write(f"{tar}.gz", f"{tar.name}.gz")
                Path(f"{tar}.gz").unlink()
            else:
                for path, content in files:
                    archive.writestr(path, content)
    else:
        (folder / labels.SOLUTION).write_text(solution())


def write_parquet(folder: Path, suffixed: bool) -> None:
    """Three files of train and one of validation; labels in the order of the wnids, as the hub has
    them."""
    folder.mkdir(parents=True, exist_ok=True)
    place = {wnid: number for number, wnid in enumerate(sorted(one.wnid for one in CLASSES))}
    rows = [(name, content, CLASSES[label].wnid) for label, some in enumerate(PICTURES)
            for name, content in some]
    parts = {f"train-{part:05}-of-00003": rows[part::3] for part in range(3)}
    parts["validation-00000-of-00001"] = [(name, content, CLASSES[label].wnid) for (name, content),
                                          label in zip(VAL, LABELS, strict=True)]
    for stem, some in parts.items():
        images = [{"bytes": content, "path": name.replace(".", f"_{wnid}.") if suffixed else name}
                  for name, content, wnid in some]
        table = pyarrow.table({"image": images, "label": [place[wnid] for *_, wnid in some]})
        pyarrow.parquet.write_table(table, folder / f"{stem}.parquet", row_group_size=100)
