"""Only what is broken, and stays so, is removed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipeline.system import dvc
from pipeline.system.dvc import remove_broken_files

LOCK, RWLOCK = dvc.READERS
WHOLE = {LOCK: "schema: '2.0'\nstages:\n  mean:\n    cmd: alexnet mean\n",
         RWLOCK: '{"write": {}, "read": {}}'}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc, "SECONDS_TO_WRITE", 0.2)
    RWLOCK.parent.mkdir(parents=True)


def test_whole_files_and_none_at_all_are_left_alone() -> None:
    assert remove_broken_files() == []
    for file, text in WHOLE.items():
        file.write_text(text)
    assert remove_broken_files() == []
    assert {file: file.read_text() for file in WHOLE} == WHOLE


@pytest.mark.parametrize(("file", "left"), [(LOCK, ""), (LOCK, "schema"), (LOCK, "schema: '2.0"),
                                            (LOCK, "stages: {}"), (RWLOCK, ""),
                                            (RWLOCK, '{"write": {'), (RWLOCK, "[]")])
def test_a_broken_file_is_removed_and_the_other_stays(file: Path, left: str) -> None:
    for name, text in WHOLE.items():
        name.write_text(text)
    file.write_text(left)
    assert remove_broken_files() == [file]
    assert [name for name in WHOLE if name.exists()] == [name for name in WHOLE if name != file]


def test_a_file_that_is_being_written_is_left_alone() -> None:
    LOCK.write_text("")

    def written() -> None:
        time.sleep(0.05)
        LOCK.write_text(WHOLE[LOCK])

    writer = threading.Thread(target=written)
    writer.start()
    assert remove_broken_files() == []
    writer.join()
    assert LOCK.read_text() == WHOLE[LOCK]
