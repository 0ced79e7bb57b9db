"""A disk that is full, read-only or gone, files that change while they are read: said, and never a
wrong artefact.

What any user can do: limits on the size of files (RLIMIT_FSIZE), removed folders, files written to.
With --long, real mounts in a namespace of one's own (`unshare`), where the kernel permits that.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.faults.harness import Bench

TRAIN = ("train", "--placement", "one")
TRAINED = ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json")
PREPARED = ("data/store", "metrics/resize.json")
LEFT = {"train": TRAINED, "resize": PREPARED,
        "mean": ("data/mean.npy", "data/mean.png", "metrics/mean.json"),
        "evaluate": ("models/predictions.safetensors", "metrics/evaluate.json"),
        "download": ("data/download",), "report": ("report", "metrics/report.json")}
MOUNTS = (subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                         capture_output=True, check=False).returncode == 0
          if shutil.which("unshare") else False)
NO_MOUNTS = "no right to mount anything here"
mounting = [pytest.mark.long, pytest.mark.skipif(not MOUNTS, reason=NO_MOUNTS)]


def mounted(command: str) -> tuple[str, ...]:
    """What runs a command after this shell command, in a namespace in which one may mount."""
    return ("unshare", "-rm", "sh", "-c", f'{command} && exec "$@"', "sh")


@pytest.mark.parametrize(("command", "limit"), [
    pytest.param(TRAIN, 200_000, id="train"),
    pytest.param(("resize", "--workers", "1"), 1_000_000, id="resize", marks=pytest.mark.long),
    pytest.param(("mean",), 300_000, id="mean", marks=pytest.mark.long),
    pytest.param(("download",), 300_000, id="download", marks=pytest.mark.long),
])
def test_no_room_for_a_file(bench: Bench, outcome: Callable[[str], None], command: tuple[str, ...],
                            limit: int) -> None:
    left = LEFT[command[0]]
    bench.remove(*left)
    ran = bench.run(*command,
                    limits=[(resource.RLIMIT_FSIZE, limit)]).refused("File too large", "ulimit -f")
    assert not bench.wrong()
    bench.run(*command).done()
    bench.assert_right(*left)
    outcome(f"status {ran.status}; the file is named; the same command then makes the same bytes")


@pytest.mark.parametrize(("command", "place", "size"), [
    pytest.param(TRAIN, "work", "300k", id="train", marks=mounting),
    pytest.param(("resize", "--workers", "1"), "work", "9m", id="resize", marks=mounting),
    pytest.param(("report",), "report", "16k", id="report", marks=mounting),
])
def test_disk_full(bench: Bench, outcome: Callable[[str], None], command: tuple[str, ...],
                   place: str, size: str) -> None:
    left = LEFT[command[0]]
    if command == ("report",):  # its page names the commit, and here is no repository
        bench.run(*command).done()
        bench.right = bench.outcome()
    bench.remove(*left)
    (bench.folder / place).mkdir(exist_ok=True)
    ran = bench.run(*command, before=mounted(f"mount -t tmpfs -o size={size} tmpfs {place}"))
    assert "No space left on device" in ran.said or "are free; free some room" in ran.said, ran.said
    ran.refused()
    assert not bench.wrong()
    bench.run(*command).done()
    bench.assert_right(*left)
    outcome(f"status {ran.status}; the file or folder is named; the same command then makes the "
            "same bytes")


@pytest.mark.parametrize("command", [pytest.param(TRAIN, id="train", marks=mounting),
                                     pytest.param(("evaluate",), id="evaluate", marks=mounting)])
def test_a_read_only_folder(bench: Bench, outcome: Callable[[str], None],
                            command: tuple[str, ...]) -> None:
    left = LEFT[command[0]]
    bench.remove(*left)
    read_only = mounted("mount --bind models models && mount -o remount,bind,ro models")
    ran = bench.run(*command, before=read_only).refused("Read-only file system")
    assert not bench.wrong()
    bench.run(*command).done()
    bench.assert_right(*left)
    outcome(f"status {ran.status}; the file is named; the same command then publishes what was "
            "trained")


@pytest.mark.long
@pytest.mark.skipif(not MOUNTS, reason=NO_MOUNTS)
def test_full_shared_memory(bench: Bench, outcome: Callable[[str], None]) -> None:
    full = mounted("mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero "
                   ">/dev/shm/full")
    bench.remove(*TRAINED)
    trained = bench.run("train", "--placement", "two", before=full).done()
    bench.assert_right(*TRAINED)
    bench.remove(*PREPARED)
    ran = bench.run("resize", "--workers", "2", before=full).refused("No space left in /dev/shm")
    assert not bench.made(*PREPARED)
    outcome(f"resize: status {ran.status}, /dev/shm is named; train: status {trained.status}, it "
            "needs none")


@pytest.mark.long
def test_a_folder_that_vanishes(bench: Bench, outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TRAIN)
    running.until(bench.checkpoints)
    shutil.rmtree(bench.folder / "work" / "checkpoints")
    ran = running.end().refused("work/checkpoints/", ".jsonl", "No such file or directory")
    assert not bench.made(*TRAINED)
    bench.run(*TRAIN).done()
    bench.assert_right(*TRAINED)
    outcome(f"status {ran.status}; the file is named; the same command begins anew, to the same "
            "weights")


@pytest.mark.long
def test_a_shard_that_is_written_to_while_it_is_trained_on(bench: Bench,
                                                           outcome: Callable[[str], None]) -> None:
    bench.remove(*TRAINED)
    running = bench.start(*TRAIN)
    running.until(bench.checkpoints)
    with (bench.folder / "data/store/train-00000.npy").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"changed")
    ran = running.end().refused("data/store/train-00000.npy: damaged")
    assert not bench.made(*TRAINED)
    outcome(f"status {ran.status}; the shard is named before the next checkpoint; nothing is "
            "published")


@pytest.mark.long
@pytest.mark.parametrize("placement", ["one", "two"])
def test_a_shard_that_is_cut_off_while_it_is_trained_on(bench: Bench,
                                                        outcome: Callable[[str], None],
                                                        placement: str) -> None:
    bench.remove(*TRAINED)
    running = bench.start("train", "--placement", placement)
    running.until(bench.checkpoints)
    with (bench.folder / "data/store/train-00000.npy").open("r+b") as stream:
        stream.truncate(5000)
    ran = running.end()
    if "Bus error" in ran.said:  # in the instant between a look at the length and the copy
        assert ran.status == -signal.SIGBUS or "killed by SIGBUS" in ran.said, ran.said
    else:
        # cut off, or changed, whichever is seen first
        ran.refused("train-00000.npy: damaged: it was c")
    assert not bench.made(*TRAINED)
    bench.run("train", "--placement", "one").refused("train-00000.npy: damaged: 5000 bytes are too "
                                                     "few")
    outcome(f"status {ran.status}; the shard is named"
            + " by the stack of Python" * ("Bus error" in ran.said))


@pytest.mark.long
def test_an_archive_that_is_written_to_while_it_is_read(bench: Bench,
                                                        outcome: Callable[[str], None]) -> None:
    bench.remove(*PREPARED)
    running = bench.start("resize", "--workers", "1")
    worker = running.until(lambda: running.children("spawn_main"))[0]
    worker.suspend()
    for archive in (bench.folder / "data/download").glob("*train*.tar"):
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(bytes(content))
    worker.resume()
    ran = running.end().refused("the data set's files were changed while they were read",
                                "alexnet download")
    assert not bench.made(*PREPARED)
    bench.run("download").done()
    bench.run("resize", "--workers", "1").done()
    bench.assert_right(*PREPARED)
    outcome(f"status {ran.status}; what was made of them is thrown away; download and resize then "
            "make the same bytes")
