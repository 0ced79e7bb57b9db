"""Imagenette: ten easily told classes of ImageNet, 9,469 + 3,925 pictures with a shorter side of
320 (fast.ai).

The archive imagenette2-320.tgz is fetched, unless it or the folders unpacked from it are in
`dataset.location`. Labels are in the order of the wnids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import layouts, public
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.planning import Plan, RemoteFile
from pipeline.data.sources.repack import in_compressed_tar
from pipeline.system.terminal import progress

TERMS = ("Imagenette (fast.ai, https://github.com/fastai/imagenette) is under the Apache License "
         "2.0; its pictures are ImageNet's, which gives them for non-commercial research and "
         "teaching.")
ARCHIVE = RemoteFile("imagenette2-320.tgz",
                     "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz", 341_663_724,
                     "3df6f0d01a2c9592104656642f5e78a3")
TAR, TAR_BYTES = "imagenette2-320.tar", 352_000_000  # about
TOP = "imagenette2-320/"
IMAGES = 9_469 + 3_925
CLASSES = [
    Class("n01440764", "tench, Tinca tinca"),
    Class("n02102040", "English springer, English springer spaniel"),
    Class("n02979186", "cassette player"),
    Class("n03000684", "chain saw, chainsaw"),
    Class("n03028079", "church, church building"),
    Class("n03394916", "French horn, horn"),
    Class("n03417042", "garbage truck, dustcart"),
    Class("n03425413", "gas pump, gasoline pump, petrol pump, island dispenser"),
    Class("n03445777", "golf ball"),
    Class("n03888257", "parachute, chute"),
]


def plan(dataset: DatasetSection) -> Plan:
    """Return what `fetch` would download and repack."""
    return public.plan(dataset, ARCHIVE, TAR, TAR_BYTES, IMAGES)


def fetch(dataset: DatasetSection) -> Contents:
    """Put the data set in place; raise UserError when the archive is not the right one, or cannot
    be fetched."""
    return public.fetch(dataset, ARCHIVE, TAR, TAR_BYTES, CLASSES, _pictures)


def _pictures(archive: Path) -> Iterator[tuple[str, bytes]]:
    with archive.open("rb") as stream, progress(f"repacking {archive.name}", IMAGES,
                                                "pictures") as advance:
        for path, content in in_compressed_tar(stream, str(archive)):
            if path.startswith(TOP) and layouts.is_picture(path.rpartition("/")[2]):
                yield path.removeprefix(TOP), content
                advance(1)
