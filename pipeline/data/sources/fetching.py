"""`fetch` puts a data set in place, lists it and finds its pictures; `load_catalogue` has them
again; `plan` says what `fetch` would do."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.paths import ARCHIVES, FILES_LEFT_OUT, INDEX, LISTING, WORK
from pipeline.data.disk import check_writable
from pipeline.data.sources import completeness, labels, layouts, recognition
from pipeline.data.sources.catalogue import EXAMPLES, Catalogue, Contents, ListedFile, Listing
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.index import FileNames, read_index, write_index
from pipeline.data.sources.left_out import write_account
from pipeline.data.sources.listing import read_listing, write_listing
from pipeline.data.sources.planning import Plan, data_folder
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.terminal import say

if TYPE_CHECKING:
    from pipeline.config.parameters import Parameters
    from pipeline.config.sections import DatasetSection

TERMS_SAID = WORK / "terms.json"


def fetch(dataset: DatasetSection) -> Listing:
    """Put the data set in place and verify it; leave its listing and the index of its pictures in
    data/download, and what of its files is not taken in data/left_out.json.

    Raises:
        UserError: something is missing or damaged, or cannot be downloaded; or the data set is not
            whole, and `dataset.incomplete` does not say that it is a part.
    """
    if (dataset.location and dataset.data_set.files == "fetched"
            and not dataset.location.is_dir()):
        raise UserError(f"dataset.location: {dataset.location}: no such folder; make it, or name "
                        "the one that holds the data set's files or shall hold them, or set it to "
                        f"null for {ARCHIVES}")
    planned = plan(dataset)
    if planned.download and not planned.by_hand:
        check_writable(planned.folder, "name another folder as dataset.location")
    _say_terms(dataset, planned)
    contents: Contents = _source(dataset).fetch(dataset)
    if contents.files is None:
        _note_what_is_beside(dataset, contents)
    write_account(contents)
    _check_whole(dataset, contents)
    catalogue = contents.catalogue
    files: Iterable[str] = (FileNames(catalogue.train, catalogue.val) if contents.files is None
                            else contents.files)
    write_index(INDEX, {"train": catalogue.train, "val": catalogue.val})
    return write_listing(LISTING, dataset.source, catalogue.classes, _made_with(dataset),
                         checksums(data_folder(dataset), files, contents.algorithms))


def _note_what_is_beside(dataset: DatasetSection, contents: Contents) -> None:
    """Count what lies beside the folders of the splits, by its name: a folder there is not looked
    into."""
    root = data_folder(dataset)
    train, val = recognition.find_splits(root, dataset.source)
    read = {(root / split).name for split in (train, val) if split}
    for item in layouts.scan((root / (train or val or "")).parent):
        if not (item.name in read or item.name in labels.KNOWN_FILES
                or item.name.startswith(layouts.HIDDEN)
                or recognition.ARCHIVE.search(item.name)):
            contents.left_out.add("beside train and val", item.name + "/" * item.is_dir())


def _check_whole(dataset: DatasetSection, contents: Contents) -> None:
    for line in contents.left_out.lines():
        say(line)
    if any(count > EXAMPLES for files in (contents.left_out, contents.strays)
           for count in files.counts.values()) or len(contents.missing) > completeness.SHOWN:
        say(f"{FILES_LEFT_OUT} lists all files that are left out or missing")
    differences = completeness.differences(dataset.source, contents)
    problem = completeness.problem(dataset.source, contents, dataset.incomplete)
    if problem:
        text = "\n  ".join([problem, *differences])
        if contents.files is None:
            raise recognition.refusal(data_folder(dataset), dataset.source, text)
        raise UserError(f"{data_folder(dataset)}: {text}")
    for line in differences:
        say(line)


def _made_with(dataset: DatasetSection) -> dict[str, int]:
    return dataset.sample.model_dump() if dataset.source == "sample" else {}


def plan(dataset: DatasetSection, count: Literal["no", "fast", "all"] = "no") -> Plan:
    """Return what `fetch` would do.

    `count`: whether to count what archives hold: only where that is fast, or wherever it can be
    done.

    Raises:
        UserError: an archive is damaged, or the folder holds several data sets.
    """
    planned: Plan = _source(dataset).plan(dataset)
    if planned.count and (count == "all" or (count == "fast" and not planned.slow)):
        planned = replace(planned, survey=planned.count())
    if planned.survey and dataset.incomplete:
        counts = planned.survey.counts()
        return replace(planned, images=counts["train"] + counts["val"])
    return planned


def terms(dataset: DatasetSection) -> str:
    """Return the data set's licence, in a sentence or two."""
    text: str = _source(dataset).TERMS
    return text


def _say_terms(dataset: DatasetSection, planned: Plan) -> None:
    """Say the terms before the first download of a data set, and not again when it goes on."""
    if not planned.fetched or planned.by_hand:
        return
    try:
        said = json.loads(TERMS_SAID.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = []
    if dataset.source not in said:
        say(terms(dataset))
        write_json(TERMS_SAID, [*said, dataset.source])


def load_catalogue(dataset: DatasetSection) -> Catalogue:
    """Return every picture of the data set that `alexnet download` has listed.

    Raises:
        UserError: there is no listing, it is of other parameters, or the files have changed since.
    """
    listing = read_listing(LISTING)
    made_with = _made_with(dataset)
    if (listing.source, listing.made_with) != (dataset.source, made_with):
        raise UserError(f"{LISTING}: of dataset.source {listing.source} {listing.made_with or ''}, "
                        f"but the parameters say {dataset.source} {made_with or ''}; run "
                        "`alexnet download` again")
    check_in_place(data_folder(dataset), listing.files)
    return Catalogue(listing.classes, **read_index(INDEX, data_folder(dataset), ("train", "val")))


def change_stamp(dataset: DatasetSection) -> str:
    """Return a digest of the sizes and times of change of the listed files: another one when one of
    them has been written to."""
    digest = hashlib.sha256()
    for file in read_listing(LISTING).files:
        try:
            stat = (data_folder(dataset) / file.name).stat()
            digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except OSError as error:
            digest.update(f"{file.name} {error.strerror}\n".encode())
    return digest.hexdigest()


def check_in_place(folder: Path, files: Iterable[ListedFile]) -> None:
    """See that the listed files are in the folder, each of its listed size.

    Raises:
        UserError: naming the first that is not.
    """
    for file in files:
        path = folder / file.name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}, but in {LISTING}; run `alexnet download` "
                            "again") from None
        if size != file.bytes:
            raise UserError(f"{path}: {size} bytes, but {file.bytes} in {LISTING}; run "
                            "`alexnet download` again")


def dry_run(parameters: Parameters) -> str:
    """Return the plan for these parameters, with the data set's terms, in words."""
    dataset = parameters.dataset
    return f"{plan(dataset, 'all').described(parameters.resize.side)}\n{terms(dataset)}"


def dry_run_json(parameters: Parameters) -> dict[str, Any]:
    """Return the plan for these parameters as plain values; sizes are bytes, null where they are
    not known."""
    planned = plan(parameters.dataset, "all")
    values = planned.as_json(parameters.resize.side, parameters.store.encoding)
    return values | {"terms": terms(parameters.dataset)}


def _source(dataset: DatasetSection) -> Any:
    return importlib.import_module(f"pipeline.data.sources.{dataset.source}")
