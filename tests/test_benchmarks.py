"""Every benchmark can be imported, and answers `--help`.

All are asked in one process of their own: torchvision must be imported by their shim first, and one
start of PyTorch is enough.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py"))
COMMANDS = [name for name in MODULES
            if "def main" in (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")]
ASK = """
import contextlib, importlib, io, json, sys
answers = {}
for name in sys.argv[1:]:
    printed = io.StringIO()
    sys.argv = [name, "--help"]
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            getattr(module, "main", lambda: None)()
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException as error:
        status = f"{type(error).__name__}: {error}"
    answers[name] = [status, printed.getvalue()]
print(json.dumps(answers))
"""


def ask(*names: str) -> dict[str, tuple[object, str]]:
    """The exit status (or the exception) and the answer of each benchmark to `--help`."""
    done = subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", ASK, *names], cwd=ROOT,
                          check=True, text=True, capture_output=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    answers: dict[str, tuple[object, str]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[object, str]]:
    return ask(*MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_it_is_imported_and_answers(answers: dict[str, tuple[object, str]], name: str) -> None:
    status, answer = answers[name]
    assert status == 0
    assert (f"benchmarks.{name}" in answer) == (name in COMMANDS)


def test_one_that_is_not_there_is_seen() -> None:
    (status, _), = ask("no_such_benchmark").values()
    assert str(status).startswith("ModuleNotFoundError")
