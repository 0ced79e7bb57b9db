"""In every form that ImageNet comes in: random copies with planted faults give right labels, or a
refusal that names the cause; never a wrong label."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.sources import hub, ilsvrc, ilsvrc_writer, kaggle, labels, layouts
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError

WNIDS = ["n03000001", "n01000002", "n02000003", "n04000004"]  # in label order, as the kit has them
CLASSES = [Class(wnid, wnid) for wnid in WNIDS]


@dataclass
class Drawn:
    """A copy: the class that each picture belongs to by its folder, archive or row, its name, and
    its content, which says its true class."""

    train: list[tuple[str, str, bytes]]
    val: list[tuple[str, str, bytes]]
    listed: list[tuple[str, str]]  # name without suffix and class, as the list of labels has them
    refused: str = ""  # what the refusal must name; "" where all of it can be read
    missing: set[str] = field(default_factory=set)  # labels without a picture


def other(wnid: str) -> str:
    return WNIDS[WNIDS.index(wnid) - 1]


# What may befall a copy, and the name by which it must be refused.

def nothing(copy: Drawn, k: int) -> None:
    """It is as it was."""


def drop(copy: Drawn, k: int) -> None:
    """A validation picture is not there."""
    _, name, _ = copy.val.pop(k % len(copy.val))
    copy.missing.add(name[:23])


def in_another_class(copy: Drawn, k: int) -> None:
    """A training picture lies in another class's folder."""
    wnid, name, content = copy.train[k % len(copy.train)]
    copy.train[k % len(copy.train)] = (other(wnid), name, content)
    copy.refused = name


def named_for_another(copy: Drawn, k: int) -> None:
    """A training picture bears another class's wnid."""
    wnid, _, content = copy.train[k % len(copy.train)]
    copy.train[k % len(copy.train)] = (wnid, f"{other(wnid)}_999.JPEG", content)
    copy.refused = f"{other(wnid)}_999"


def twice(copy: Drawn, k: int) -> None:
    """A training picture is there twice."""
    wnid, name, content = copy.train[k % len(copy.train)]
    copy.train.append((wnid, name, content))
    copy.refused = name


def val_twice(copy: Drawn, k: int) -> None:
    """A validation picture is there twice."""
    wnid, name, content = copy.val[k % len(copy.val)]
    copy.val.append((wnid, name, content))
    copy.refused = name[:23]


FAULTS: list[Callable[[Drawn, int], None]] = [nothing, nothing, drop, in_another_class,
                                              named_for_another, twice, val_twice]


@st.composite
def copies(draw: st.DrawFn) -> Drawn:
    train = [(wnid, f"{wnid}_{17 * k + label}.JPEG", f"train {wnid} {k}".encode())
             for label, wnid in enumerate(WNIDS) for k in range(draw(st.integers(1, 3)))]
    truth = draw(st.lists(st.sampled_from(WNIDS), min_size=2, max_size=9))
    val = [(wnid, f"ILSVRC2012_val_{number:08}.JPEG", f"val {wnid} {number}".encode())
           for number, wnid in enumerate(truth, 1)]
    copy = Drawn(train, val, draw(st.permutations([(name[:23], wnid) for wnid, name, _ in val])))
    draw(st.sampled_from(FAULTS))(copy, draw(st.integers(0, 99)))
    copy.train, copy.val = (draw(st.permutations(some)) for some in (copy.train, copy.val))
    return copy


# --- the forms ---

def solution(copy: Drawn) -> str:
    return "\n".join(["ImageId,PredictionString", *(f"{name},{wnid} 1 2 3 4" for name, wnid in
                                                    copy.listed)])


def paths(copy: Drawn) -> list[tuple[str, bytes]]:
    return ([(f"train/{wnid}/{name}", content) for wnid, name, content in copy.train]
            + [(f"val/{name}", content) for _, name, content in copy.val])


def kaggle_zip(folder: Path, copy: Drawn) -> Contents:
    with zipfile.ZipFile(folder / kaggle.ZIP, "w") as archive:
        archive.writestr(labels.SOLUTION, solution(copy))
        for path, content in paths(copy):
            archive.writestr(kaggle.TOP + path, content)
    return kaggle.fetch(folder, False, CLASSES)


