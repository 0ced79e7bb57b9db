"""Writes a data set in the official form of ILSVRC (pipeline.data.sources.ilsvrc reads it); same
input, same bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.ilsvrc import Y2010, Y2012, Year
from pipeline.system.files import atomic_write

Pictures = Iterable[tuple[str, bytes]]  # name and content


def write(folder: Path, classes: Sequence[Class], train: Iterable[Pictures], val: Pictures,
          val_labels: Sequence[int], ancestors: Sequence[Class] = (), year: Year = Y2012,
          train_counts: Sequence[int] = ()) -> None:
    """Write the three archives into `folder`.

    Args:
        classes: in label order; those of the archive are in the order of the wnids, as ImageNet's
            are.
        train: the pictures of each class, in label order; taken lazily, one class in memory at a
            time.
        val: in order of name; `val_labels` are theirs.
        ancestors: inner nodes of the hierarchy, which are no classes.
        train_counts: how many training pictures meta.mat says that each class has; 0 if not given.
    """
    with atomic_write(folder / year.train) as stream:
        _write_tar(stream, ((f"{one.wnid}.tar", _tar(pictures))
                            for one, pictures in zip(classes, train, strict=True)))
    with atomic_write(folder / year.val) as stream:
        _write_tar(stream,
                   ((f"val/{name}" if year is Y2010 else name, content) for name, content in val))
    truth = "".join(f"{label + 1}\n" for label in val_labels).encode()
    with (atomic_write(folder / year.devkit) as stream,
          gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=stream, mtime=0) as plain):
        _write_tar(plain, [(year.meta, _meta(classes, ancestors, year, train_counts)),
                           (year.truth_path, truth)])


def _write_tar(stream: IO[bytes] | gzip.GzipFile, members: Pictures) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)  # owner 0, time 0, mode 644
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


def _tar(members: Pictures) -> bytes:
    stream = io.BytesIO()
    _write_tar(stream, members)
    return stream.getvalue()


def _meta(classes: Sequence[Class], ancestors: Sequence[Class], year: Year,
          train_counts: Sequence[int]) -> bytes:
    """Return meta.mat: the struct array `synsets`, leaves first, ids from 1, with the fields of the
    original."""
    from scipy.io import savemat

    fields = [year.number, "WNID", "words", "gloss", "num_children", "children", "wordnet_height",
              "num_train_images"]
    synsets = np.empty((len(classes) + len(ancestors), 1), [(field, object) for field in fields])
    leaves = list(range(1, len(classes) + 1))
    for row, one in enumerate([*classes, *ancestors]):
        children = [] if row < len(classes) else leaves
        synsets[row, 0] = (row + 1, one.wnid, one.words, one.words, len(children),
                           np.array(children, np.uint16), int(bool(children)),
                           train_counts[row] if row < len(train_counts) else 0)
    stream = io.BytesIO()
    savemat(stream, {"synsets": synsets})
    heading = f"MATLAB 5.0 MAT-file: {year.number[:6]} {year.number[6:10]} development kit"
    # scipy's own heading has the time of day in it
    return heading.encode().ljust(116) + stream.getvalue()[116:]
