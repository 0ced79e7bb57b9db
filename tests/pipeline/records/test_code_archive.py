"""The code of a run as a file: the same bytes for the same code, and never restored as anything
else."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipeline.records import code_archive, environment
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("alexnet/net.py", "pipeline/stages/train.py", "pipeline/notes.md", "params.yaml",
                 "alexnet/kernels/sums.c", "dvc.lock"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


def packed(folder: Path, content: bytes) -> Path:
    file = folder / "code.tar.gz"
    file.write_bytes(content)
    return file


def test_the_same_code_gives_the_same_bytes_whenever_and_wherever(project: Path,
                                                                  tmp_path: Path) -> None:
    first = code_archive.pack_code(project)
    os.utime(project / "params.yaml", (1, 1))
    (project / "alexnet/net.py").chmod(0o600)
    assert code_archive.pack_code(project) == first
    project.rename(tmp_path / "elsewhere")
    assert code_archive.pack_code(tmp_path / "elsewhere") == first
    assert sorted(code_archive.file_digests(packed(tmp_path, first))) == [
        "alexnet/kernels/sums.c", "alexnet/net.py", "dvc.lock", "params.yaml",
        "pipeline/stages/train.py"]


def test_what_is_restored_is_the_code_of_the_record(project: Path, tmp_path: Path) -> None:
    (project / "alexnet/net.py").write_bytes(b"text = '\xc3\xa4'\r\n")
    archive = packed(tmp_path, code_archive.pack_code(project))
    target = tmp_path / "restored"
    (target / "alexnet").mkdir(parents=True)
    (target / "alexnet/leftover.py").touch()
    code_archive.unpack_code(archive, target, environment.code_digest(project))
    assert environment.code_digest(target) == environment.code_digest(project)
    assert (target / "params.yaml").read_text() == "# params.yaml\n"
    (project / "alexnet/kernels/sums.c").write_text("// another sum\n")
    assert environment.code_digest(target) != environment.code_digest(project)
    with pytest.raises(UserError, match="code_digest 0000"):
        code_archive.unpack_code(archive, target, "0" * 64)


def test_one_changed_byte_is_noticed(project: Path, tmp_path: Path) -> None:
    digest = environment.code_digest(project)
    (project / "pipeline/stages/train.py").write_text("# pipeline/stages/train_py\n")
    with pytest.raises(UserError, match="code_digest"):
        code_archive.unpack_code(packed(tmp_path, code_archive.pack_code(project)),
                                 tmp_path / "restored", digest)


def test_damaged_archives_are_told_of(project: Path, tmp_path: Path) -> None:
    whole = code_archive.pack_code(project)
    for content in (b"", b"no archive", whole[: len(whole) // 2],
                    whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        with pytest.raises(UserError, match=r"code\.tar\.gz"):
            code_archive.unpack_code(packed(tmp_path, content), tmp_path / "restored",
                                  environment.code_digest(project))


def archive_of(name: str, content: bytes = b"x", times: int = 1, **of_header: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(times):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in of_header.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), 1)


@pytest.mark.parametrize("name", ["../outside.py", "/outside.py", "alexnet/../../outside.py",
                                  "alexnet//outside.py", "sitecustomize.py", "torch.py",
                                  "numpy/outside.py", "alexnet/outside.so", "alexnet",
                                  "work/params.yaml", "alexnet/\udcff.py", "alexnet/\x1b[2J.py"])
def test_only_files_of_the_code_are_taken(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a/b"
    target.mkdir(parents=True)
    (target / "there").touch()
    with pytest.raises(UserError, match="not a file of the code"):
        code_archive.unpack_code(packed(tmp_path, archive_of(name)), target, "0" * 64)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["code.tar.gz", "there"]


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    both = b"".join(gzip.decompress(archive_of(name))[:1024]
                    for name in ("alexnet/a.py", "alexnet/a.py/b.py"))
    for content in (gzip.compress(both + bytes(1024)), archive_of(f"alexnet/{'a' * 300}.py")):
        with pytest.raises(UserError,
                           match=r"code\.tar\.gz: 'alexnet/a.*cannot be the name of a file"):
            code_archive.unpack_code(packed(tmp_path, content), tmp_path / "a", "0" * 64)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE,
                                  tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    content = archive_of("alexnet/net.py", b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(UserError, match="not a file of the code"):
        code_archive.unpack_code(packed(tmp_path, content), tmp_path / "a", "0" * 64)


def test_bombs_and_files_that_occur_twice_are_refused(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="occurs twice"):
        code_archive.file_digests(packed(tmp_path, archive_of("alexnet/net.py", times=2)))
    monkeypatch.setattr(code_archive, "LARGEST", 1 << 20)
    with pytest.raises(UserError, match="unpacks to more than 1,048,576 bytes"):
        code_archive.file_digests(packed(tmp_path, archive_of("alexnet/net.py", bytes(1 << 20))))
    bomb = packed(tmp_path, gzip.compress(bytes(128 << 20), 1))
    tracemalloc.start()
    with pytest.raises(UserError, match="unpacks to more than"):
        code_archive.file_digests(bomb)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_the_projects_own_is_small() -> None:
    assert len(code_archive.pack_code(ROOT)) < 600_000
