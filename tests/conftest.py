"""One copy of the project, reproduced once, for the tests that look at the result: one process of xdist runs those.
And the options of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.project import Project


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups (`--dist loadgroup`)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that look at the reproduced project: so it is reproduced once. They come first, since they take longest."""
    for item in items:
        if "reproduced" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("reproduced"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=1.0, help="of damaged input for each reader")
    parser.addoption("--fuzz-seed", type=int, default=0, help="of the damage")
    parser.addoption("--long", action="store_true", help="all faults of tests/faults, each command from nothing")


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The pipeline as `dvc repro` leaves it. Tests that change it put it back, or work on a copy of their own."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.first_output = project.run("dvc", "repro")  # type: ignore[attr-defined]
    project.stored_twice = _stored_twice(project.folder)  # type: ignore[attr-defined]
    return project


def _stored_twice(folder: Path) -> list[str]:
    """What the stages left that is not one file with that in DVC's cache."""
    cache = {file.stat().st_ino for file in (folder / ".dvc/cache").rglob("*") if file.is_file()}
    return [file.name for name in ("data", "models", "report") for file in (folder / name).rglob("*")
            if file.is_file() and file.name != ".gitignore" and file.stat().st_ino not in cache]
