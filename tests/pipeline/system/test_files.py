"""Files are whole or not there, whatever becomes of their writer."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.system.files import atomic_write, read_json, write_json

WRITER = """
import sys
from pathlib import Path
from pipeline.system.files import atomic_write
with atomic_write(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(file: Path) -> subprocess.Popen[str]:
    """A process that has written the half of a file."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(file)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    return child


def test_what_a_killed_writer_left_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "mean[1].json"
    write_json(file, "before")
    child = writer(file)
    assert read_json(file, "mean") == "before"
    left = [path for path in tmp_path.iterdir() if path != file]
    assert [path.read_bytes() for path in left] == [b"half"]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert left[0].exists()
    write_json(file, "after")
    assert list(tmp_path.iterdir()) == [file]
    assert read_json(file, "mean") == "after"


def test_what_others_are_writing_stays(tmp_path: Path) -> None:
    file = tmp_path / "mean.json"
    child = writer(file)
    # beyond the largest process number
    elsewhere = tmp_path / f".mean.json.{platform.node()}-2-{2**22 + 1}.part"
    elsewhere.touch()
    write_json(file, "ours")
    assert len(list(tmp_path.iterdir())) == 3
    child.communicate("")
    assert file.read_bytes() == b"half"
    assert sorted(tmp_path.iterdir()) == [elsewhere, file]


def test_a_failed_writer_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "mean.json"
    write_json(file, "before")

    def fail() -> None:
        with atomic_write(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == [file]
    assert read_json(file, "mean") == "before"
