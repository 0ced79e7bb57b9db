"""The thousand classes of ILSVRC 2012, for copies that come without the development kit."""

from __future__ import annotations

import functools
from pathlib import Path

from pipeline.data.sources.catalogue import Class

# wnid and words, in the order of the development kit's ids
FILE = Path(__file__).with_name("ilsvrc2012_classes.txt")


@functools.cache
def imagenet_classes() -> list[Class]:
    """Return the classes in label order: that of the development kit's ids."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [Class(*line.split(" ", 1)) for line in lines]
