"""Every picture decoded, its shorter side brought to 256, the central 256x256 kept; yields the
image store, data/store.

Each task of the executor makes one shard of up to 1,024 images: which images is settled before any
is decoded, so nothing depends on the number of workers. Finished shards wait in work/resize/<key>,
where the key is a digest of all that decides them; a run that was killed goes on with those it
finds there. At the end the store is moved into place in one step. (DVC removes data/store before it
runs the stage, so half-finished work cannot be kept there.)
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from pipeline.config.parameters import Parameters
from pipeline.config.paths import LISTING, STORE, WORK
from pipeline.config.sections import ResizeSection
from pipeline.config.stages import code_digest
from pipeline.data.disk import check_writable, free, same_disk
from pipeline.data.moments import Moments
from pipeline.data.pixels import SIDE, decoder, describe_decoder
from pipeline.data.quarantine import check_classes, check_number, summary
from pipeline.data.shard_worker import Shard, finished_shard, make_shard, read_record
from pipeline.data.shards import Encoding
from pipeline.data.sources import fetching
from pipeline.data.sources.catalogue import Catalogue, Picture
from pipeline.data.sources.index import PictureTable
from pipeline.data.store import (
    DOUBTFUL,
    FORMATS,
    QUARANTINE,
    SHARD_IMAGES,
    SPLITS,
    Quarantined,
    publish_description,
    store_parameters,
)
from pipeline.system import errors
from pipeline.system.errors import UserError
from pipeline.system.executors import cluster, process_pool
from pipeline.system.files import exclusive_lock, read_json, sync_folder, write_json
from pipeline.system.project import CODE
from pipeline.system.terminal import progress, say

DECODER = "decoder.json"  # in the work folder: who makes its shards
STAMP = "stamp"  # there, too: of the files that they are made of
# shards handed to the executor at a time: more than any cluster's workers, and some 50 MB
IN_FLIGHT = 512
LISTED = 20  # pictures in quarantine, at most, that have a line each
SHARE: dict[Encoding, float] = {"raw": 1.0, "jpeg": 0.25}  # of the pixels' bytes, at most or so


def prepare(parameters: Parameters) -> dict[str, Any]:
    """Make the image store, data/store, of the data set that `alexnet download` has listed.

    Returns:
        images, train_images, val_images and quarantined: how many; doubtful: how many are stored
        although their files are damaged, where any are; pixels_digest, of all pixels and labels.

    Raises:
        UserError: too many undecodable images, a full disk, a missing or changed source, a killed
            worker.
    """
    catalogue = fetching.load_catalogue(parameters.dataset)
    listing = hashlib.sha256(LISTING.read_bytes()).hexdigest()
    execution = parameters.execution
    workers = (cluster(execution.scheduler) if execution.scheduler
               else process_pool(execution.workers))
    with workers as executor:
        return make_store(catalogue, listing, parameters.resize,
                          executor, WORK / "resize", STORE, parameters.store.encoding,
                          functools.partial(fetching.change_stamp, parameters.dataset),
                          store_parameters(parameters))


def make_store(catalogue: Catalogue, listing: str, settings: ResizeSection, executor: Executor,
               work: Path, store: Path, encoding: Encoding = "raw",
               stamp: Callable[[], str] = str,
               made_with: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Make the store of this catalogue; `listing` is a digest of the contents of its files. Returns
    the metrics.

    `stamp` gives another text when these files have been written to since. `made_with`, the
    parameters, goes into the store's description, against which those who read it check theirs.
    """
    _check_place(work, store, settings.side, encoding, len(catalogue.train) + len(catalogue.val))
    made_by = decoder()
    say(f"decoder: {made_by['library']}, libjpeg {made_by['libjpeg']}, fingerprint "
        f"{made_by['fingerprint']}")
    key = _key(catalogue, listing, settings, encoding, made_by)
    with exclusive_lock(work / "lock", "another `alexnet resize`"):
        folder = work / key
        _forget_work_of_other_files(folder, stamp())
        _tell_of_other_work(folder, made_by)
        shards = _Shards(catalogue, settings, folder, encoding, made_by["fingerprint"])
        try:
            quarantined = _make(shards, folder, settings.max_quarantined, executor)
            _check_unchanged(folder, stamp())
            metrics = _publish(shards, folder / "store", catalogue, quarantined,
                               {"decoder": made_by, "order_seed": settings.order_seed,
                                "filter": settings.filter,
                                "parameters": dict(made_with or {})}, encoding, store)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            remedy = errors.REMEDIES[error.errno]
            raise UserError(f"{folder}: {error.strerror}; {remedy}, and give the same command "
                            "again") from None
        for stale in (path for path in work.iterdir() if path.is_dir()):
            shutil.rmtree(stale)
        (work / QUARANTINE).unlink(missing_ok=True)  # it is in the store
    return metrics


