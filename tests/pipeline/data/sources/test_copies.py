"""ImageNet 2012 from wherever one may have it: the same picture has the same name, label and
bytes."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.config.parameters import load
from pipeline.config.paths import LISTING
from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching, hub, imagenet2012, kaggle, labels
from pipeline.data.sources.catalogue import Catalogue
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.imagenet2012 import Archive
from pipeline.data.sources.imagenet_classes import imagenet_classes
from pipeline.data.sources.reading import read_picture
from pipeline.system.errors import UserError
from tests.pipeline.data.sources import imagenet_copies
from tests.pipeline.data.sources.imagenet_copies import CLASSES, FORMS, LABELS, PICTURES, VAL


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


def copy(copies: Path, form: str) -> Path:
    """Written once; whoever changes it takes a copy of their own."""
    folder = copies / form.replace("/", "")
    if not folder.exists():
        return imagenet_copies.write(form, folder)
    return folder / kaggle.TOP if form.endswith("CLS-LOC") else folder


def dataset(location: Path, origin: str | None = None) -> DatasetSection:
    return DatasetSection(source="imagenet2012", location=location, origin=origin, incomplete=True,
                          sample=SampleSection(seed=0, train_images=20, val_images=10))


def official(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As if these small archives were ImageNet's."""
    contents = {name: (folder / name).read_bytes()
                for name in (Y2012.train, Y2012.val, Y2012.devkit)}
    monkeypatch.setattr(imagenet2012, "OFFICIAL",
                        {name: Archive(len(content), hashlib.md5(content).hexdigest())
                         for name, content in contents.items()})


def told(found: Catalogue) -> dict[str, list[tuple[str, int, bytes]]]:
    return {split: [(one.name, one.label, read_picture(one)) for one in entries]
            for split, entries in (("train", found.train), ("val", found.val))}


# of the list in the official kit
DIGEST = "945d64032dc26024673fe1e35161736dabd5e014b2fe06e1e209948b541d3b2c"
EXPECTED = {"train": [(name, label, content) for label, some in enumerate(PICTURES)
                      for name, content in sorted(some)], "val":
            [(name, label, content) for (name, content), label in zip(VAL, LABELS, strict=True)]}


