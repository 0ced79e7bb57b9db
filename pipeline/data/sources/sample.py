"""The built-in sample: ten classes of patterns, generated from a seed, in the official form of
ILSVRC 2012.

`fetch` leaves the three archives in data/download; the same parameters give the same bytes.
ImageNet's oddities are in it: some grayscale pictures, one CMYK JPEG, one PNG named .JPEG, one
picture with an EXIF rotation (to be ignored, as in 2012), and one JPEG cut in half, which no
decoder can take.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config.paths import DOWNLOAD
from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import ilsvrc, ilsvrc_writer, layouts
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.ilsvrc import Y2012
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.patterns import picture
from pipeline.data.sources.planning import Plan
from pipeline.system.terminal import progress

TERMS = "The sample is drawn here, from a seed; there is nothing to agree to."
BYTES = 40_000  # of a picture's file, about
# In label order, which, as in ImageNet, is not the order of the wnids; each is drawn by its row of
# patterns.PATTERNS.
CLASSES = [
    Class("n90000007", "stripes"),
    Class("n90000003", "checks, chequerboard"),
    Class("n90000009", "polka dots"),
    Class("n90000001", "rings, target"),
    Class("n90000010", "rays, sunburst"),
    Class("n90000005", "triangles, bunting"),
    Class("n90000008", "smoke, clouds"),
    Class("n90000006", "balls"),
    Class("n90000004", "bricks, brick wall"),
    Class("n90000002", "crosses"),
]
PATTERN = Class("n90000000", "pattern")  # the root of the hierarchy: no class
TRAIN, VAL, ORDER = range(3)  # what a draw is for
# Training pictures, by index.
CMYK, PNG, ROTATED, TRUNCATED = 3, 7, 11, 14
GRAYSCALE = 31  # one in so many pictures of either split


def plan(dataset: DatasetSection) -> Plan:
    """Return the plan: nothing is fetched, the archives are drawn."""
    images = dataset.sample.train_images + dataset.sample.val_images
    return Plan(DOWNLOAD, [], images * BYTES, images)


def fetch(dataset: DatasetSection) -> Contents:
    """Write the sample's archives to data/download and list them."""
    write(DOWNLOAD, dataset.sample)
    kit = ilsvrc.devkit(DOWNLOAD / Y2012.devkit, known=True)
    places = chain(ilsvrc.train_places(DOWNLOAD, kit.classes), ilsvrc.val_places(DOWNLOAD))
    return layouts.assemble(DOWNLOAD, places, Assembly(kit.classes, kit.val_labels),
                            [Y2012.train, Y2012.val, Y2012.devkit])


def write(folder: Path, sample: SampleSection) -> None:
    """Write the three archives of this sample into `folder`, each whole or not at all.

    Picture i of the training set is of class i mod 10, and so are the validation pictures,
    shuffled.
    """
    random = np.random.Generator(np.random.Philox(key=[sample.seed, ORDER << 32]))
    labels = [int(place) % len(CLASSES)
              for place in random.random(sample.val_images).argsort(kind="stable")]
    with progress("drawing the sample", sample.train_images + sample.val_images,
                  "pictures") as advance:
        train = (_train(sample, label, advance) for label in range(len(CLASSES)))
        ilsvrc_writer.write(folder, CLASSES, train, _val(sample, labels, advance), labels,
                            [PATTERN])


def _train(sample: SampleSection, label: int,
           advance: Callable[..., None]) -> Iterator[tuple[str, bytes]]:
    for index in range(label, sample.train_images, len(CLASSES)):
        yield f"{CLASSES[label].wnid}_{index}.JPEG", encoded(sample.seed, TRAIN, index, label)
        advance(1)


def _val(sample: SampleSection, labels: list[int],
         advance: Callable[..., None]) -> Iterator[tuple[str, bytes]]:
    for index, label in enumerate(labels):
        yield f"ILSVRC2012_val_{index + 1:08}.JPEG", encoded(sample.seed, VAL, index, label)
        advance(1)


def encoded(seed: int, split: int, index: int, label: int) -> bytes:
    """Return the file of one picture: a JPEG of quality 60 to 95, or one of the oddities."""
    pixels = picture(seed, split, index, label)
    quality = 60 + (index * 17 + seed) % 36
    odd = index if split == TRAIN else None
    if odd == PNG:
        return _file(Image.fromarray(pixels), "PNG", compress_level=0)
    if odd == CMYK:  # Pillow writes CMYK as Adobe does, and takes it back: 255 - RGB without black
        ink = np.concatenate([255 - pixels, np.zeros_like(pixels[:, :, :1])], axis=2)
        return _file(Image.fromarray(ink, "CMYK"), "JPEG", quality=quality)
    if odd == ROTATED:
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: "turn right by 90 degrees to see it upright"
        return _file(Image.fromarray(pixels), "JPEG", quality=quality, exif=exif)
    if index % GRAYSCALE == GRAYSCALE // 2:
        gray = (pixels.astype(np.uint32) @ np.array([299, 587, 114],
                                                    np.uint32) // 1000).astype(np.uint8)
        return _file(Image.fromarray(gray), "JPEG", quality=quality)
    content = _file(Image.fromarray(pixels), "JPEG", quality=quality)
    return content[: len(content) // 2] if odd == TRUNCATED else content


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