def kaggle_tar(folder: Path, copy: Drawn) -> Contents:
    (folder / labels.SOLUTION).write_text(solution(copy))
    with tarfile.open(folder / kaggle.TAR, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in paths(copy):
            header = tarfile.TarInfo(kaggle.TOP + path)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return kaggle.fetch(folder, False, CLASSES)


def official(folder: Path, copy: Drawn) -> Contents:
    def of_class(wnid: str) -> Iterator[tuple[str, bytes]]:
        return ((name, content) for where, name, content in copy.train if where == wnid)

    numbers = {name: WNIDS.index(wnid) for name, wnid in copy.listed}
    ilsvrc_writer.write(folder, CLASSES, map(of_class, WNIDS),
                        ((name, content) for _, name, content in copy.val),
                        [numbers[name] for name in sorted(numbers)])
    kit = ilsvrc.devkit(folder / Y2012.devkit, known=True)
    places = chain(ilsvrc.train_places(folder, kit.classes), ilsvrc.val_places(folder))
    return layouts.assemble(folder, places, Assembly(kit.classes, kit.val_labels), ["x"])


def parquet(folder: Path, copy: Drawn, named: bool, listed: bool) -> Contents:
    order = sorted(WNIDS)
    for split, rows in (("train", copy.train), ("validation", copy.val)):
        ending = {wnid: f"_{wnid}.JPEG" if named else ".JPEG" for wnid in WNIDS}
        table = pyarrow.table({
            "image": [{"bytes": content, "path": name.replace(".JPEG", ending[wnid])}
                      for wnid, name, content in rows],
            "label": [order.index(wnid) for wnid, _, _ in rows]})
        pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    if listed:
        (folder / labels.SOLUTION).write_text(solution(copy))
    return hub.fetch(folder, False, CLASSES)


def unpacked(folder: Path, copy: Drawn) -> Contents:
    for path, content in paths(copy):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / labels.SOLUTION).write_text(solution(copy))
    lists = labels.find(labels.places(folder, folder / "val"), CLASSES)
    places = chain(layouts.in_folder(folder, "train", "train"),
                   layouts.in_folder(folder, "val", "val"))
    return layouts.assemble(folder, places, Assembly(CLASSES, lists))


FORMS: dict[str, Callable[[Path, Drawn], Contents]] = {
    "official": official, "kaggle zip": kaggle_zip, "kaggle tar": kaggle_tar,
    "hub": lambda folder, copy: parquet(folder, copy, named=True, listed=False),
    "hub, without classes in names, beside a list":
        lambda folder, copy: parquet(folder, copy, named=False, listed=True),
    "unpacked": unpacked}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(copy=copies())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_right_labels_or_a_refusal_by_name(tmp_path_factory: pytest.TempPathFactory, form: str,
                                           copy: Drawn) -> None:
    folder = tmp_path_factory.mktemp("copy")
    one_file = len({name for _, name, _ in copy.train + copy.val}) == len(copy.train + copy.val)
    if copy.refused and (one_file or form != "unpacked"):  # a folder has no name twice
        with pytest.raises(UserError) as refused:
            FORMS[form](folder, copy)
        assert copy.refused.removesuffix(".JPEG") in str(refused.value)
        return
    contents = FORMS[form](folder, copy)
    found = contents.catalogue
    assert all(read_picture(one).decode().split()[1] == WNIDS[one.label]
               for one in chain(found.train, found.val))
    assert (len(found.train), len(found.val)) == (
        len({name for _, name, _ in copy.train}), len({name for _, name, _ in copy.val}))
    if form != "hub":  # which has no list of what should be there
        assert set(contents.missing) == copy.missing


@pytest.mark.parametrize("form", [form for form in FORMS if form != "hub"])
def test_a_wrong_list_would_be_seen(tmp_path: Path, form: str) -> None:
    """The control: with two labels of the list exchanged, labels are wrong, or contradict the
    rows."""
    val = [(wnid, f"ILSVRC2012_val_{number:08}.JPEG", f"val {wnid} {number}".encode())
           for number, wnid in enumerate(WNIDS, 1)]
    listed = [(name[:23], wnid) for wnid, name, _ in [*val[2:], *val[:2]]]
    listed[0], listed[1] = (listed[0][0], listed[1][1]), (listed[1][0], listed[0][1])
    copy = Drawn([(wnid, f"{wnid}_1.JPEG", f"train {wnid} 1".encode()) for wnid in WNIDS], val,
                 listed)
    if "hub" in form:
        with pytest.raises(UserError, match=r"ILSVRC2012_val_00000003.*its folder says n02000003, "
                                            r"but the list of labels says n04000004"):
            FORMS[form](tmp_path, copy)
        return
    found = FORMS[form](tmp_path, copy).catalogue
    wrong = [one.name for one in found.val
             if read_picture(one).decode().split()[1] != WNIDS[one.label]]
    assert wrong == ["ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000004.JPEG"]


def test_hub_rows_that_nothing_confirms_are_told(tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    copy = Drawn([(wnid, f"{wnid}_1.JPEG", b"") for wnid in WNIDS],
                 [(WNIDS[0], "ILSVRC2012_val_00000001.JPEG", b"")], [])
    parquet(tmp_path, copy, named=False, listed=False)
    said = capsys.readouterr().err
    assert "validation-00000-of-00001.parquet: 1 pictures have no class in their names" in said
    assert said.count("have no class in their names") == 1  # training pictures begin with it
