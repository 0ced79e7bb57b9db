"""Records found in a real store, and travelling to another one: nothing lost, nothing doubled,
nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import parameters
from pipeline.config.paths import LEARNING, TRACE, WEIGHTS
from pipeline.records import code_archive, environment, mlflow_store, record_files
from pipeline.records.exchange import export_record, import_record
from pipeline.records.kept_runs import KeptRun, find, read_folder
from pipeline.records.recording import recorded
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
READ = parameters.load(ROOT / "params.yaml")
FILES = ["code.tar.gz", "environment.json", "learning.csv", "parameters.json", "record.json",
         "trace.jsonl"]
CURVE = [{"step": 5, "training_loss": 0.1, "validation_error": 1 / 3},
         {"step": 10, "training_loss": 1e-17}]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two projects, each with a store of its own; the tests share them, because making one takes
    seconds."""
    return tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")


@pytest.fixture(autouse=True)
def here(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch,
         request: pytest.FixtureRequest) -> Path:
    monkeypatch.chdir(stores[0])
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    monkeypatch.setattr(environment, "fingerprint",
                        lambda with_torch=True: {"lock_digest": "l" * 64, "cpu": "x"})
    monkeypatch.setattr(environment, "git_state", lambda: environment.GitState("c" * 40, ""))
    return stores[0]


def trained(**tags: str) -> str:
    """The id of a new run that looks like a training's."""
    for path, content in ((WEIGHTS, b"weights"), (TRACE, b'{"step": 1}\n'),
                          (LEARNING, b"step,training_loss\n5,0.1\n")):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with recorded("train", READ) as record:
        record.finish({"steps": 10, "weights_digest": "w" * 64} | tags)
        record.log_curve(CURVE)
        for path in (WEIGHTS, TRACE, LEARNING):
            record.add_artifact(path)
    assert record.run_id
    return record.run_id


def all_runs() -> list[Any]:
    return list(mlflow_store.connect().find("attributes.status != 'nothing'", limit=100))


def test_a_run_is_found_by_its_id_by_the_beginning_of_it_and_as_the_latest() -> None:
    first, second = trained(), trained()
    with recorded("mean", READ) as other:
        pass
    for name, run_id in ((first, first), (second[:8], second), ("latest", second),
                         (other.run_id, other.run_id)):
        assert name
        assert find(name).facts.run_id == run_id
    with pytest.raises(UserError, match=f"no run whose id begins with {'0' * 32}"):
        find("0" * 32)
    with pytest.raises(UserError, match="neither the id of a run nor a folder"):
        find("%' or 1=1")
    with pytest.raises(UserError, match=r"names no trace\.jsonl"):
        find(str(other.run_id)).trace()


def test_the_beginning_of_two_ids_is_not_enough() -> None:
    starts = [trained()[0] for _ in range(17)]  # of sixteen digits, one comes twice
    twice = next(start for start in starts if starts.count(start) > 1)
    with pytest.raises(UserError, match=f"{twice}: [0-9]+ runs begin so"):
        find(twice)


def test_there_may_be_no_latest_and_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no finished training"):
        find("latest")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be used") as told:
        find("latest")
    assert "secret" not in str(told.value)


