"""The database of runs: made whole or not at all, in any folder, and wherever that is moved."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.records import database, mlflow_connection
from pipeline.records.mlflow_store import MlflowStore
from pipeline.records.record import Record, process_tags
from tests.loaded import Door

ROOT = Path(__file__).resolve().parents[3]
# A run with a file, from the folder that it is started in.
RECORD = f"""
from pathlib import Path
from pipeline.config import parameters
from pipeline.records import environment, recording
environment.fingerprint = lambda with_torch=True: {{"lock_digest": "l" * 64}}
with recording.recorded("mean", parameters.load(Path({str(ROOT / "params.yaml")!r}))) as record:
    record.finish({{"mean_r": 1.0}})
print(record.run_id)
"""


def start(folder: Path, script: str = RECORD, **variables: str) -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items()
                 if not name.startswith("MLFLOW_")} | variables
    return subprocess.Popen([Door.python, "-c", script],
                            cwd=folder, env=variables | {"PYTHONPATH": str(ROOT)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def record(folder: Path, **variables: str) -> tuple[str, str]:
    """The id of a run made there, and what was said."""
    run_id, said = start(folder, **variables).communicate(timeout=100)
    return run_id.strip(), said


def texts(folder: Path) -> list[Path]:
    return list((folder / "mlartifacts").rglob("parameters.json"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with a store and a run."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    run_id, said = record(folder)
    assert len(run_id) == 32, said
    assert len(texts(folder)) == 1
    return folder


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def find_and_read(folder: Path) -> str:
    """What the only run there says, its file read back."""
    script = ("from pipeline.records import kept_runs, mlflow_connection, mlflow_store\n"
              "[run] = mlflow_store.connect().find(\"tags.stage = 'mean'\", limit=9)\n"
              "print(kept_runs.find(run.info.run_id).json('parameters.json')['dataset']['source'])")
    output, errors = start(folder, script).communicate(timeout=100)
    return output.strip() or errors


def test_two_stages_that_start_at_once_in_a_fresh_clone_make_one_store(tmp_path: Path) -> None:
    children = [start(tmp_path) for _ in range(3)]
    ids = {child.communicate(timeout=200)[0].strip() for child in children}
    assert len(ids) == 3
    assert "" not in ids
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert {run for run, in store.execute("SELECT run_uuid FROM runs")} == ids
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlartifacts", "mlflow.db", "work"]


@pytest.mark.parametrize("seconds", [0.2, 0.8])
def test_a_kill_while_it_is_made_leaves_none_or_a_whole_one(tmp_path: Path, seconds: float) -> None:
    child = start(tmp_path)
    latest = time.monotonic() + 60
    while not list(tmp_path.glob(".mlflow.db.*.part")):
        assert child.poll() is None
        assert time.monotonic() < latest
        time.sleep(0.002)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    run_id, said = record(tmp_path)
    assert len(run_id) == 32, said
    assert "unsent" not in said
    assert not list(tmp_path.glob(".mlflow.db.*.part*"))


def test_one_that_was_left_half_made_is_put_aside_and_made_anew(made: Path, tmp_path: Path) -> None:
    """As MLflow itself leaves it when it is killed."""
    for number, break_it in enumerate(("", "DROP TABLE alembic_version; DROP TABLE metrics;",
                                       "DELETE FROM alembic_version;")):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = folder / "mlflow.db"
        if break_it:
            shutil.copyfile(made / "mlflow.db", file)
            with closing(sqlite3.connect(file)) as store:
                store.executescript("DELETE FROM tags; DELETE FROM params; DELETE FROM runs;"
                                    "DELETE FROM experiments WHERE experiment_id > 0;")
                store.executescript(break_it)
        else:
            file.touch()
        run_id, said = record(folder)
        assert len(run_id) == 32, said
        assert "mlflow.db: only partly made, by a process that was killed" in said
        assert len(list(folder.glob("mlflow.db.incomplete-*"))) == 1


def test_one_of_another_version_is_not_migrated_unasked(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copyfile(made / "mlflow.db", file)
    with closing(sqlite3.connect(file)) as store:
        store.executescript("DROP TABLE scorers; UPDATE alembic_version SET version_num = 'old'")
    before = file.read_bytes()
    _, said = record(tmp_path)
    assert "of another version of MLflow than the one installed" in said
    assert f"mlflow db upgrade 'sqlite:///{file}'" in said
    assert "`alexnet sync` sends it" in said
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["renamed #é", "50%2F50", "what?"])
def test_a_project_that_was_renamed_finds_its_files(made: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(made, tmp_path / "before")
    os.rename(tmp_path / "before", folder)
    assert find_and_read(folder) == "sample"
    assert len(record(folder)[0]) == 32
    assert len(texts(folder)) == 2
    assert not (tmp_path / "before").exists()


def test_a_copy_writes_into_itself_and_reads_from_itself(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    before = sorted((made / "mlartifacts").rglob("*"))
    assert find_and_read(copy) == "sample"
    for file in texts(made):
        content = file.read_bytes()
    for file in texts(copy):
        file.unlink()
    assert "is missing from the store" in find_and_read(copy)  # not read from the original
    record(copy)
    assert sorted((made / "mlartifacts").rglob("*")) == before
    assert all(file.read_bytes() == content for file in texts(made))
    assert len(texts(copy)) == 1


def test_a_relative_address_is_the_projects_in_a_copy_of_dvcs_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmp0a1b"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    for address, resolved in (("sqlite:///mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"),
                              ("sqlite:///a/b.db?timeout=5", f"sqlite:///{tmp_path}/a/b.db?timeout=5"),
                              ("sqlite:////a/b.db", "sqlite:////a/b.db"),
                              ("mlruns", f"{tmp_path}/mlruns"), ("/mlruns", "/mlruns"),
                              ("http://localhost:5000", "http://localhost:5000")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert mlflow_connection.tracking_uri() == resolved
    run_id, said = record(copy, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    assert len(run_id) == 32, said
    assert (tmp_path / "mlflow.db").exists()
    assert [path.name for path in copy.iterdir()] == []


def test_a_database_of_others_keeps_its_addresses(made: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """One that several projects share has its files where the first of them has put them."""
    shutil.copyfile(made / "mlflow.db", tmp_path / "shared.db")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared.db")
    store = MlflowStore()
    store.begin(begun := Record("pca", 1, {}, process_tags() | {"git_commit": "c"}, {}))
    run = store.client.get_run(begun.run_id)
    assert run.info.artifact_uri.startswith((made / "mlartifacts").as_uri())
    assert database.file_of(mlflow_connection.tracking_uri()) == tmp_path / "shared.db"
