"""setup.sh where something is missing, and where all is done. The set-up itself is what these tests
run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import wheel_hashes

ROOT = Path(__file__).resolve().parents[1]
MADE_FROM = ("requirements.lock", "requirements.hashes", "pyproject.toml", "setup.sh")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in MADE_FROM:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def set_up(clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./setup.sh"], cwd=clone, capture_output=True, text=True, timeout=60,
                          check=False, env=os.environ | {"PYTHON": sys.executable} | variables)


def refused(clone: Path, **variables: str) -> str:
    """What it says when it cannot go on; nothing has been made by then."""
    done = set_up(clone, **variables)
    assert done.returncode == 1
    assert not (clone / ".venv").exists()
    return done.stderr


def test_an_old_python_is_refused(clone: Path) -> None:
    old = script(clone / "old", 'case "$*" in *%d.%d*) echo 3.9 ;; *) exit 1 ;; esac')
    assert "is Python 3.9, and 3.11 or newer is needed" in refused(clone, PYTHON=str(old))
    assert "no Python called 'python3.99'" in refused(clone, PYTHON="python3.99")


@pytest.mark.parametrize(("lacking", "what", "packages"), [
    ("", "a C compiler", ["build-essential", "gcc"]),
    ("Python.h", "Python.h", ["python3-dev", "python3-devel"]),
    ("jpeglib.h", "jpeglib.h", ["libjpeg-dev", "libjpeg-turbo-devel", "jpeg-turbo"]),
    ("zlib.h", "zlib.h", ["zlib1g-dev", "zlib-devel"]),
])
def test_what_is_missing_is_named_with_its_packages(clone: Path, lacking: str, what: str,
                                                    packages: list[str]) -> None:
    # compiles all but what includes the lacking header
    compiler = script(clone / "cc", f"! grep -q '{lacking}'")
    # A Python that is on x86 wherever this is: elsewhere Pillow comes built, and needs none of it.
    x86 = script(clone / "x86", 'case "$*" in *platform.machine*) echo x86_64 ;; *) exec '
                                f'{sys.executable} "$@" ;; esac')
    told = refused(clone, CC=str(compiler), PYTHON=str(x86))
    first, *rest = told.splitlines()
    assert what in first
    assert first.count("(") == 1  # nothing else is missing
    for package in packages:
        assert any(line.endswith(f" {package}") for line in rest), package


def finished(clone: Path) -> None:
    """A .venv as a finished set-up leaves it, as far as setup.sh looks."""
    script(clone / ".venv/bin/python", "exit 0")
    content = b"".join((clone / name).read_bytes() for name in MADE_FROM)
    checksum = subprocess.run(["cksum"], input=content, capture_output=True,
                              check=True).stdout.decode().strip()
    (clone / ".venv/set-up").write_text(f"{checksum} {clone.resolve()}\n")


def test_a_finished_set_up_is_not_repeated(clone: Path) -> None:
    finished(clone)
    done = set_up(clone, PYTHON="/nonexistent")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", MADE_FROM)
def test_a_change_of_what_it_is_made_from_repeats_it(clone: Path, name: str) -> None:
    finished(clone)
    with (clone / name).open("a") as stream:
        stream.write("\n")
    assert set_up(clone, PYTHON="/nonexistent").returncode == 1


def test_a_project_that_was_moved_is_set_up_again(clone: Path) -> None:
    finished(clone)
    moved = clone.with_name(clone.name + "-moved")
    clone.rename(moved)
    assert set_up(moved, PYTHON="/nonexistent").returncode == 1


def test_an_interpreter_that_is_gone_repeats_it(clone: Path) -> None:
    finished(clone)
    script(clone / ".venv/bin/python", "exit 1")
    assert set_up(clone, PYTHON="/nonexistent").returncode == 1


def test_make_alone_lists_what_there_is() -> None:
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "repro", "check", "test", "ui"):
        assert f"make {target} " in told


def test_the_lock_satisfies_the_project_and_holds_no_address() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*told["build-system"]["requires"], *told["project"]["dependencies"],
              *(one for extra in told["project"]["optional-dependencies"].values()
                for one in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name == told["project"]["name"]:  # an extra that takes in others
            continue
        assert requirement.specifier.contains(
            pins[canonicalize_name(requirement.name)]), requirement
    assert "pillow" not in pins
    hashed = wheel_hashes.hashed()
    assert {name: pins[name] for name in hashed} == hashed
    assert pins.keys() - hashed.keys() == {"torch", "torchvision", "pillow-simd",
                                           "antlr4-python3-runtime"}
    for file in ("requirements.lock", "requirements.hashes"):
        assert "://" not in (ROOT / file).read_text()


def test_only_wheels_of_the_version_are_taken() -> None:
    names = ("a_b-1.0-py3-none-any.whl", "a_b-1.0.0-cp311-cp311-manylinux_2_17_x86_64.whl",
             "a_b-1.1-py3-none-any.whl", "a-b-1.0.tar.gz", "a_b-1.0rc1-py3-none-any.whl")
    files = [{"filename": name, "hashes": {"sha256": str(number)}}
             for number, name in enumerate(names)]
    assert wheel_hashes.wheels(files, "1.0") == ["0", "1"]
