"""The bench of the faults, what --long adds, and the table of outcomes at the end of the
session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.project import Project
from tests.faults.harness import Bench, make_store
from tests.loaded import LONG, forked


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a fault that takes long; only with --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if LONG not in os.environ:
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    making = forked(make_store, file)
    making.join()
    assert making.exitcode == 0
    return file


@pytest.fixture
def bench(reproduced: Project, empty_store: Path, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(reproduced.folder, empty_store, tmp_path)
    yield made
    made.close()


@pytest.fixture
def outcome(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Call it with what became of the fault, for the table."""
    return lambda text: record_property("outcome", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [(report.nodeid.split("/")[-1], dict(report.user_properties).get("outcome"))
            for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    rows = [(name, text) for name, text in rows if text]
    if rows:
        terminalreporter.section("faults and what became of them")
        for name, text in sorted(rows):
            terminalreporter.write_line(f"{name:75} {text}")
