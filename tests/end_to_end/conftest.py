"""One copy of the project, reproduced once, for the tests that look at the result."""

from __future__ import annotations

import pytest

from tests.end_to_end.project import Project


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The pipeline as `dvc repro` leaves it. Tests that change it put it back, or work on a copy of their own."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.first_output = project.run("dvc", "repro")  # type: ignore[attr-defined]
    return project
