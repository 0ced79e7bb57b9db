"""The guard on Pillow, the fingerprint, the digest of the code, and what git knows of it."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.pixels import decoder
from pipeline.records import environment
from pipeline.records.environment import GitState, code_digest, fingerprint, git_state
from pipeline.system.project import CODE


def test_this_environment_is_sound() -> None:
    environment.check()


@pytest.mark.parametrize(("stock", "simd", "files", "told"), [
    ("12.1.1", "12.1.1.post0", "12.1.1.post0", "both installed"),
    ("12.1.1", "12.1.1.post0", "12.1.1", "both installed"),
    (None, "12.1.1.post0", "12.1.1", "are not its own"),
    (None, "12.1.1.post0", None, "are not its own"),
    ("12.1.1", None, "12.1.1.post0", "are not its own"),
    (None, None, None, "not installed"),
])
def test_a_mixture_of_pillows_is_refused_with_its_mend(
        stock: str | None, simd: str | None, files: str | None, told: str) -> None:
    problem = environment._problem_with_pillow(stock, simd, files)
    assert problem
    assert told in problem
    assert "pip install" in problem


@pytest.mark.parametrize(("stock", "simd", "files"), [
    (None, "12.1.1.post0", "12.1.1.post0"), ("12.2.0", None, "12.2.0")])
def test_either_pillow_alone_is_fine(stock: str | None, simd: str | None, files: str) -> None:
    assert environment._problem_with_pillow(stock, simd, files) is None


def test_the_fingerprint_is_the_same_in_one_place_and_flat() -> None:
    found = fingerprint()
    assert found == fingerprint()
    assert all(isinstance(name, str) and isinstance(value, str) and value
               for name, value in found.items())
    assert {"python", "cpu", "cores", "numpy", "torch", "torch_build", "cpu_capability", "onednn",
            "pillow", "libjpeg", "lock_digest", "gpu"} <= found.keys()
    assert found["pillow"].split()[0] in ("pillow-simd", "Pillow")
    assert found["pixels"] == decoder()["fingerprint"]
    assert fingerprint(with_torch=False).items() <= found.items()


def test_a_variable_that_changes_bits_changes_the_fingerprint(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    before = fingerprint(with_torch=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert fingerprint(with_torch=False) == before | {"variable ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_packages_that_are_not_those_of_the_lock_are_told(tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    monkeypatch.setattr(environment, "LOCK", tmp_path / "lock")
    (tmp_path / "lock").write_text(f"numpy=={numpy.__version__}\n")
    followed = fingerprint(with_torch=False)
    assert followed["lock_followed"] == "yes"
    (tmp_path / "lock").write_text("numpy==1.0\nno-such-package==2\n")
    strayed = fingerprint(with_torch=False)
    assert strayed["lock_followed"] == f"no: numpy {numpy.__version__}, no-such-package missing"
    assert strayed["lock_digest"] != followed["lock_digest"]


def test_a_packages_version_is_that_of_its_headers(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy", "torch", "mlflow", "pytest"):
        assert environment._version(name) == metadata.version(name)
    assert environment._version("no-such-package") is None
    monkeypatch.syspath_prepend(str(tmp_path))
    for place, version in (("odd-1.dist-info", "1.2.post3"), ("folded-1.dist-info", "\n 4.5")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {place[:-12]}\nVersion: {version}\n\nVersion: 9\n")
    assert environment._version("odd") == metadata.version("odd") == "1.2.post3"
    assert environment._version("folded") == metadata.version("folded")


def tree(root: Path) -> Path:
    """A small project."""
    for name, text in (("alexnet/a.py", "a = 1\n"), ("pipeline/stages/b.py", "b = 2\n"),
                       ("params.yaml", "x: 1\n"), ("docs/c.md", "c\n")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_code_digest_sees_every_byte_and_name(tmp_path: Path) -> None:
    digest = code_digest(tree(tmp_path / "a"))
    assert digest == code_digest(tree(tmp_path / "b"))
    file = tmp_path / "a/pipeline/stages/b.py"
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
        assert code_digest(tmp_path / "a") != digest
    file.write_bytes(content)
    assert code_digest(tmp_path / "a") == digest
    file.rename(file.with_name("c.py"))
    assert code_digest(tmp_path / "a") != digest
    (tmp_path / "b/docs/c.md").write_text("other")
    (tmp_path / "b/pipeline/b.pyc").write_text("other")
    assert code_digest(tmp_path / "b") == digest
    (tmp_path / "b/alexnet/new.py").touch()
    assert code_digest(tmp_path / "b") != digest


@given(st.text("ab\n", max_size=6), st.text("ab\n", max_size=6))
def test_text_moved_from_one_file_to_the_next_changes_the_digest(
        tmp_path_factory: pytest.TempPathFactory, one: str, two: str) -> None:
    root = tree(tmp_path_factory.mktemp("moved"))

    def digest(first: str, second: str) -> str:
        (root / "alexnet/a.py").write_text(first)
        (root / "alexnet/b.py").write_text(second)
        return code_digest(root)

    assert (digest(one, two) == digest(one + two, "")) == (two == "")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), "-c", "user.name=test", "-c",
                    "user.email=test@localhost", *arguments], check=True, capture_output=True)


def repository(root: Path) -> Path:
    tree(root)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "a tree")
    return root


def test_without_a_repository_that_is_said(tmp_path: Path) -> None:
    assert git_state(tree(tmp_path)) == GitState("not a repository", None)
    assert git_state(tmp_path).tags() == {"git_commit": "not a repository", "git_dirty": "unknown"}
    git(tmp_path, "init", "-q")
    # one in which the code only happens to lie
    assert git_state(tmp_path).commit == "not a repository"
    git(tmp_path, "add", "-A")
    assert git_state(tmp_path).commit == "no commit yet"


def test_the_diff_rebuilds_the_code_as_it_was(tmp_path: Path) -> None:
    root = repository(tmp_path / "one")
    clean = git_state(root)
    assert len(clean.commit) == 40
    assert not clean.dirty
    (root / "docs/c.md").write_text("changed\n")
    (root / "notes.txt").write_text("new\n")
    assert git_state(root) == clean
    (root / "alexnet/a.py").write_text("a = 3  # ×\n")
    (root / "pipeline/new.py").write_text("new = 1\n")
    (root / "params.yaml").write_text("x: 2\n")
    (root / "pipeline/stages/b.py").unlink()
    dirty = git_state(root)
    assert dirty.commit == clean.commit
    assert dirty.dirty
    git(tmp_path, "clone", "-q", "one", "two")
    (tmp_path / "changes.diff").write_text(dirty.diff, encoding="utf-8")
    git(tmp_path / "two", "apply", str(tmp_path / "changes.diff"))
    assert code_digest(tmp_path / "two") == code_digest(root)
    assert (tmp_path / "two/params.yaml").read_text() == "x: 2\n"


def test_a_git_that_does_not_answer_is_no_missing_repository(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "one")
    assert git_state(root).tags()["git_dirty"] == "false"
    monkeypatch.setenv("HOME", str(tmp_path))  # no safe.directory of the user's
    with monkeypatch.context() as changed:
        changed.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        state = git_state(root)
    assert state.commit.startswith("unknown: fatal: detected dubious ownership"), state
    assert state.tags()["git_dirty"] == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(root) == GitState("unknown: git cannot be started: No such file or directory",
                                       None)


def test_users_settings_of_git_do_not_change_the_diff(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "alexnet/a.py").write_text("a = 3\n")
    (root / "alexnet/é.py").write_text("b = 3\n")
    plain = git_state(root)
    for setting in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "false"),
                    ("diff.mnemonicPrefix", "true")):
        git(root, "config", *setting)
    assert git_state(root) == plain


def test_the_code_of_this_project_has_a_digest() -> None:
    assert len(code_digest()) == 64
    assert (CODE / "pipeline" / "records" / "environment.py").exists()
