"""Training that torchrun starts, as on two machines: two launchers, two processes each, found by
their address."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.end_to_end.kill_and_resume import copy
from tests.end_to_end.project import Project

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
