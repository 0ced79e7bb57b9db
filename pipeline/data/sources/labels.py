"""The labels of ImageNet 2012's validation pictures, wherever they stand: `find` yields label by
name without suffix, "ILSVRC2012_val_00000293", from

    LOC_val_solution.csv             Kaggle's list: ImageId, and a wnid first in PredictionString
    ILSVRC2012_devkit_t12.tar.gz     or what was unpacked from it
    ILSVRC2012_validation_ground_truth.txt by itself
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipeline.data.sources import ilsvrc
from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.system.errors import UserError

SOLUTION = "LOC_val_solution.csv"
LARGEST_SOLUTION = 1 << 26  # bytes; it has some 2 million
OFFICIAL_KIT = "fa75699e90414af021442c21a62c3abf"  # MD5 of ILSVRC2012_devkit_t12.tar.gz
KNOWN_FILES = (SOLUTION, Y2012.devkit, Y2012.folder, f"data/{Y2012.truth}", Y2012.truth)


def places(location: Path, split: Path) -> list[Path]:
    """Return the files that hold labels for the validation folder `split`: in the data set's
    folder, in the one that the split is in, or above it in Kaggle's ILSVRC/Data/CLS-LOC."""
    folders = [location, split.parent]
    above = split.parent.absolute()
    while above.name in ("CLS-LOC", "Data", "ILSVRC"):
        above = above.parent
        folders.append(above)
    files: dict[Path, Path] = {}
    for folder in folders:
        for name in KNOWN_FILES:
            if (folder / name).exists():
                files.setdefault((folder / name).resolve(), folder / name)
    return list(files.values())


def find(files: Sequence[Path], classes: list[Class]) -> dict[str, int]:
    """Return the labels that stand in these files.

    Raises:
        UserError: one is damaged, or two contradict each other.
    """
    labels: dict[str, int] = {}
    for file in files:
        more = _read(file, classes)
        for key in sorted(labels.keys() & more.keys()):
            if labels[key] != more[key]:
                raise UserError(
                    f"{file}: {key} is {classes[more[key]].wnid}, but {files[0]} says "
                    f"{classes[labels[key]].wnid}: one of the two is not ILSVRC 2012's; fetch it "
                    "again")
        labels |= more
    return labels


def train_counts(files: Sequence[Path]) -> list[int]:
    """Return how many training pictures each class has, by the development kit among these files;
    nothing where there is none."""
    for file in files:
        if file.name in (Y2012.devkit, Y2012.folder):
            return ilsvrc.devkit(file, known=_is_official(file)).train_counts
    return []


def _is_official(file: Path) -> bool:
    return (file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            == OFFICIAL_KIT)


def _read(file: Path, classes: list[Class]) -> dict[str, int]:
    if file.name == SOLUTION:
        with file.open("rb") as stream:
            return read_solution(stream.read(LARGEST_SOLUTION), file, classes)
    if file.name == Y2012.truth:
        try:
            return ilsvrc.read_truth(file.read_bytes(), len(classes))
        except ValueError as error:
            raise UserError(f"{file}: not the validation ground truth ({error}); fetch it "
                            "again") from None
    kit = ilsvrc.devkit(file, known=_is_official(file))
    if [one.wnid for one in kit.classes] != [one.wnid for one in classes]:
        raise UserError(f"{file}: its {len(kit.classes):,} classes are not those of ILSVRC 2012; "
                        "fetch the development kit again")
    return kit.val_labels


def read_solution(content: bytes, where: Path | str, classes: list[Class]) -> dict[str, int]:
    """Read Kaggle's list, "ILSVRC2012_val_00048981,n03995372 85 1 499 272" and on, also as
    spreadsheets save it: with a byte order mark, in UTF-16, with semicolons or tabs.

    Raises:
        UserError: it is something else; a wnid is of no class; a picture has two labels.
    """
    numbers = {one.wnid: label for label, one in enumerate(classes)}
    labels: dict[str, int] = {}
    try:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = content.decode("utf-16" if wide else "utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = max(",;\t", key=header.count)
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            key = PurePosixPath((row["ImageId"] or "").strip()).name
            key = key.removesuffix(".JPEG")
            words = (row["PredictionString"] or "").split()
            if not key and not words:
                continue  # an empty line at a spreadsheet's end
            label = numbers[words[0]]
            if labels.setdefault(key, label) != label:
                raise UserError(f"{where}: {key} has two labels, "
                                f"{classes[labels[key]].wnid} and {words[0]}; fetch it again")
        if not labels:
            raise ValueError("no row")
    except (KeyError, IndexError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise UserError(f"{where}: not Kaggle's list of validation classes ({error!r}); fetch it "
                        "again") from None
    return labels
