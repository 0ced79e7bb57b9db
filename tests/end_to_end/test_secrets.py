"""No credential is left anywhere: all commands of these tests run with planted ones in their
environment and in the address of the repository's remote, and nothing that they wrote or said holds
one of them."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data.sources.layouts import BROKEN_ZIP
from tests.end_to_end.project import IN_ADDRESS, SECRETS, Project
from tests.loaded import LONG

PLANTED = [value.encode() for value in (*SECRETS.values(), IN_ADDRESS)]


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Of all files below it, and of what is packed in them."""
    for file in folder.rglob("*"):
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        yield file, content
        # some of tests/fuzz/corpus are damaged
        with contextlib.suppress(OSError, EOFError, zlib.error, *BROKEN_ZIP):
            if content[:2] == b"\x1f\x8b":
                yield file, gzip.decompress(content)
            if content[:4] == b"PK\3\4":
                with zipfile.ZipFile(file) as archive:
                    for name in archive.namelist():
                        yield file, archive.read(name)


def holding(folder: Path) -> list[Path]:
    return sorted({file.relative_to(folder) for file, content in contents(folder)
                   if any(secret in content for secret in PLANTED)})


def test_no_credential_is_in_a_log_a_record_or_the_store(reproduced: Project) -> None:
    address = f"http://ann:{IN_ADDRESS}@127.0.0.1:9"
    # its record goes to work/unsent
    told = reproduced.run("env", f"MLFLOW_TRACKING_URI={address}", "alexnet", "pca")
    assert "MLflow's store http://... cannot be used" in told  # its password has a slash
    told += reproduced.run("env", f"MLFLOW_TRACKING_URI={address}", "alexnet", "rerun", "latest",
                           status=1)
    assert told.count("http://...") >= 2
    assert (reproduced.folder / "mlflow.db").stat().st_size > 100_000
    assert list((reproduced.folder / "work/unsent").glob("*/record.json"))
    found = holding(reproduced.folder)
    reproduced.run("alexnet", "sync")
    assert found == [Path(".git/config")]  # where they were planted: the search finds what there is
    said = reproduced.folder.with_name(f"{reproduced.folder.name}.said").read_bytes()
    assert len(said) > 1000
    assert not [secret for secret in PLANTED if secret in said]


def test_a_credential_would_be_found(tmp_path: Path) -> None:
    secret = next(iter(SECRETS.values()))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/plain.txt").write_text(f"token={secret}\n")
    (tmp_path / "a/packed.tar.gz").write_bytes(gzip.compress(secret.encode()))
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", secret)
    (tmp_path / "clean").write_text("planted")
    assert holding(tmp_path) == [Path("a/packed.tar.gz"), Path("a/plain.txt"), Path("b.npz")]


FORMS = ["http://me:{}@127.0.0.1:9", "http://{}@127.0.0.1:9", "http://me:a@{}@127.0.0.1:9",
         "http://me:a/{}@127.0.0.1:9", "http://127.0.0.1:9/?user=me&password={}",
         "http://127.0.0.1:9/#token={}", "http://me:a {}@127.0.0.1:9",
         "http://me:12 {}@127.0.0.1:9",
         "postgresql://me:{}@127.0.0.1:9/db?password={}", "nonsense://me:a?{}@127.0.0.1:9"]
COMMANDS = [("runs",), ("rerun", "latest"), ("export", "latest"), ("sync",), ("doctor",), ("mean",),
            ("diff", "latest", "latest"), ("ui",), ("report", "latest"), ("pca",),
            ("ensemble", "latest", "latest"), ("check",), ("claims",), ("golden", "assess"),
            ("import", "nowhere"), ("evaluate",), ("describe",)]


# with --long each form in what each command says, otherwise each form once or twice
@pytest.mark.parametrize(("form", "command"), [
    *(itertools.product(FORMS, COMMANDS) if LONG in os.environ else
      zip(itertools.cycle(FORMS), COMMANDS))])
def test_no_form_of_an_address_shows_its_password(reproduced: Project, form: str,
                                                  command: tuple[str, ...]) -> None:
    secret = "planted" + "-in-a-form"  # not in this text
    address = f"MLFLOW_TRACKING_URI={form.format(secret, secret)}"
    for arguments in (command, ("summary",)):
        said = reproduced.run("env", address, "alexnet", *arguments, status=None)
        assert secret not in said, arguments
        assert "Traceback" not in said, said
    left = [file for folder in ("work", "metrics")
            for file in (reproduced.folder / folder).rglob("*")
            if file.is_file() and secret.encode() in file.read_bytes()]
    assert not left
    for folder in (reproduced.folder / "work/unsent").glob("*"):
        shutil.rmtree(folder)
