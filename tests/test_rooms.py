"""The rooms of pipeline/: each imports only rooms before it, and no files go in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("system", "config", "data", "records", "training", "studies", "report", "stages",
         "commands")


def imports(file: Path, top_only: bool = False) -> set[str]:
    """The modules of this project that a file imports; `top_only`: when it is loaded."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = set()
    for node in ast.iter_child_nodes(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if module(name)}


def module(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py")
                 if file.is_file()), None)


def upward(file: Path, names: set[str]) -> list[str]:
    own = ROOMS.index(file.relative_to(ROOT).parts[1])
    return [f"{file.relative_to(ROOT)} imports {name}" for name in sorted(names)
            if name.startswith("pipeline.") and name.split(".")[1] in ROOMS[own + 1:]]


def room_files() -> list[Path]:
    return [file for room in ROOMS for file in sorted((ROOT / "pipeline" / room).rglob("*.py"))]


def test_every_module_stands_in_a_room() -> None:
    folders = {file.relative_to(ROOT).parts[1] for file in (ROOT / "pipeline").rglob("*.py")}
    assert folders == {*ROOMS, "__init__.py", "__main__.py"}


def test_each_room_imports_only_rooms_before_it() -> None:
    assert [line for file in room_files() for line in upward(file, imports(file))] == []


def test_alexnet_knows_nothing_of_the_pipeline() -> None:
    forbidden = ("pipeline", "click", "dvc", "mlflow")
    for file in (ROOT / "alexnet").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(file)} & set(forbidden), file


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {}
    for package in ("alexnet", "pipeline"):
        for file in (ROOT / package).rglob("*.py"):
            graph[file] = {module(name) for name in imports(file, top_only=True)} - {file}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_an_import_upwards_is_seen() -> None:
    assert upward(ROOT / "pipeline/data/store.py", {"pipeline.system.files"}) == []
    assert upward(ROOT / "pipeline/data/store.py", {"pipeline.training.run"}) == [
        "pipeline/data/store.py imports pipeline.training.run"]
