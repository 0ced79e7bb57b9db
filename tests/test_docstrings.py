"""Docstrings: every public name of the two packages has one, and the files they name are there."""

from __future__ import annotations

import ast
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.system import errors

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(file.relative_to(ROOT).as_posix() for package in ("alexnet", "pipeline")
                 for file in (ROOT / package).rglob("*.py"))
BENCHMARKS = sorted(file.relative_to(ROOT).as_posix()
                    for file in (ROOT / "benchmarks").glob("*.py"))
Named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: ast.Module | Named, above: str = "") -> Iterator[tuple[str, Named]]:
    """Classes, functions and methods whose names begin with no underscore. What a base of torch or
    pydantic asks for by name (`forward`, `backward`, ...) has its documentation there."""
    for each in node.body:
        if isinstance(each, Named) and not each.name.startswith("_"):
            yield f"{above}{each.name}", each
            if isinstance(each, ast.ClassDef):
                yield from public(each, f"{each.name}.")


def without_docstring(source: str) -> list[str]:
    module = ast.parse(source)
    found = [] if ast.get_docstring(module) else ["the module"]
    return found + [name for name, node in public(module) if not ast.get_docstring(node)]


# A file that a docstring names: with its folder, or of a kind that is here.
FILE = re.compile(r"(?<![\w./<*-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|yaml|toml|j2|css|c|h)"
                  r"|[a-z_0-9]+\.(?:py|md|j2|css))(?![\w/])")
# What stages and commands leave, the original source of 2012, and a name with a gap in it.
ELSEWHERE = re.compile(r"(data|models|metrics|report|work|golden|experiments)/"
                       r"|convdata_\w+\.py|presets/NAME\.yaml")


def missing_files(module: Path, source: str) -> list[str]:
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.Module | Named)]
    places = (ROOT, ROOT / "pipeline", ROOT / "alexnet", ROOT / "tests", module.parent)
    return [name for text in texts for name in FILE.findall(text)
            if not ELSEWHERE.match(name) and not any((place / name).exists() for place in places)]


@pytest.mark.parametrize("module", [*MODULES, *BENCHMARKS])
def test_every_file_that_a_docstring_names_is_there(module: str) -> None:
    assert missing_files(ROOT / module, (ROOT / module).read_text(encoding="utf-8")) == []


def test_a_file_that_is_not_there_is_seen() -> None:
    assert missing_files(ROOT / "pipeline/x.py", '"""See gone.py, docs/gone.md, README.md."""') == [
        "gone.py", "docs/gone.md"]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module: str) -> None:
    assert without_docstring((ROOT / module).read_text(encoding="utf-8")) == []


def test_a_name_without_one_is_seen() -> None:
    assert without_docstring("def f():\n  return 1\nclass C:\n  '''c'''\n  def m(self): pass\ndef "
                             "_g(): pass\n") == ["the module", "f", "C.m"]


def test_the_reference_is_made_from_them(tmp_path: Path) -> None:
    """The command of `make docs`, on two modules."""
    line = next(line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
                if "-m pdoc" in line)
    options = line.split("-m pdoc")[1].rstrip("\\").split()
    subprocess.run([sys.executable, "-W", "ignore", "-m", "pdoc", *options,
                    "--output-directory", tmp_path, "pipeline.system.errors", "alexnet.recipe"],
                   cwd=ROOT, check=True, capture_output=True)
    page = (tmp_path / "pipeline/system/errors.html").read_text(encoding="utf-8")
    assert "EX_SOFTWARE of sysexits.h" in page
    assert "REMEDIES" in page
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<a href="alexnet/recipe.html">alexnet.recipe</a></dt>' in index
    assert f"<dd>{(errors.__doc__ or '').strip().splitlines()[0]}" in html.unescape(index)
