"""One shard of the image store, made in a worker process: `make_shard` decodes, stores and measures
its images; `finished_shard` says whether that has been done already.

Two threads share the work, picture by picture: one reads and decodes, the other takes the digests,
adds up the sums and writes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.stages import code_digest
from pipeline.data.formats import FETCH
from pipeline.data.moments import Accumulator, Moments
from pipeline.data.pixels import (
    SIDE,
    Filter,
    Mode,
    Undecodable,
    decode_checked,
    decoder,
    describe_decoder,
)
from pipeline.data.shards import (
    Encoding,
    ShardWriter,
    digest_of_images,
    open_shard,
    shard_file,
    shard_writer,
)
from pipeline.data.sources.catalogue import Picture
from pipeline.data.sources.reading import read_picture
from pipeline.data.store import Quarantined, StoredImage, StoredShard, places_of
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.project import CODE

WAITING = 4  # decoded pictures, at most, that wait for the second thread


@dataclass(frozen=True)
class Shard:
    """What a worker needs to make a shard.

    Attributes:
        folder: the work folder, and `root`, what the entries' files are relative to: the same on
            all machines.
        fingerprint: of the decoder that all workers must have; `code`: the digest of the code that
            they must run.
    """

    split: str
    number: int
    entries: tuple[Picture, ...]
    folder: str
    root: str
    fingerprint: str
    code: str
    side: int = SIDE
    filter: Filter = "bicubic"
    mode: Mode = "centre"
    encoding: Encoding = "raw"

    @property
    def pixels(self) -> Path:
        """Return the file of its images, in the folder that becomes the store."""
        return Path(self.folder, "store", shard_file(self.split, self.number, self.encoding))

    @property
    def record(self) -> Path:
        """Return the file of what is known of the shard besides its pixels. It is written last:
        with it the shard is finished."""
        return Path(self.folder, "records", f"{self.split}-{self.number:05}.json")

    @property
    def moments(self) -> Path:
        """Return the file of its sums."""
        return self.record.with_suffix(".safetensors")


def make_shard(shard: Shard) -> list[Quarantined]:
    """Decode, store and measure one shard's images.

    A worker's memory does not grow with the shard.

    Returns:
        The pictures that could not be decoded.

    Raises:
        UserError: the worker has another decoder or other code than the main process; a file is
            gone or has changed.
    """
    if decoder()["fingerprint"] != shard.fingerprint:
        raise UserError(f"a worker on {platform.node()} decodes with "
                        f"{describe_decoder(decoder())}, whose pixels differ from those of the "
                        f"decoder {shard.fingerprint} in the main process; install the same Pillow "
                        "and libjpeg everywhere")
    if _code_here() != shard.code:
        raise UserError(f"a worker on {platform.node()} runs other code than the main process; "
                        "install the same everywhere and start the workers again")
    making = _Making(shard)
    with (shard_writer(shard.pixels, shard.side, shard.encoding) as writer,
          ThreadPoolExecutor(1) as second):
        waiting: deque[Future[None]] = deque()
        for picture in shard.entries:
            content = read_picture(replace(picture, file=Path(shard.root, picture.file)))
            waiting.append(second.submit(making.take, writer, picture, content,
                                         _decoded(content, shard)))
            if len(waiting) > WAITING:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    if not making.rows:
        shard.pixels.unlink()  # the store has no empty shards
    making.accumulator.moments().save(shard.moments)
    write_json(shard.record, {"sha256": writer.digest.hexdigest(),
                              "rows": [asdict(row) for row in making.rows],
                              "quarantined": [asdict(picture) for picture in making.quarantined],
                              "doubtful": [asdict(picture) for picture in making.doubtful]})
    return making.quarantined


class _Making:
    """A shard in the making: what the second thread does, and what is known so far."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.rows: list[StoredImage] = []
        self.quarantined: list[Quarantined] = []
        self.doubtful: list[Quarantined] = []
        self.accumulator = Accumulator(shard.side)

    def take(self, writer: ShardWriter, picture: Picture, content: bytes,
             decoded: tuple[NDArray[np.uint8], str] | Undecodable) -> None:
        """Store and measure a picture, or put it into quarantine."""
        sha256, split = hashlib.sha256(content).hexdigest(), self._shard.split
        if isinstance(decoded, Undecodable):
            self.quarantined.append(Quarantined(split, picture.name, decoded.reason, sha256,
                                                decoded.fix))
            return
        image, doubt = decoded
        if doubt:
            self.doubtful.append(Quarantined(split, picture.name, doubt, sha256, FETCH))
        image = writer.add(image, picture.label)  # as training will see it
        self.rows.append(StoredImage(picture.name, sha256, picture.label, writer.place))
        if split == "train":
            self.accumulator.add(image)


def _decoded(content: bytes, shard: Shard) -> tuple[NDArray[np.uint8], str] | Undecodable:
    try:
        return decode_checked(content, shard.side, shard.filter, shard.mode)
    except Undecodable as error:
        return error.with_traceback(None)  # which would keep the picture alive


@functools.cache
def _code_here() -> str:
    """Return the digest of the code, taken once in each worker, soon after it was loaded: a worker
    of a cluster may live for long."""
    return code_digest("resize", CODE)


def finished_shard(shard: Shard) -> list[Quarantined] | None:
    """Return what `make_shard` did, if it has made this shard and its files are still as they were
    written; else None."""
    try:
        stored, quarantined, _ = read_record(shard)
        if Moments.load(shard.moments).count != (len(stored.rows) if shard.split == "train" else 0):
            return None
        if not stored.rows:
            return quarantined
        images = open_shard(shard.pixels, len(stored.rows), shard.side, places_of(stored.rows))
        digest = digest_of_images(images, [row.label for row in stored.rows])
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    return quarantined if digest == stored.sha256 else None


def read_record(shard: Shard) -> tuple[StoredShard, list[Quarantined], list[Quarantined]]:
    """Return what is known of a finished shard, what of it is in quarantine, and what is stored but
    doubtful.

    Raises:
        OSError, ValueError, KeyError, TypeError: the record is missing or damaged.
    """
    record = json.loads(shard.record.read_text(encoding="utf-8"))
    rows = [StoredImage(**{**row, "place": row["place"] and tuple(row["place"])})
            for row in record["rows"]]
    quarantined, doubtful = ([Quarantined(**values) for values in record[name]]
                             for name in ("quarantined", "doubtful"))
    return StoredShard(shard.split, shard.number, record["sha256"], rows), quarantined, doubtful
