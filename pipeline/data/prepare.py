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
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.parameters import Parameters
from pipeline.config.paths import LISTING, STORE, WORK
from pipeline.config.sections import ResizeSection
from pipeline.config.stages import code_digest
from pipeline.data.moments import Moments
from pipeline.data.pixels import SIDE, decoder
from pipeline.data.shard_worker import Shard, finished_shard, make_shard, read_record
from pipeline.data.shards import Encoding
from pipeline.data.sources import fetching
from pipeline.data.sources.catalogue import Catalogue, Picture
from pipeline.data.store import (
    FORMATS,
    SHARD_IMAGES,
    SPLITS,
    Quarantined,
    publish_description,
    told,
)
from pipeline.system import errors
from pipeline.system.errors import UserError
from pipeline.system.executors import cluster, process_pool
from pipeline.system.files import exclusive_lock, read_json, write_json
from pipeline.system.project import CODE
from pipeline.system.terminal import progress, say

DECODER = "decoder.json"  # in the work folder: who makes its shards
STAMP = "stamp"  # there, too: of the files that they are made of
# shards handed to the executor at a time: more than any cluster's workers, and some 50 MB
IN_FLIGHT = 512


def prepare(parameters: Parameters) -> dict[str, Any]:
    """Make the image store, data/store, of the data set that `alexnet download` has listed.

    Returns:
        images, train_images, val_images and quarantined: how many; pixels_digest, of all pixels
        and labels.

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
                          functools.partial(fetching.change_stamp, parameters.dataset))


def make_store(catalogue: Catalogue, listing: str, settings: ResizeSection, executor: Executor,
               work: Path, store: Path, encoding: Encoding = "raw",
               stamp: Callable[[], str] = str) -> dict[str, Any]:
    """Make the store of this catalogue; `listing` is a digest of the contents of its files. Returns
    the metrics.

    `stamp` gives another text when these files have been written to since.
    """
    made_by = decoder()
    say(f"decoder: {made_by['library']}, libjpeg {made_by['libjpeg']}, fingerprint "
        f"{made_by['fingerprint']}")
    key = _key(catalogue, listing, settings, encoding, made_by)
    with exclusive_lock(work / "lock", "another `alexnet resize`"):
        folder = work / key
        _forget_work_of_other_files(folder, stamp())
        _told_of_other_work(folder, made_by)
        code = code_digest("resize", CODE)
        shards = [Shard(split, number, tuple(entries), str(folder.absolute()), os.getcwd(),
                        made_by["fingerprint"], code, settings.side, settings.filter, encoding)
                  for split, entries in _in_stored_order(catalogue, settings.order_seed).items()
                  for number, entries in enumerate(_chunks(entries))]
        try:
            quarantined = _make(shards, folder, settings.max_quarantined, executor)
            _check_unchanged(folder, stamp())
            metrics = _publish(shards, folder / "store", catalogue, quarantined,
                               {"decoder": made_by, "order_seed": settings.order_seed,
                                "filter": settings.filter}, encoding, store)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            mend = errors.REMEDIES[error.errno]
            raise UserError(f"{folder}: {error.strerror}; {mend}, and give the same command "
                            "again") from None
        for stale in (path for path in work.iterdir() if path.is_dir()):
            shutil.rmtree(stale)
    return metrics


def stored_order(names: list[str], seed: int) -> list[int]:
    """The one shuffle of the training set: positions in `names`, in the order in which they are
    stored.

    It follows from the seed and the sorted names alone: the k-th of these gets the k-th 64-bit
    output of numpy's Philox generator with the seed as its key, and the outputs are sorted. As in
    2012, where images were shuffled once, when they were written into batches.
    """
    by_name = sorted(range(len(names)), key=names.__getitem__)
    drawn = np.random.Philox(key=seed).random_raw(len(names))
    return [by_name[k] for k in np.argsort(drawn, kind="stable")]


def _in_stored_order(catalogue: Catalogue, seed: int) -> dict[str, list[Picture]]:
    order = stored_order([picture.name for picture in catalogue.train], seed)
    return dict(zip(SPLITS, ([catalogue.train[k] for k in order], [*catalogue.val]), strict=True))


def _chunks(entries: list[Picture]) -> Iterator[list[Picture]]:
    return (entries[k: k + SHARD_IMAGES] for k in range(0, len(entries), SHARD_IMAGES))


def _key(catalogue: Catalogue, listing: str, settings: ResizeSection, encoding: Encoding,
         made_by: dict[str, str]) -> str:
    deciding = [FORMATS[encoding], SHARD_IMAGES, listing, settings.order_seed, settings.side,
                settings.filter, made_by]
    digest = hashlib.sha256(json.dumps(deciding).encode())
    for split in SPLITS:
        for picture in getattr(catalogue, split):
            digest.update(f"{split} {picture.name!r} {picture.label} {picture.offset} "
                          f"{picture.size}\n".encode())
    return digest.hexdigest()[:32]


def _make(shards: list[Shard], folder: Path, max_quarantined: int,
          executor: Executor) -> list[Quarantined]:
    """Every shard finished; returns the quarantine list, in stored order."""
    found: dict[int, list[Quarantined]] = {}  # by the position of the shard
    recorded = [k for k, shard in enumerate(shards) if shard.record.exists()]
    # all at once: they should be small
    recorded_shards = [replace(shards[k], entries=()) for k in recorded]
    for k, quarantined in zip(recorded, executor.map(finished_shard, recorded_shards), strict=True):
        if quarantined is not None:
            found[k] = quarantined
    total, done = (sum(len(shards[k].entries) for k in some)
                   for some in (range(len(shards)), found))
    if done:
        say(f"resize: {done} images of {len(found)} shards are done already, in {folder}")
    _assert_room(folder, total - done, shards[0].side if shards else SIDE)
    _check_quarantine(found, max_quarantined)
    waiting = (k for k in range(len(shards)) if k not in found)
    futures: dict[Future[list[Quarantined]], int] = {}
    with progress("resize", total, "images", done) as advance:
        while len(found) < len(shards):
            for k in itertools.islice(waiting, IN_FLIGHT - len(futures)):
                futures[executor.submit(make_shard, shards[k])] = k
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                k = futures.pop(future)
                found[k] = future.result()
                advance(len(shards[k].entries))
            _check_quarantine(found, max_quarantined)
    return [one for k in range(len(shards)) for one in found[k]]


def _forget_work_of_other_files(folder: Path, stamp: str) -> None:
    """Shards made before the data set's files were written to are not gone on with."""
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