def test_what_travels_is_what_the_store_has(tmp_path: Path) -> None:
    kept = find(trained())
    folder = export_record(kept, tmp_path / "record")
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert read_folder(folder).facts == find(str(folder)).facts == kept.facts
    assert kept.facts.curve == CURVE
    assert kept.facts.metrics == {"steps": 10.0}
    assert kept.facts.tags["weights_digest"] == "w" * 64
    assert not [name for name in kept.facts.tags if name.startswith("mlflow.")]
    with pytest.raises(UserError, match="is there already"):
        export_record(kept, folder)
    with_weights = export_record(kept, tmp_path / "whole", weights=True)
    assert (with_weights / "model.safetensors").read_bytes() == b"weights"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["record", "whole"]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_of_any_file_is_named(tmp_path: Path, name: str) -> None:
    folder = export_record(find(trained()), tmp_path / "record")
    read_folder(folder)
    content = bytearray((folder / name).read_bytes())
    for at in (0, len(content) // 2, len(content) - 3):
        changed = content.copy()
        changed[at] ^= 1
        (folder / name).write_bytes(changed)
        for look in (read_folder, import_record):
            with pytest.raises(UserError, match=name):
                look(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        read_folder(folder)
    assert len(all_runs()) == 1


def test_a_changed_value_in_the_record_is_noticed(tmp_path: Path) -> None:
    folder = export_record(find(trained()), tmp_path / "record")
    told = json.loads((folder / "record.json").read_text())
    for change in ({"params": told["params"] | {"train.seed": "2"}}, {"status": "FAILED"},
                   {"curve": []}, {"files": {**told["files"], "other.txt": "0" * 64}}):
        (folder / "record.json").write_text(json.dumps(told | change))
        with pytest.raises(UserError, match=r"record\.json: changed since it was written"):
            read_folder(folder)
    for broken in ("[]", "{}", "", '{"digest": "", "files": {}, "format": 2}'):
        (folder / "record.json").write_text(broken)
        with pytest.raises(UserError, match=r"record\.json"):
            read_folder(folder)


def test_an_import_is_the_run_once_more_in_another_store_and_only_once(
        tmp_path: Path, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    original = find(trained())
    folder = export_record(original, tmp_path / "record", weights=True)
    # the original itself is in this store
    assert import_record(folder) == (original.facts.run_id, False)
    monkeypatch.chdir(stores[1])
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.tracking.MlflowClient.set_terminated", None)
        with pytest.raises(UserError, match="not imported"):
            import_record(folder)
    run_id, new = import_record(folder)
    assert new
    assert import_record(folder) == (run_id, False)
    assert len(all_runs()) == 1
    imported = find(run_id)
    assert imported.facts.tags["imported_from"] == original.facts.run_id
    for name in ("stage", "status", "started", "ended", "params", "metrics", "curve"):
        assert getattr(imported.facts, name) == getattr(original.facts, name), name
    assert imported.facts.tags.items() >= {name: value
                                           for name, value in original.facts.tags.items()
                                           if name != "record"}.items()
    for name in record_files.FILES:
        assert content_of(imported, name) == content_of(original, name), name
    with pytest.raises(UserError, match="no finished training"):
        find("latest")  # imported ones are not meant


def content_of(kept: KeptRun, name: str) -> bytes | None:
    file = kept.fetch(name)
    return file.read_bytes() if file else None


def test_an_evaluation_here_does_not_join_an_imported_training(
        tmp_path: Path, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_record(find(trained()), tmp_path / "record")
    monkeypatch.chdir(stores[1])
    imported, _ = import_record(folder)
    shutil.rmtree("work", ignore_errors=True)
    with recorded("evaluate", READ) as record:
        record.finish({"top1_error": 0.5, "weights_digest": "w" * 64})
    assert record.run_id != imported
    assert "top1_error" not in find(imported).facts.metrics


def stored(run_id: str, name: str) -> Path:
    """Where the store keeps a file."""
    return Path("mlartifacts") / run_id / "artifacts" / record_files.FILES[name]


@pytest.mark.parametrize("name", ["environment.json", "parameters.json", "code.tar.gz",
                                  "trace.jsonl", "learning.csv", "model.safetensors"])
def test_a_file_of_the_store_is_held_against_its_digest_before_it_is_used_or_exported(
        here: Path, tmp_path: Path, name: str) -> None:
    run_id = trained()
    find(run_id).check_files()  # whole, it is taken
    file = here / stored(run_id, name)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    named = rf"run {run_id[:12]}: .*{file.name}: changed since it was recorded"
    for use in (lambda: find(run_id).fetch(name), lambda: find(run_id).check_files(),
                lambda: export_record(find(run_id), tmp_path / "record", weights=True)):
        with pytest.raises(UserError, match=named):
            use()
    assert not (tmp_path / "record").exists()
    file.unlink()
    with pytest.raises(UserError, match=rf"run {run_id[:12]}: its file .*{file.name} is missing"):
        find(run_id).fetch(name)
    file.write_bytes(content)
    assert export_record(find(run_id), tmp_path / "record", weights=True).exists()


def test_records_from_before_the_tag_name_four_digests(here: Path) -> None:
    trace = hashlib.sha256(b'{"step": 1}\n').hexdigest()
    run_id = trained(trace_digest=trace)
    store = mlflow_store.connect()
    store.client.delete_tag(run_id, record_files.TAG)
    for name in ("trace.jsonl", "environment.json", "code.tar.gz"):
        assert find(run_id).fetch(name)
        file = here / stored(run_id, name)
        content = file.read_bytes()
        file.write_bytes(code_archive.pack_code(here) if name == "code.tar.gz" else content + b" ")
        with pytest.raises(UserError, match=f"{name}: changed since it was recorded"):
            find(run_id).fetch(name)
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"names the weights_digest w+, and it has none"):
        find(run_id).fetch("model.safetensors")


def test_what_a_store_cannot_show_is_not_said_to_be_absent(here: Path) -> None:
    run_id = trained()
    os.rename(here / "mlartifacts", here / "elsewhere")
    try:
        with pytest.raises(UserError, match=r"its models/trace\.jsonl cannot be read from .*: no "
                                            "such folder, though the store names it"):
            find(run_id).trace()
    finally:
        os.rename(here / "elsewhere", here / "mlartifacts")
