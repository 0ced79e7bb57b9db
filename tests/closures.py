"""The import closure of a stage: every file of the two packages that its module comes to import."""

from __future__ import annotations

from pathlib import Path

from tests.test_rooms import ROOT, imports, module


def closure(stage: str) -> list[Path]:
    """The files, relative to the project, that `pipeline.stages.STAGE` imports, now or later."""
    start = ROOT / f"pipeline/stages/{stage}.py"
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        waiting += [path for name in imports(file) for path in [module(name)] if path]
        waiting += [package for folder in file.parents if folder != ROOT
                    and folder.is_relative_to(ROOT)
                    for package in [folder / "__init__.py"] if package.is_file()]
    return sorted(file.relative_to(ROOT) for file in seen)


def room(file: Path) -> str:
    """The package or room that a file stands in, as `config.stages` names it."""
    parts = file.parts
    return parts[0] if parts[0] == "alexnet" else "/".join(parts[:2])