def _told_of_other_work(folder: Path, made_by: dict[str, str]) -> None:
    """Half-finished work of another decoder is not gone on with: a store has the pixels of one.
    That is told."""
    for file in folder.parent.glob(f"*/{DECODER}"):
        with contextlib.suppress(UserError):  # cut off by a kill
            other = read_json(file, "resize")
            if file.parent != folder and other != made_by:
                say(f"resize: the unfinished work in {file.parent} is of {told(other)}, and is not "
                    f"taken up with {told(made_by)}; it will be removed when this is done")
    write_json(folder / DECODER, made_by)


def _assert_room(folder: Path, images: int, side: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = images * side * side * 3, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {images} images take {needed / 1e9:.1f} GB, but "
                        f"{free / 1e9:.1f} GB are free; free some room, or make it a link to a "
                        "larger disk")


def _check_quarantine(found: dict[int, list[Quarantined]], allowed: int) -> None:
    quarantined = sorted((one for some in found.values() for one in some),
                         key=lambda one: (one.split, one.name))
    if len(quarantined) > allowed:
        shown = "".join(f"\n  {one.split} {one.name}: {one.reason}" for one in quarantined[:5])
        raise UserError(f"{len(quarantined)} images or more cannot be decoded, and "
                        f"resize.max_quarantined allows {allowed}; mend or replace them, or raise "
                        f"resize.max_quarantined. The first:{shown}")


def _publish(shards: list[Shard], folder: Path, catalogue: Catalogue,
             quarantined: list[Quarantined], made: dict[str, Any], encoding: Encoding,
             store: Path) -> dict[str, Any]:
    """Describe the shards in `folder`, which then becomes `store`; returns the metrics."""
    for one in quarantined:
        say(f"resize: quarantined {one.split} {one.name}: {one.reason}")
    moments = Moments.zero(shards[0].side if shards else SIDE)
    for shard in shards:
        moments += Moments.load(shard.moments)
    written = (read_record(shard)[0] for shard in shards)
    for leftover in folder.glob(".*.part"):  # of a worker that was killed
        leftover.unlink()
    description = publish_description(folder, catalogue.classes,
                                      (shard for shard in written if shard.rows), moments,
                                      quarantined, made, encoding)
    _move(folder, store)
    images = description["images"]
    return {"images": sum(images.values()), "quarantined": len(quarantined),
            "pixels_digest": description["pixels_digest"],
            "train_images": images["train"], "val_images": images["val"]}


def _move(folder: Path, destination: Path) -> None:
    """In one step, so that a store is whole or not there; by way of a copy where it is on another
    disk."""
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
        os.rename(copy, destination)
