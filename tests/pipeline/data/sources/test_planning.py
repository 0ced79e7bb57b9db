"""What a dry run says of the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.data.sources.planning import Plan, RemoteFile


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("gigabytes", "download", "store"), [
    (1000, "free: 1,000.0 GB", "free: 1,000.0 GB"),
    (200, "free: 200.0 GB", "free: 200.0 GB, not enough for raw"),  # a store of JPEGs fits
    (42, "free: 42.0 GB, not enough", "free: 42.0 GB, not enough")])
def test_the_room_that_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                     gigabytes: int, download: str, store: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, gigabytes * 10**9))
    plan = Plan(tmp_path, [RemoteFile("a.tar", "https://example.org/a.tar", 155_000_000_000)], 0,
                1_331_167)
    of_download, of_store = plan.described(256).splitlines()[-2:]
    assert of_download == f"disk for the download: 155.0 GB, {download}"
    assert (of_store == "disk for the image store, about 1,331,167 images: 261.7 GB raw or 42.6 GB "
            f"as JPEG, {store}")


def test_small_images_have_no_store_of_jpegs(monkeypatch: pytest.MonkeyPatch,
                                             tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 10**8))
    told = Plan(tmp_path, [], 0, 60_000).described(32).splitlines()
    assert told == [f"nothing to fetch: all is in {tmp_path}",
                    "disk for the download: 0 bytes, free: 100.0 MB", "disk for the image store, "
                    "about 60,000 images: 184.3 MB raw, free: 100.0 MB, not enough"]
