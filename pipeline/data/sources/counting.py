"""How many pictures lie in archives, by the archives' own tables: no picture is read.

`survey` counts the paths in tars, zips and Parquet files as `recognition.survey` counts files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.data.sources.catalogue import Place
from pipeline.data.sources.layouts import SPLITS, is_picture, opened_zip
from pipeline.data.sources.recognition import Split, Survey


def survey(location: Path, files: Iterable[tuple[str, str]], labels: Sequence[str] = ()) -> Survey:
    """Count what archives hold.

    Args:
        location: the data set's folder.
        files: the name of an archive, and the path of a file in it: train/<class>/<name>,
            val/<name> or val/<class>/<name>.
        labels: the files that hold the labels of validation pictures.

    Raises:
        UserError: an archive is damaged.
    """
    archives: dict[str, dict[str, None]] = {split: {} for split in SPLITS}
    classes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    flat: Counter[str] = Counter()
    for archive, path in files:
        split, *folders, name = path.split("/")
        if split not in SPLITS or not is_picture(name):
            continue
        archives[split][archive] = None
        if folders:
            classes[split][folders[0]] += 1
        else:
            flat[split] += 1
    train, val = (Split(_named(list(archives[split])), dict(classes[split]), flat[split])
                  if archives[split] else None for split in SPLITS)
    names = sorted({*archives["train"], *archives["val"]})
    return Survey(location, train, val, list(labels), names, names)


def _named(archives: list[str]) -> str:
    return archives[0] + (f" and {len(archives) - 1} more" if archives[1:] else "")


def of_places(places: Iterable[Place]) -> Iterator[tuple[str, str]]:
    """Yield archive and path of each place."""
    return ((place.file, place.path) for place in places)


def in_zip(root: Path, archive: str, top: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of the zip and the path of each file in it that is below `top`.

    Raises:
        UserError: it is no whole zip.
    """
    with opened_zip(root / archive) as directory:
        for name in directory.namelist():
            if name.startswith(top) and not name.endswith("/"):
                yield archive, name.removeprefix(top)