def test_the_built_in_classes_are_those_of_the_development_kit() -> None:
    """That with the official MD5, fa75699e90414af021442c21a62c3abf; three known ones are written
    out here."""
    names = [one.wnid for one in imagenet_classes()]
    assert len(set(names)) == 1000
    assert (names[0], names[448], names[489]) == ("n02119789", "n01440764", "n01751748")
    assert imagenet_classes()[0].words == "kit fox, Vulpes macrotis"
    assert hashlib.sha256("".join(f"{one.wnid} {one.words}\n"
                                  for one in imagenet_classes()).encode()).hexdigest() == DIGEST


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pictures_have_the_same_labels_from(copies: Path, form: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(copies, form)
    if form == "archives":
        official(monkeypatch, folder)
    found = fetching.fetch(dataset(folder))
    assert found.classes == CLASSES
    assert told(fetching.load_catalogue(dataset(folder))) == EXPECTED


@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_is_counted_in(copies: Path, form: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(copies, form)
    if form == "archives":
        assert "not 147,897,477,120" in fetching.plan(dataset(folder)).problem
        official(monkeypatch, folder)
    plan = fetching.plan(dataset(folder), "all")
    assert plan.problem == ""
    if "tar.gz" in form and not plan.survey:
        assert plan.repacked  # it can be counted when it has been
        return
    assert plan.survey
    assert plan.survey.counts() == {"train": sum(map(len, PICTURES)), "val": len(VAL),
                                    "classes": 1000}
    assert plan.survey.train
    assert plan.survey.train.classes == {one.wnid: len(some) for one, some in
                                         zip(CLASSES, PICTURES, strict=True)}
    assert "1,500 of 1,281,167 training pictures in 1,000 classes" in plan.described(256)
    assert not (plan.survey.val and plan.survey.val.flat and not plan.survey.labels)


def test_one_picture_less_is_counted(copies: Path, tmp_path: Path) -> None:
    """The control of the test above, in a tar and in a zip."""
    for form in ("kaggle zip", "kaggle tar"):
        folder = Path(shutil.copytree(copy(copies, form), tmp_path / form))
        _without_one(next(file for file in folder.iterdir() if file.suffix in (".zip", ".tar")))
        survey = fetching.plan(dataset(folder), "all").survey
        assert survey
        assert survey.counts()["train"] == 1499


def _without_one(archive: Path) -> None:
    old = archive.with_name("old")
    archive.rename(old)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(old) as whole, zipfile.ZipFile(archive, "w") as part:
            names = [name for name in whole.namelist() if not name.endswith("/")]
            dropped = next(name for name in names if "/train/" in name)
            for name in names:
                if name != dropped:
                    part.writestr(name, whole.read(name))
    else:
        with tarfile.open(old) as whole, tarfile.open(archive, "w") as part:
            entries = [member for member in whole if member.isfile()]
            entries.remove(next(member for member in entries if "/train/" in member.name))
            for member in entries:
                part.addfile(member, whole.extractfile(member))
    old.unlink()


@pytest.mark.parametrize("form", ["kaggle zip of a tar.gz", "kaggle tar.gz", "hub"])
def test_what_was_repacked_is_not_repacked_again(copies: Path, form: str) -> None:
    folder = copy(copies, form)
    fetching.fetch(dataset(folder))
    first = LISTING.read_bytes()
    made = {file: file.stat().st_mtime_ns for file in folder.glob("*.tar")}
    assert made
    fetching.fetch(dataset(folder))
    assert LISTING.read_bytes() == first
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*.tar")} == made


def test_one_swapped_label_is_seen(copies: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy(copies, "kaggle unpacked"), tmp_path / "k"))
    lines = (folder / labels.SOLUTION).read_text().splitlines()
    ids = [line.split(",") for line in lines]
    ids[3][1], ids[4][1] = ids[4][1], ids[3][1]
    (folder / labels.SOLUTION).write_text("\n".join(",".join(line) for line in ids))
    fetching.fetch(dataset(folder))
    found = told(fetching.load_catalogue(dataset(folder)))
    assert found["train"] == EXPECTED["train"]
    assert sum(one != other for one, other in zip(found["val"], EXPECTED["val"], strict=True)) == 2


# What is missing or damaged.

def test_kaggle_without_its_list_of_validation_classes(copies: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy(copies, "kaggle unpacked"), tmp_path / "k"))
    (folder / labels.SOLUTION).unlink()
    with pytest.raises(UserError, match=r"(?s)there is no validation picture with a label.*"
                                          r"30 files left out, in val without a label: .*"
                                          r"30 of 50,000 validation pictures, flat; no list of "
                                          r"labels.*Kaggle's LOC_val_solution\.csv: put either"):
        fetching.fetch(dataset(folder))
    (folder / labels.SOLUTION).write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"LOC_val_solution\.csv: not Kaggle's list"):
        fetching.fetch(dataset(folder))


@pytest.mark.parametrize("form", ["kaggle zip", "kaggle tar", "kaggle tar.gz", "hub"])
def test_a_copy_cut_short_is_refused(copies: Path, tmp_path: Path, form: str) -> None:
    folder = Path(shutil.copytree(copy(copies, form), tmp_path / "k"))
    for tar in folder.glob("*.tar") if form != "kaggle tar" else ():
        tar.unlink()
    file = max(folder.iterdir(), key=lambda one: one.stat().st_size)
    file.write_bytes(file.read_bytes()[:-20_000])
    with pytest.raises(UserError, match=rf"{file.name}.*(fetch it again|cut short)"):
        fetching.fetch(dataset(folder))