def stored_order(names: list[str], seed: int) -> list[int]:
    """Return the one shuffle of the training set: positions in `names`, in the order in which they
    are stored.

    It follows from the seed and the sorted names alone: the k-th of these gets the k-th 64-bit
    output of numpy's Philox generator with the seed as its key, and the outputs are sorted. As in
    2012, where images were shuffled once, when they were written into batches.

    Raises:
        UserError: two pictures have one name.
    """
    by_name = sorted(range(len(names)), key=names.__getitem__)
    for first, second in itertools.pairwise(by_name):
        if names[first] == names[second]:
            raise UserError(f"two training images are named {names[first]!r}, and a name is an "
                            "image's key; rename one of them")
    drawn = np.random.Philox(key=seed).random_raw(len(names))
    return [by_name[k] for k in np.argsort(drawn, kind="stable")]


def _names(pictures: Sequence[Picture]) -> list[str]:
    return (pictures.names if isinstance(pictures, PictureTable)
            else [picture.name for picture in pictures])


def _labels(pictures: Sequence[Picture]) -> list[int]:
    labels: list[int] = (pictures.labels().tolist() if isinstance(pictures, PictureTable)
                         else [picture.label for picture in pictures])
    return labels


class _Shards(Sequence[Shard]):
    """All shards of a store: which images each holds is settled before any is decoded. A shard is
    made when it is asked for, so that there are never objects for all images."""

    def __init__(self, catalogue: Catalogue, settings: ResizeSection, folder: Path,
                 encoding: Encoding, fingerprint: str) -> None:
        self._pictures = {"train": catalogue.train, "val": catalogue.val}
        order = stored_order(_names(catalogue.train), settings.order_seed)
        indices = {"train": np.array(order, np.int64), "val": np.arange(len(catalogue.val))}
        self._parts = [(split, number, indices[split][start: start + SHARD_IMAGES])
                       for split in SPLITS
                       for number, start in enumerate(range(0, len(indices[split]), SHARD_IMAGES))]
        self._bare = Shard("train", 0, (), str(folder.absolute()), os.getcwd(), fingerprint,
                           code_digest("resize", CODE), settings.side, settings.filter,
                           settings.mode, encoding)

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Shard: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Shard]: ...
    def __getitem__(self, index: int | slice) -> Shard | Sequence[Shard]:
        if isinstance(index, slice):
            return [self[k] for k in range(len(self))[index]]
        split, _, indices = self._parts[index]
        pictures = tuple(self._pictures[split][int(k)] for k in indices)
        return replace(self.bare(index), entries=pictures)

    def bare(self, index: int) -> Shard:
        """Return a shard without its pictures."""
        split, number, _ = self._parts[index]
        return replace(self._bare, split=split, number=number)

    def images(self, index: int) -> int:
        """Return how many pictures a shard is made of."""
        return len(self._parts[index][2])


def _key(catalogue: Catalogue, listing: str, settings: ResizeSection, encoding: Encoding,
         made_by: dict[str, str]) -> str:
    deciding = [FORMATS[encoding], SHARD_IMAGES, listing, settings.order_seed, settings.side,
                settings.filter, *[settings.mode] * (settings.mode != "centre"), made_by]
    digest = hashlib.sha256(json.dumps(deciding).encode())
    for split in SPLITS:
        for picture in getattr(catalogue, split):
            digest.update(f"{split} {picture.name!r} {picture.label} {picture.offset} "
                          f"{picture.size}\n".encode())
    return digest.hexdigest()[:32]


def _make(shards: _Shards, folder: Path, max_quarantined: int,
          executor: Executor) -> list[Quarantined]:
    """Finish every shard; return the quarantine list, in stored order, which is in a file, too."""
    done: dict[int, list[Quarantined]] = {}  # what of a shard is in quarantine, by its position
    recorded = [k for k in range(len(shards)) if shards.bare(k).record.exists()]
    checked = executor.map(finished_shard, [*map(shards.bare, recorded)])
    for k, quarantined in zip(recorded, checked, strict=True):
        if quarantined is not None:
            done[k] = quarantined
    total, finished = (sum(map(shards.images, some)) for some in (range(len(shards)), done))
    if finished:
        say(f"resize: {finished} images of {len(done)} shards are done already, in {folder}")
    waiting = (k for k in range(len(shards)) if k not in done)
    futures: dict[Future[list[Quarantined]], int] = {}
    with progress("resize", total, "images", finished) as advance:
        while len(done) < len(shards):
            for k in itertools.islice(waiting, IN_FLIGHT - len(futures)):
                futures[executor.submit(make_shard, shards[k])] = k
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                k = futures.pop(future)
                done[k] = future.result()
                advance(shards.images(k))
    listed = [picture for k in sorted(done) for picture in done[k]]
    file = folder.parent / QUARANTINE
    write_json(file, [asdict(picture) for picture in listed])
    by_name = sorted(listed, key=lambda picture: (picture.split, picture.name))
    check_number(by_name, max_quarantined, file)
    return listed


