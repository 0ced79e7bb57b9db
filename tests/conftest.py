"""How the tests are spread over processes, options of the tests' own, and a copy of the project,
reproduced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.end_to_end.project import Project
from tests.loaded import LONG, Door

# machines that share their cores are slow at times
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# ignored where a shell has put the tests into the background
signal.signal(signal.SIGINT, signal.default_int_handler)


class FilesEndToEnd(LoadScopeScheduling):
    """Each test for itself, but a file of end-to-end tests together: what it prepares is prepared
    once.

    What `--dist loadgroup` is for; with pytest 9.2, xdist 3.8 does not see its groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if file.startswith("tests/end_to_end/") else nodeid


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `-n 2` and the like; in the order of collection, in which the long ones do not come
    last."""
    config.option.loadscopereorder = False
    return FilesEndToEnd(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=1.0,
                     help="of damaged input for each reader")
    parser.addoption("--fuzz-seed", type=int, default=0, help="of the damage")
    parser.addoption("--long", action="store_true", help="each command from nothing; all faults of "
                                                         "tests/faults; ten updates of the "
                                                         "full-width net")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        os.environ[LONG] = "1"


@pytest.fixture(scope="session", autouse=True)
def _door() -> Iterator[None]:
    if LONG in os.environ:
        yield
        return
    with Door() as Project.door:
        yield


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The pipeline as `dvc repro` leaves it, one for each process of xdist.

    Tests that change it put it back, or work on a copy of their own.
    """
    project = Project(tmp_path_factory.mktemp("project"))
    project.first_output = project.run("dvc", "repro")  # type: ignore[attr-defined]
    project.stored_twice = _stored_twice(project.folder)  # type: ignore[attr-defined]
    return project


def _stored_twice(folder: Path) -> list[str]:
    """What the stages left that is not one file with that in DVC's cache."""
    cache = {file.stat().st_ino for file in (folder / ".dvc/cache").rglob("*") if file.is_file()}
    return [file.name for name in ("data", "models", "report")
            for file in (folder / name).rglob("*")
            if file.is_file() and not {".gitignore", ".store-proofs"} & {*file.parts}
            and file.stat().st_ino not in cache]
