"""Code that stages do not depend on cannot reach a bit: one line of each such file is mutated.

The mutant of a file in a room that `config.stages.LEFT_OUT` names leaves the weights and the trace
of a training as they are, or no training at all. `--long` mutates every such file, the suite some.
"""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

from pipeline.config.stages import BY_NAME, LEFT_OUT
from tests.closures import closure, room
from tests.end_to_end.project import Project
from tests.end_to_end.test_which_code import EDIT, RULE
from tests.loaded import LONG

FILES = [file for file in closure("train") if room(file) in LEFT_OUT and file.name != "__init__.py"
         and not {room(file), file.as_posix()} & {*BY_NAME["train"].code_dependencies}]
EVERY = 1 if LONG in os.environ else 6


def mutant(text: str) -> str | None:
    """The text with one line mutated: the first number, test or word in a function's body."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        docstring = ast.get_docstring(node) is not None
        for inner in (part for statement in node.body[docstring:] for part in ast.walk(statement)):
            if not isinstance(inner, ast.expr) or inner.lineno != inner.end_lineno:
                continue
            old = lines[inner.lineno - 1].encode()
            piece = old[inner.col_offset: inner.end_col_offset].decode()
            if isinstance(inner, ast.Constant) and type(inner.value) in (int, float):
                new = f"({piece} + 1)"
            elif isinstance(inner, ast.Compare):
                new = f"(not ({piece}))"
            elif isinstance(inner, ast.Constant) and piece[0] == '"':
                new = f'{piece[:-1]}x"'
            else:
                continue
            lines[inner.lineno - 1] = (old[:inner.col_offset] + new.encode()
                                       + old[inner.end_col_offset:]).decode()
            try:
                ast.parse("".join(lines))
            except SyntaxError:
                return None
            return "".join(lines)
    return None


def digests(project: Project) -> tuple[str, str]:
    metrics = project.metrics("train")
    return metrics["weights_digest"], metrics["trace_digest"]


@pytest.fixture
def copy(reproduced: Project, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    shutil.copytree(reproduced.folder, folder, copy_function=os.link, ignore=shutil.ignore_patterns(
        ".git", ".dvc", "mlflow.db*", "mlartifacts", "__pycache__", "work", "models", "report"))
    (folder / "metrics/train.json").unlink()
    return Project.at(folder)


def mutate(project: Project, file: Path, changed: str | None) -> None:
    if changed is None:
        pytest.skip(f"{file}: no line of it can be mutated")
    (project.folder / file).unlink()  # a link to the original's
    (project.folder / file).write_text(changed, encoding="utf-8")


@pytest.mark.parametrize("file", FILES[::EVERY], ids=lambda file: file.as_posix())
def test_a_mutant_of_code_that_is_left_out_does_not_reach_a_bit(
        reproduced: Project, copy: Project, file: Path) -> None:
    mutate(copy, file, mutant((copy.folder / file).read_text(encoding="utf-8")))
    copy.run("alexnet", "train", status=None)
    if (copy.folder / "metrics/train.json").exists():
        assert digests(copy) == digests(reproduced)


def test_a_mutant_of_code_that_a_training_depends_on_is_seen(
        reproduced: Project, copy: Project) -> None:
    mutate(copy, RULE, (copy.folder / RULE).read_text(encoding="utf-8").replace(*EDIT))
    copy.run("alexnet", "train")
    assert digests(copy) != digests(reproduced)