def _forget_work_of_other_files(folder: Path, stamp: str) -> None:
    """Throw away shards that were made before the data set's files were written to."""
    file = folder / STAMP
    if file.exists() and file.read_text() != stamp:
        say(f"resize: the data set's files have been written to since the work in {folder}; "
            "beginning anew")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(stamp)


def _check_unchanged(folder: Path, stamp: str) -> None:
    if (folder / STAMP).read_text() != stamp:
        shutil.rmtree(folder)
        raise UserError("the data set's files were changed while they were read; what was made of "
                        "them is thrown away. Run `alexnet download`, which verifies them, and the "
                        "same command again")


def _tell_of_other_work(folder: Path, made_by: dict[str, str]) -> None:
    """Tell the user of half-finished work of another decoder, which is not gone on with: a store
    has the pixels of one."""
    for file in folder.parent.glob(f"*/{DECODER}"):
        with contextlib.suppress(UserError):  # cut off by a kill
            other = read_json(file, "resize")
            if file.parent != folder and other != made_by:
                say(f"resize: the unfinished work in {file.parent} is of "
                    f"{describe_decoder(other)}, and is not taken up with "
                    f"{describe_decoder(made_by)}; it is cleared away when this is done")
    write_json(folder / DECODER, made_by)


def _check_place(work: Path, store: Path, side: int, encoding: Encoding, images: int) -> None:
    """See that the shards can be written where they are made, and where they go: before any is."""
    needed = int(images * side * side * 3 * SHARE[encoding])
    made = sum(file.stat().st_size for file in work.glob("*/store/*")) if work.is_dir() else 0
    instead = "make it a link to another disk"
    for folder, bytes_ in ((work, needed - made), (store, needed)):
        check_writable(folder, instead)
        if folder == store and same_disk(work, store):
            continue
        if bytes_ > (room := free(folder)):
            raise UserError(f"{folder}: {images} images take {needed / 1e9:.1f} GB, but "
                            f"{room / 1e9:.1f} GB are free; free some room, or {instead}")


def _publish(shards: _Shards, folder: Path, catalogue: Catalogue, quarantined: list[Quarantined],
             made: dict[str, Any], encoding: Encoding, store: Path) -> dict[str, Any]:
    """Describe the shards in `folder`, which then becomes `store`; return the metrics."""
    listed = folder.parent.parent / QUARANTINE
    moments = Moments.zero(shards.bare(0).side if shards else SIDE)
    doubtful: list[Quarantined] = []
    stored: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
    for shard in map(shards.bare, range(len(shards))):
        moments += Moments.load(shard.moments)
        written, _, doubted = read_record(shard)
        doubtful += doubted
        stored[shard.split].update(row.label for row in written.rows)
    for split in SPLITS:
        wanted = Counter(_labels(getattr(catalogue, split)))
        if lack := check_classes(split, wanted, stored[split], catalogue.classes, listed):
            say(f"resize: {lack}")
    if len(quarantined) > LISTED:
        say(f"resize: quarantined {len(quarantined)} images, as {store / QUARANTINE} lists them:"
            f"{summary(quarantined)}")
    else:
        for picture in quarantined:
            say(f"resize: quarantined {picture.split} {picture.name}: {picture.reason}")
    if doubtful:
        say(f"resize: {len(doubtful)} images are stored although their files are damaged, as "
            f"{store / DOUBTFUL} lists them:{summary(doubtful)}")
    for leftover in folder.glob(".*.part"):  # of a worker that was killed
        leftover.unlink()
    records = (read_record(shards.bare(k))[0] for k in range(len(shards)))
    description = publish_description(folder, catalogue.classes,
                                      (shard for shard in records if shard.rows), moments,
                                      quarantined, made, encoding, doubtful)
    _move(folder, store)
    images = description["images"]
    return {"images": sum(images.values()), "quarantined": len(quarantined),
            "pixels_digest": description["pixels_digest"],
            "train_images": images["train"], "val_images": images["val"],
            **({"doubtful": len(doubtful)} if doubtful else {})}


def _move(folder: Path, destination: Path) -> None:
    """Move a folder in one step, so that a store is whole or not there; by way of a copy where it
    is on another disk."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.exists():
        shutil.rmtree(destination)
    try:
        os.rename(folder, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = destination.with_name(f".{destination.name}.part")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        os.sync()  # the copies, before they get their name
        os.rename(copy, destination)
    sync_folder(destination.parent)
