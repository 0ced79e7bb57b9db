"""Is a data set whole? What is there is held against what is known of it, split by split and class
by class: `problem` and `differences` tell what has fewer pictures or more."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.config.datasets import BY_NAME, Expected
from pipeline.data.sources.catalogue import Contents

SHOWN = 5  # classes or keys named in a message


SPLITS = {"train": "training", "val": "validation"}


def problem(source: str, contents: Contents, incomplete: bool) -> str:
    """Return why the data set cannot be used; nothing if it can: it is whole, as far as that is
    known, or `incomplete` says that it is meant to be a part."""
    empty = np.flatnonzero(_counts(contents, "train") == 0)
    if len(empty):
        return f"there is no training picture of {_named(contents, empty)}"
    if not len(contents.catalogue.val):
        return "there is no validation picture with a label"
    if BY_NAME[source].expected and not incomplete and differences(source, contents):
        return ("the data set is not whole; if it is meant to be a part, set dataset.incomplete "
                "to true, which records and reports say")
    return ""


def _counts(contents: Contents, split: str) -> Any:
    labels = getattr(contents.catalogue, split).labels()
    return np.bincount(labels, minlength=len(contents.catalogue.classes))


def _named(contents: Contents, classes: Any) -> str:
    names = [contents.catalogue.classes[label].wnid for label in classes[:SHOWN]]
    return (f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'}: {', '.join(names)}"
            f"{', ...' * (len(classes) > SHOWN)}")


def differences(source: str, contents: Contents) -> list[str]:
    """Return what is not as it should be, in sentences."""
    lines = []
    for split, expected in BY_NAME[source].expected.items():
        if split == "train" and sum(contents.train_counts) == expected.pictures:
            # the kit is that of this data set: it knows each class
            expected = Expected.exactly(*contents.train_counts)
        counts = _counts(contents, split)
        if counts.sum() != expected.pictures:
            lines.append(f"{counts.sum():,} of {expected.pictures:,} {SPLITS[split]} pictures are "
                         "there")
        for word, wrong in (("too few", counts < expected.fewest),
                            ("too many", counts > expected.most)):
            if wrong.any():
                lines.append(f"{word} {SPLITS[split]} pictures: "
                             f"{_classes(contents, np.flatnonzero(wrong), counts, expected)}")
    lines += contents.strays.lines()
    if contents.missing:
        names = ", ".join(contents.missing[:SHOWN])
        lines.append(f"{len(contents.missing):,} labelled validation "
                     f"{'picture is' if len(contents.missing) == 1 else 'pictures are'} not there: "
                     f"{names}{', ...' * (len(contents.missing) > SHOWN)}")
    return lines


def _classes(contents: Contents, labels: Any, counts: Any, expected: Expected) -> str:
    few, many = (np.broadcast_to(bound, len(counts)) for bound in (expected.fewest, expected.most))
    parts = [f"{contents.catalogue.classes[k].wnid} ({counts[k]:,} of "
             f"{few[k]:,}{f' to {many[k]:,}' * bool(few[k] != many[k])})" for k in labels[:SHOWN]]
    return (f"{', '.join(parts)}{', ...' * (len(labels) > SHOWN)}; {len(labels):,} of "
            f"{len(counts):,} classes")