def test_a_deflated_picture_with_a_flipped_bit_is_refused_or_differs(copies: Path,
                                                                     tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy(copies, "kaggle deflated zip"), tmp_path / "k"))
    fetching.fetch(dataset(folder))
    entry = fetching.load_catalogue(dataset(folder)).train[0]
    assert entry.packing == "deflate"
    content = bytearray(entry.file.read_bytes())
    for bit in range(0, (entry.size - 1) * 8, 5):  # the last byte may end in bits that mean nothing
        content[entry.offset + bit // 8] ^= 1 << bit % 8
        entry.file.write_bytes(content)
        with contextlib.suppress(UserError):
            assert read_picture(entry) != EXPECTED["train"][0][2], bit
        content[entry.offset + bit // 8] ^= 1 << bit % 8


def test_a_class_that_is_missing_or_unknown_is_named(copies: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copy(copies, "folders"), tmp_path / "k"))
    shutil.move(folder / "train/n01440764", folder / "train/n99999999")
    with pytest.raises(UserError, match=r"train/n99999999/n01440764_0\.JPEG: its folder says n99999999, "
                                          r"but its name says n01440764"):
        fetching.fetch(dataset(folder))
    shutil.rmtree(folder / "train/n99999999")
    with pytest.raises(UserError, match=r"no training picture of 1 class: n01440764"):
        fetching.fetch(dataset(folder))


def test_hub_files_that_are_missing_or_in_another_order_of_labels(copies: Path,
                                                                  tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folder = Path(shutil.copytree(copy(copies, "hub, data/"), tmp_path / "k"))
    for tar in folder.rglob("*.tar"):
        tar.unlink()
    part = folder / "data/train-00001-of-00003.parquet"
    table = pyarrow.parquet.read_table(part)
    labels = table["label"].to_pylist()
    labels[5] = (labels[5] + 1) % 1000
    pyarrow.parquet.write_table(table.set_column(1, "label", pyarrow.array(labels)), part)
    with pytest.raises(UserError,
                       match=r"train-00001-of-00003\.parquet: n\d{8}_\d+\.JPEG has the label"):
        fetching.fetch(dataset(folder))
    part.unlink()
    with pytest.raises(UserError, match=r"lacks train-00001-of-00003\.parquet \(1 such"):
        fetching.fetch(dataset(folder))


@pytest.mark.parametrize(("change", "message"), [
    (lambda header: header[:8] + struct.pack("<H", 99) + header[10:], "packed in a way"),
    (lambda header: header[:6] + struct.pack("<H", 1) + header[8:], "encrypted"),
])
def test_zip_members_that_no_copy_has_are_refused(copies: Path, tmp_path: Path, change: object,
                                                  message: str) -> None:
    folder = Path(shutil.copytree(copy(copies, "kaggle zip"), tmp_path / "k"))
    content = (folder / kaggle.ZIP).read_bytes()
    at = content.rindex(b"PK\1\2", 0, content.rindex(b"Data/CLS-LOC/train"))
    header = content[at + 2: at + 32]
    (folder / kaggle.ZIP).write_bytes(content[: at + 2] + change(header)
                                      + content[at + 32:])  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        fetching.fetch(dataset(folder))


# What would be fetched.

@pytest.mark.parametrize(("origin", "parts"), [
    ("official",
     ["to be fetched: 3 files", "https://image-net.org/data/ILSVRC/2012/ILSVRC2012_img_train.tar",
      "147.9 GB", "disk for the download: 154.6 GB"]),
    ("https://a/b/", ["https://a/b/ILSVRC2012_img_val.tar"]),
    ("kaggle", [kaggle.ADDRESS, "167.6 GB"]), ("huggingface", [hub.ADDRESS, "154.0 GB"]),
    (None, ["to be put there by you: 3 files", imagenet2012.REGISTRATION])])
def test_the_plan_names_addresses_sizes_disk_and_terms(tmp_path: Path, origin: str | None,
                                                       parts: list[str]) -> None:
    usual = load(Path(__file__).parents[4] / "params.yaml", ["dataset.source=imagenet2012"])
    text = fetching.dry_run(usual.model_copy(update={"dataset": dataset(tmp_path, origin)}))
    for part in [*parts, "about 1,331,167 images: 261.7 GB raw or 42.6 GB as JPEG, free: ",
                 "non-commercial research"]:
        assert part in text
    assert list(tmp_path.iterdir()) == [tmp_path / "project"]


# Clients that are not installed.

@pytest.mark.parametrize(("origin", "package", "page"), [
    ("kaggle", "kaggle", kaggle.ADDRESS), ("huggingface", "huggingface_hub", hub.ADDRESS)])
def test_a_missing_client_is_named_with_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 origin: str, package: str, page: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UserError) as refused:
        fetching.fetch(dataset(tmp_path, origin))
    assert f"pip install {package}" in str(refused.value)
    assert page in str(refused.value)
