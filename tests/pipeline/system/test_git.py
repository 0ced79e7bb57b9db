"""git, asked where there is a repository, where there is none, and from within a hook."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.system.git import git_output, git_text


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "a.txt").write_text("a\n")
    subprocess.run(["git", "-C", str(folder), "add", "a.txt"], check=True)
    return folder


def test_what_git_prints_and_none_where_it_fails(repository: Path, tmp_path: Path) -> None:
    assert git_output("ls-files", folder=repository) == b"a.txt\n"
    assert git_output("show", "HEAD:a.txt", folder=repository) is None
    assert git_output("ls-files", folder=tmp_path) is None
    assert git_text("ls-files", folder=tmp_path) == ""


def test_that_files_differ_is_an_answer(repository: Path) -> None:
    (repository / "b.txt").write_text("b\n")
    assert "+b" in git_text("diff", "--no-index", "a.txt", "b.txt", folder=repository)


def test_no_git_is_no_answer(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_output("ls-files", folder=repository) is None


def test_a_hooks_variables_name_no_other_repository(repository: Path, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    asked = subprocess.run(["git", "-C", str(repository), "ls-files"], capture_output=True,
                           check=True)
    assert asked.stdout == b""  # as git itself takes them
    assert git_output("ls-files", folder=repository) == b"a.txt\n"
