"""Which launcher's variables are believed, and what a child of ours gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.system.errors import UserError
from pipeline.training import launcher

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*launcher.VARIABLES, *launcher.OURS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "size"), [
    ({}, 1), ({"RANK": "0", "WORLD_SIZE": "1"}, 1), ({"RANK": "0", "MASTER_ADDR": "a"}, 1),
    (TORCHRUN, 4), (TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}, 1)])
def test_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str],
                                      size: int) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launcher.world_size() == size


@pytest.mark.parametrize("variables", [
    {"RANK": "0", "WORLD_SIZE": "2"}, {"RANK": "1"}, {"WORLD_SIZE": "8"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "pod-0", "MASTER_PORT": "23456"},
    {name: value for name, value in TORCHRUN.items() if name != "TORCHELASTIC_RUN_ID"},
    {name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"},
    TORCHRUN | {"WORLD_SIZE": "many"}])
def test_variables_of_another_platform_are_refused(monkeypatch: pytest.MonkeyPatch,
                                                   variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"torchrun has not set them.*to run alone, unset"):
        launcher.world_size()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_child_has_our_variables_and_no_others(tmp_path: Path, processes: int) -> None:
    script = ("import os, sys; names = 'RANK WORLD_SIZE TORCHELASTIC_RUN_ID'.split();"
              "open(sys.argv[1] + os.environ.get('RANK', ''), 'w').write("
              "' '.join(os.environ.get(name, '-') for name in names))")
    assert launcher.launch(tmp_path / "rank", processes, TORCHRUN,
                           train=[sys.executable, "-c", script]) == 0
    said = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert said == ({"rank": "- - -"} if processes == 1
                    else {"rank0": "0 2 -", "rank1": "1 2 -"})
