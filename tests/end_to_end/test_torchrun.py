"""Training that torchrun starts, as on two machines: two launchers, two processes each, found by
their address."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.training.heartbeat import STATUS
from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project
from tests.loaded import LONG

TRAIN = ("alexnet", "train", "--set", "train.micro_batches=2", "--set", "train.epochs=1")


def machines(*projects: Project, processes: int = 2) -> list[tuple[int, str]]:
    """Exit status and output of each of the launchers, one a project folder, with so many processes
    each."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    launchers = [project.start("torchrun", "--nnodes", str(len(projects)), "--node-rank",
                               str(number), "--nproc-per-node", str(processes), "--master-addr",
                               "127.0.0.1", "--master-port", str(port), "--no-python", *TRAIN)
                 for number, project in enumerate(projects)]
    said = [launcher.communicate(timeout=120)[0] for launcher in launchers]
    return [(launcher.returncode, text) for launcher, text in zip(launchers, said, strict=True)]


def test_two_machines_give_the_bits_of_one_process(reproduced: Project, tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    project.run(*TRAIN)
    project.set(**{"execution.placement": "two"})
    alone = project.metrics("train")
    (project.folder / "metrics" / "train.json").unlink()
    (first, said), (second, silent) = machines(project, project)
    assert (first, second) == (0, 0), said + silent
    assert "4 processes, one column each" in said
    assert "one column each" not in silent  # one process leads
    assert project.metrics("train") == alone
    assert not list((project.folder / "work" / "checkpoints").iterdir())


def test_machines_without_a_common_folder_are_refused(reproduced: Project, tmp_path: Path) -> None:
    project, other = copy(reproduced, tmp_path / "copy"), copy(reproduced, tmp_path / "other")
    other.set(**{"train.seed": 2})
    for one in (project, other):
        one.set(**{"execution.placement": "two"})
    (first, said), (second, _) = machines(project, other, processes=1)
    assert first
    assert second
    assert "on a file system that they share" in said
    assert "Traceback" not in said.partition("torch/distributed")[0]


def test_variables_of_a_platform_that_is_not_torchrun_are_refused_at_once(
        reproduced: Project) -> None:
    """As Kubeflow or Slurm sets them: the processes would wait for each other without end."""
    platform = ("env", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=29501")
    for rank in ("0", "1"):
        for stage in ("train", "mean", "evaluate"):
            said = reproduced.run(*platform, f"RANK={rank}", "alexnet", stage, status=1)
            assert f"RANK is {rank} and WORLD_SIZE is 2, and torchrun has not set them" in said
            assert "to run alone, unset RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT" in said


def test_one_alone_under_a_platforms_variables_trains(reproduced: Project, tmp_path: Path) -> None:
    project = copy(reproduced, tmp_path / "copy")
    project.run(*TRAIN)
    alone = project.metrics("train")
    (project.folder / "metrics" / "train.json").unlink()
    project.run("env", "RANK=0", "WORLD_SIZE=1", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=29501",
                *TRAIN)
    assert project.metrics("train") == alone


def test_processes_that_never_meet_end_by_themselves_and_by_a_signal(
        reproduced: Project, tmp_path: Path) -> None:
    """Two of two machines are announced, and one comes."""
    project = copy(reproduced, tmp_path / "copy")
    project.set(**{"execution.placement": "two"})
    alone = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "TORCHELASTIC_RUN_ID": "none"}
    script = ("from pipeline.training import process; process.SECONDS_TO_MEET = 2.0;"
              "from pipeline.commands.main import main; main(['train'])")
    command = ("env", *(f"{name}={value}" for name, value in alone.items()),
               sys.executable, "-c")
    waiting = project.start(*command, script)
    said, _ = waiting.communicate(timeout=100)
    assert waiting.returncode == STATUS, said
    assert "the 2 training processes have not all met at 127.0.0.1:9 within 2 s" in said
    waiting = project.start(*command, script.replace("2.0", "300.0"))
    time.sleep(15)
    assert waiting.poll() is None
    waiting.terminate()
    waiting.communicate(timeout=10)
    assert waiting.returncode == -signal.SIGTERM


@pytest.mark.parametrize("launchers", [1, pytest.param(2, marks=pytest.mark.skipif(
    LONG not in os.environ, reason="--long"))])
def test_a_worker_that_is_killed_is_started_again_by_torchrun(
        reproduced: Project, tmp_path: Path, launchers: int) -> None:
    """Of several torchruns each counts its own restarts."""
    project = copy(reproduced, tmp_path / "copy")
    project.set(**{"execution.placement": "two", "train.epochs": 8})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    started = [project.start("torchrun", "--nnodes", str(launchers), "--nproc-per-node",
                             str(2 // launchers), "--rdzv-backend", "c10d", "--rdzv-endpoint",
                             f"127.0.0.1:{port}", "--max-restarts", "2", "--no-python", "alexnet",
                             "train")
               for _ in range(launchers)]
    latest = time.monotonic() + 100
    while not list((project.folder / "work/checkpoints").rglob("step-*.safetensors")):
        assert time.monotonic() < latest
        assert [launcher.poll() for launcher in started] == [None] * launchers
        time.sleep(0.2)
    [worker] = [child for launcher in started
                for child in psutil.Process(launcher.pid).children(recursive=True)
                if child.environ().get("RANK") == "1"]
    worker.kill()
    said = [launcher.communicate(timeout=200)[0] for launcher in started]
    assert [launcher.returncode for launcher in started] == [0] * launchers, said
    assert "".join(said).count("going on from the checkpoint") == 1
    assert "connection refused" not in "".join(said).lower()
    project.set(**{"execution.placement": "one"})
    together = project.metrics("train")
    (project.folder / "metrics" / "train.json").unlink()
    project.run("alexnet", "train")
    assert project.metrics("train") == together
