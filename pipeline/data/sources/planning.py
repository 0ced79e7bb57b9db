"""What `alexnet download` would do, for `--dry-run`: what it would fetch, how large that is, and
the disk it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.paths import ARCHIVES, DOWNLOAD, STORE
from pipeline.config.sections import DatasetSection
from pipeline.data.disk import free
from pipeline.data.sources.recognition import Survey
from pipeline.system.errors import UserError

JPEG = 32_000  # bytes of an image of 256 x 256 pixels as a JPEG of quality 95, on average


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        name: under which it is kept.
        address: https://..., without credentials.
        bytes: its size; None: the server's word is taken.
        md5: in hex. Without it, only the size is checked.
        private: whether the user's credentials for downloads go with the request.
    """

    name: str
    address: str
    bytes: int | None = None
    md5: str | None = None
    private: bool = False


@dataclass(frozen=True)
class Plan:
    """What `fetch` would do.

    Attributes:
        folder: where the data set's files are or will be.
        fetched: what is not there yet.
        repacked: bytes that will be written besides, to make it readable picture by picture.
        images: about how many pictures the data set has.
        by_hand: the user must put the files there; nothing will be fetched.
        survey: of the pictures that lie there; None where they lie in archives and have not been
            counted.
        count: counts those that lie in archives; None where there is nothing to count, or where
            they have to be repacked first.
        slow: whether that takes long: minutes, for ImageNet's tars.
        problem: why what lies there cannot be used; "" where nothing is known against it.
    """

    folder: Path
    fetched: list[RemoteFile] = field(default_factory=list)
    repacked: int = 0
    images: int = 0
    by_hand: bool = False
    survey: Survey | None = None
    count: Callable[[], Survey] | None = None
    slow: bool = False
    problem: str = ""

    @property
    def download(self) -> int:
        """Bytes that fetching and repacking write, as far as sizes are known."""
        return sum(one.bytes or 0 for one in self.fetched) + self.repacked

    def store(self, side: int, encoding: str) -> int:
        """Return the bytes of the image store, about."""
        return self.images * (JPEG if encoding == "jpeg" else side * side * 3)

    def as_json(self, side: int, encoding: str) -> dict[str, Any]:
        """Return the plan as plain values; sizes are bytes, null where they are not known."""
        files = [{"name": one.name, "bytes": one.bytes, "address": one.address}
                 for one in self.fetched]
        return {"folder": str(self.folder), "by_hand": self.by_hand, "images": self.images,
                "found": self.survey and self.survey.counts(), "problem": self.problem or None,
                "files": files, "download_bytes": self.download,
                "download_free_bytes": free(self.folder),
                "store_bytes": self.store(side, encoding), "store_free_bytes": free(STORE)}

    def described(self, side: int) -> str:
        """Return the plan in words, for images of `side` pixels in the store."""
        lines = [f"{one.address}\n    -> {self.folder / one.name}  ({_size(one.bytes)})"
                 for one in self.fetched]
        how = "to be put there by you" if self.by_hand else "to be fetched"
        lines.insert(0, f"{how}: {len(lines)} file{'s' * (len(lines) != 1)}" if lines else
                     f"nothing to fetch: {self.survey.described()}" if self.survey else
                     f"nothing to fetch: all is in {self.folder}")
        if self.problem:
            lines.append(self.problem)
        if not self.folder.is_dir() and self.by_hand:
            lines.append(f"{self.folder}: no such folder yet")
        jpeg = _size(self.store(side, "jpeg"))
        room, lack = free(STORE), ""
        if room < self.store(side, "raw"):
            lack = (", not enough for raw" if side == 256 and room >= self.store(side, "jpeg")
                    else ", not enough")
        short = ", not enough" * (free(self.folder) < self.download)
        unknown = (" (and what has no known size)" if any(one.bytes is None for one in self.fetched)
                   else "")
        return "\n".join([*lines,
                          f"disk for the download: {_size(self.download)}{unknown}, free: "
                          f"{_size(free(self.folder))}{short}",
                          f"disk for the image store, about {self.images:,} images: "
                          f"{_size(self.store(side, 'raw'))} raw"
                          f"{f' or {jpeg} as JPEG' if side == 256 else ''}, free: "
                          f"{_size(room)}{lack}"])


def data_folder(dataset: DatasetSection) -> Path:
    """Return the folder of the data set's files: `dataset.location`, or archives/ where that is
    null; the sample's own."""
    return DOWNLOAD if dataset.data_set.files == "made" else dataset.location or ARCHIVES


def missing_files(remotes: list[RemoteFile], folder: Path) -> list[RemoteFile]:
    """Return those of the files that are not in the folder."""
    return [remote for remote in remotes if not (folder / remote.name).is_file()]


def check_room(folder: Path, needed: int) -> None:
    """See that so many bytes can be written to the folder.

    Raises:
        UserError: fewer are free.
    """
    if needed > (room := free(folder)):
        raise UserError(f"{folder}: {_size(needed)} are still to be written, but {_size(room)} "
                        "are free; free some room, or name another folder as dataset.location")


def _size(count: float | None) -> str:
    if count is None:
        return "size not known"
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_of:
            return f"{count / bytes_of:,.1f} {unit}"
    return f"{count:.0f} bytes"
