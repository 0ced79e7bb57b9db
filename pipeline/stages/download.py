"""The `download` stage: puts the data set in place, verifies it, and leaves a listing and an index
in data/download.

listing.json has the classes, in label order, and each file with its size and checksums;
index.parquet has every picture, and where it lies. Same data, same bytes, wherever the data lies.
For the sample, data/download holds the archives too; other data sets stay in `dataset.location`, or
are downloaded to it. data/left_out.json has the files of its folder that are not taken.
"""

from __future__ import annotations

import hashlib
import shutil

from pipeline.config.parameters import Parameters
from pipeline.config.paths import DOWNLOAD, FILES_LEFT_OUT, LISTING
from pipeline.config.sections import DatasetSection
from pipeline.data.sources import fetching
from pipeline.data.sources.left_out import read_account
from pipeline.data.sources.planning import data_folder
from pipeline.system.errors import UserError

ARTIFACTS = (FILES_LEFT_OUT,)


def run(parameters: Parameters) -> dict[str, int | str]:
    """Run the stage.

    Returns:
        files, bytes, classes: how many; left_out, unlabelled and missing: how many files are no
        pictures, how many pictures have no label, how many labels no picture; listing_digest: the
        sha256 of the listing, in hex.

    Raises:
        UserError: something of the data set is missing or damaged, or cannot be downloaded.
    """
    _clear(parameters.dataset)
    listing = fetching.fetch(parameters.dataset)
    files = size = 0
    for file in listing.files:
        files, size = files + 1, size + file.bytes
    return {"files": files, "bytes": size, "classes": len(listing.classes),
            **read_account().counts(),
            "listing_digest": hashlib.sha256(LISTING.read_bytes()).hexdigest()}


def _clear(dataset: DatasetSection) -> None:
    """Empty data/download, as `dvc repro` does: it must not depend on what was there before."""
    if (dataset.source != "sample"
            and data_folder(dataset).resolve().is_relative_to(DOWNLOAD.resolve())):
        raise UserError(f"dataset.location: {dataset.location} is within {DOWNLOAD}, which this "
                        "stage empties; move it elsewhere")
    for old in DOWNLOAD.iterdir() if DOWNLOAD.exists() else ():
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink()
