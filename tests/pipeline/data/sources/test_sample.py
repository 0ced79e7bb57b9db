"""The built-in sample: a pure function of its parameters, with ImageNet's oddities, spread over ten
classes."""

import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config.sections import SampleSection
from pipeline.data.sources import sample
from pipeline.data.sources.catalogue import Catalogue
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.patterns import PATTERNS, picture
from pipeline.data.sources.reading import read_picture
from tests.pipeline.data.sources.imagenet_copies import official_catalogue

ARCHIVES = (Y2012.train, Y2012.val, Y2012.devkit)


def made(folder: Path, seed: int = 7, train: int = 40, val: int = 30) -> Catalogue:
    sample.write(folder, SampleSection(seed=seed, train_images=train, val_images=val))
    return official_catalogue(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made(path := tmp_path_factory.mktemp("sample"))
    return path


def opened(catalogue: Catalogue, index: int) -> Image.Image:
    """Training picture `index`, by the number in its name."""
    entry, = (entry for entry in catalogue.train if entry.name.endswith(f"_{index}.JPEG"))
    return Image.open(io.BytesIO(read_picture(entry)))


def test_pixels_are_those_of_every_other_machine() -> None:
    """Computed on x86-64 with and without AVX2 and FMA, all the same; a change here changes
    everybody's results."""
    digest = hashlib.sha256()
    for label in range(10):
        digest.update(picture(2012, 0, label, label).tobytes())
    assert digest.hexdigest() == "22ad1e9d2dadade2b3e1587acd6a26a9cebcb651dcc570c0ed418e6d652eb489"


def test_same_parameters_same_bytes_other_seed_other_bytes(folder: Path, tmp_path: Path) -> None:
    made(tmp_path / "again")
    made(tmp_path / "other", seed=8)
    for name in ARCHIVES:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (folder / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_a_picture_does_not_depend_on_how_many_there_are(folder: Path, tmp_path: Path) -> None:
    few = {entry.name: read_picture(entry) for entry in made(tmp_path, train=20).train}
    many = {entry.name: read_picture(entry) for entry in official_catalogue(folder).train}
    assert few.items() <= many.items()
    assert len(set(many.values())) == 40


@settings(max_examples=4)
@given(train=st.integers(20, 33), val=st.integers(10, 25), seed=st.integers(0, 2**32 - 1))
def test_counts_are_exact_and_spread_evenly(tmp_path_factory: pytest.TempPathFactory, train: int,
                                            val: int, seed: int) -> None:
    catalogue = made(tmp_path_factory.mktemp("x"), seed, train, val)
    for split, count in ((catalogue.train, train), (catalogue.val, val)):
        assert len(split) == len({entry.name for entry in split}) == count
        each = Counter(entry.label for entry in split)
        assert len(each) == 10
        assert max(each.values()) - min(each.values()) <= 1
    assert catalogue.classes == sample.CLASSES


def test_validation_classes_are_shuffled(folder: Path) -> None:
    labels = [entry.label for entry in official_catalogue(folder).val]
    assert labels != sorted(labels)
    assert labels[:10] != labels[10:20]


def test_labels_are_those_of_the_pictures(folder: Path) -> None:
    catalogue = official_catalogue(folder)
    for entry in catalogue.val:
        number = int(entry.name[-13:-5]) - 1
        assert read_picture(entry) == sample.encoded(7, sample.VAL, number, entry.label)
        assert read_picture(entry) != sample.encoded(7, sample.VAL, number, (entry.label + 1) % 10)


def test_oddities_are_there_from_the_smallest_sample_on(tmp_path: Path) -> None:
    catalogue = made(tmp_path, train=20, val=16)
    forms = Counter((image.format, image.mode)
                    for image in (opened(catalogue, index) for index in range(20)))
    assert forms == {("JPEG", "RGB"): 17, ("JPEG", "CMYK"): 1, ("PNG", "RGB"): 1, ("JPEG", "L"): 1}
    assert opened(catalogue, sample.CMYK).mode == "CMYK"
    assert opened(catalogue, sample.PNG).format == "PNG"
    assert [index for index in range(20)
            if opened(catalogue, index).getexif().get(0x0112)] == [sample.ROTATED]
    assert opened(catalogue, sample.ROTATED).getexif()[0x0112] == 6
    with pytest.raises(OSError, match="truncated"):
        opened(catalogue, sample.TRUNCATED).load()
    for index in set(range(20)) - {sample.TRUNCATED}:
        opened(catalogue, index).load()
    for entry in catalogue.val:
        image = Image.open(io.BytesIO(read_picture(entry)))
        image.load()
        assert image.format == "JPEG"


@pytest.mark.parametrize("index", [0, sample.CMYK, sample.PNG, sample.ROTATED])
def test_decoded_colours_are_those_drawn(tmp_path: Path, index: int) -> None:
    """Beside the pixels that were drawn: within what JPEG loses, and not rotated, nor CMYK turned
    inside out."""
    decoded = np.asarray(opened(made(tmp_path, train=20, val=10), index).convert("RGB")).astype(int)
    drawn = picture(7, sample.TRAIN, index, index % 10)
    assert decoded.shape == drawn.shape
    assert abs(decoded - drawn).mean() < (12 if index != sample.PNG else 1e-9)
    assert abs(255 - decoded - drawn).mean() > 12


def test_sizes_vary_as_those_of_photographs() -> None:
    shapes = [picture(1, 0, index, 7).shape for index in range(100)]
    short = [min(shape[:2]) for shape in shapes]
    aspects = [max(shape[:2]) / min(shape[:2]) for shape in shapes]
    assert min(short) >= 120
    assert max(short) <= 400
    assert 0.5 < sum(side < 256 for side in short) / 100 < 0.9
    assert 2 < max(aspects) <= 3.05
    assert 0.1 < sum(height > width for height, width, _ in shapes) / 100 < 0.5
    assert 55_000 < np.mean([height * width for height, width, _ in shapes]) < 105_000


@pytest.mark.parametrize("label", range(len(PATTERNS)))
def test_a_pattern_fills_its_range(label: int) -> None:
    y = (np.arange(200, dtype=np.float32)[:, None] - 100) / 200
    x = (np.arange(240, dtype=np.float32)[None, :] - 120) / 200
    for seed in range(20):
        mask = PATTERNS[label](np.random.Generator(np.random.Philox(seed)), x + 0 * y, y + 0 * x)
        assert mask.dtype == np.float32
        assert mask.shape == (200, 240)
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert mask.max() - mask.min() > 0.7
        assert 0.03 < mask.mean() < 0.97


def test_colour_alone_does_not_tell_the_classes() -> None:
    """The nearest class by mean colour: above chance, for colour leans, but two classes share each
    hue."""
    colours = np.array([picture(3, 0, index, index % 10).reshape(-1, 3).mean(axis=0)
                        for index in range(120)])
    means = np.array([colours[label:60:10].mean(axis=0) for label in range(10)])
    nearest = ((colours[60:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.15 < (nearest == np.arange(60, 120) % 10).mean() < 0.6
