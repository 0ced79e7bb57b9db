"""Records that a stranger made: each hostile thing in one, made so that its digests are right, is
refused by its name, and nothing of it is run or followed. And an MLflow store with runs that are
not ours."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import code_archive, environment, exchange, kept_runs, mlflow_store
from pipeline.records.kept_runs import Facts, find, read_folder
from pipeline.records.record import Record, process_tags
from pipeline.studies.rerun.replay import rerun
from pipeline.system.errors import UserError

KINDS = {kind: {"digest": "d" * 64, "tensors": {"conv1.weight/0": "0" * 16}}
         for kind in ("weights", "momentum", "gradients")}
ENTRY = {"step": 1, "loss": "0x1.0p+0", **KINDS}
DATA = {"resize.pixels_digest": "p" * 64, "mean.mean_digest": "m" * 64, "pca.pca_digest": "c" * 64}
FACTS = Facts("a" * 32, "train", "FINISHED", 1, 2, {"train.seed": "1"},
              {"stage": "train", "code_digest": "0" * 64, **DATA}, {"steps": 1.0},
              [{"step": 1, "training_loss": 0.5}])


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No project, and no store that could be reached."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def record(folder: Path, facts: Facts = FACTS, **files: bytes) -> Path:
    """A whole record with these facts; `files` in place of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"environment.json": b'{"cpu": "x"}', "parameters.json": b"{}",
                "code.tar.gz": code_archive.pack_code(), "trace.jsonl": json.dumps(ENTRY).encode(),
                "learning.csv": b"step,training_loss\n1,0.5\n"}
    for name, content in (contents | files).items():
        (folder / name).write_bytes(content)
    exchange.write_record(folder, facts)
    return folder


def doctored(folder: Path, **told: Any) -> Path:
    """A record that says this of itself, with the right digest."""
    whole = json.loads((record(folder) / "record.json").read_text())
    del whole["digest"]
    whole |= told
    whole["digest"] = kept_runs.record_digest(whole)
    (folder / "record.json").write_text(json.dumps(whole))
    return folder


@pytest.mark.parametrize(("field", "value"), [
    ("run_id", "../../../.."), ("run_id", "/etc"), ("run_id", "a' or 1=1 --"), ("run_id", 7),
    ("run_id", "a" * 32 + "\n"), ("status", "EVIL"), ("started", -1), ("ended", 2**70),
    ("tags", []), ("tags", {"stage": 1}), ("tags", {"../x": "y"}), ("tags", {"a" * 251: "y"}),
    ("params", {"\x1b[2J": "y"}), ("metrics", {"steps": "1"}), ("curve", [{}]),
    ("curve", [{"step": 0.5}]), ("curve", [{"step": float("nan")}]), ("curve", {"step": 1}),
    ("files", {"../../../etc/passwd": "0" * 64}), ("files", ["code.tar.gz"]),
    ("files", {"code.tar.gz": None})])
def test_a_field_that_no_record_has_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"record\.json: .*"
                       + ("names a file" if ".." in str(value) and field == "files" else field)):
        read_folder(doctored(tmp_path / "record", **{field: value}))


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    (record(tmp_path / "record") / "record.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"record\.json: not the record of a run \(RecursionError"):
        read_folder(tmp_path / "record")


@pytest.mark.parametrize("name", ["record.json", "environment.json"])
def test_links_and_pipes_are_not_followed(tmp_path: Path, name: str) -> None:
    file = record(tmp_path / "record") / name
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{name}: not a plain file"):
        read_folder(tmp_path / "record")
    file.unlink()
    os.mkfifo(file)  # reading it would wait for ever
    with pytest.raises(UserError,
                       match="not a plain file" if name != "record.json" else "without record"):
        find(str(tmp_path / "record"))


@pytest.mark.parametrize(("name", "content"), [
    ("trace.jsonl", b""), ("trace.jsonl", b"1"), ("trace.jsonl", b'{"step": 1}'),
    ("trace.jsonl", b"\xff"), ("trace.jsonl", b"[" * 100_000),
    ("trace.jsonl", b"\n".join([json.dumps(ENTRY).encode()] * 2)),
    ("trace.jsonl", json.dumps(ENTRY | {"gradients": {"digest": "", "tensors": {"no column": ""}}})
     .encode()), ("environment.json", b"[]"), ("environment.json", b'{"cpu": ["x"]}'),
    ("environment.json", b'{"variable OMP_NUM_THREADS": "1\\u0000"}'),
    ("environment.json", json.dumps({"cpu": "x" * 200_000}).encode()),
    ("environment.json", b'{"cpu\\u001b[2J": "x"}'),
    ("learning.csv", b"x\n1\n"), ("learning.csv", b"step\nmany\n"),
    ("learning.csv", b'step\n"1\n')])
def test_a_file_of_another_form_is_named_before_anything_is_done(tmp_path: Path, name: str,
                                                                 content: bytes) -> None:
    folder = record(tmp_path / "record", **{name: content})
    with pytest.raises(UserError, match=f"{name}: broken"):
        rerun(str(folder), trusted=True)
    assert not list(Path().rglob("code"))


def test_a_file_of_more_bytes_than_any_has_is_not_read(tmp_path: Path) -> None:
    folder = record(tmp_path / "record", **{"environment.json": b" " * (1 << 20) + b"{}"})
    with pytest.raises(UserError, match=r"environment\.json: 1,048,578 bytes, and no run's"):
        find(str(folder)).environment()


@pytest.mark.parametrize("missing", ["code_digest", *DATA])
def test_a_record_without_its_tags_cannot_be_rerun(tmp_path: Path, missing: str) -> None:
    tags = {name: value for name, value in FACTS.tags.items() if name != missing}
    folder = record(tmp_path / "record", replace(FACTS, tags=tags))
    with pytest.raises(UserError,
                       match=r"no tag code_digest|does not name the digests of its data"):
        rerun(str(folder))


def test_code_from_elsewhere_is_not_run_until_the_user_says_so(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for package in environment.PACKAGES:
        (code / package).mkdir(parents=True)
        (code / package / "__init__.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    facts = replace(FACTS, tags=FACTS.tags | {"code_digest": environment.code_digest(code)})
    folder = record(tmp_path / "record", facts, **{"code.tar.gz": code_archive.pack_code(code)})
    with pytest.raises(UserError, match=r"code that is not the code here.*--trust"):
        rerun(str(folder))
    assert not (tmp_path / "pwned").exists()
    assert not list(Path().rglob("*.py"))  # nor even unpacked
    with pytest.raises(UserError, match=r"does not run here|takes the code from"):
        rerun(str(folder), trusted=True)
    assert (tmp_path / "pwned").exists()  # the test could have failed


def test_only_variables_that_change_bits_are_taken_over(tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.studies.rerun.recorded_parameters import variables

    monkeypatch.setenv("MKL_CBWR", "here")
    found = variables({"variable OMP_NUM_THREADS": "3", "variable LD_PRELOAD": "evil.so",
                       "variable PYTHONSTARTUP": "evil.py"})
    assert found["OMP_NUM_THREADS"] == "3"
    assert {"LD_PRELOAD", "PYTHONSTARTUP", "MKL_CBWR"}.isdisjoint(found)


def test_a_store_with_runs_that_are_not_ours(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every odd kind: no tags at all, artifacts that are missing, folders or nonsense, processes
    that are none."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    store = mlflow_store.connect()
    client, experiment = store.client, store.experiment
    plain = client.create_run(experiment, run_name="\x1b[2J<b>").info.run_id
    client.log_metric(plain, "odd", float("nan"), step=-5)
    pretending = client.create_run(experiment,
                                   tags={"stage": "train", "code_digest": "x", **DATA}).info.run_id
    client.log_text(pretending, "{}", "models/trace.jsonl/not a file")
    nonsense = client.create_run(experiment,
                                 tags={"stage": "train", **DATA, "threads": "many"}).info.run_id
    client.log_text(nonsense, json.dumps(ENTRY), "models/trace.jsonl")
    client.log_text(nonsense, "{}", "environment.json")
    here = {name: value for name, value in process_tags().items() if name != "record"}
    dead = [client.create_run(experiment, tags=here | {"process.id": number}).info.run_id
            for number in ("1e9", "9" * 30, "")]
    for run_id in (pretending, nonsense):
        client.set_terminated(run_id)
    for name, told in ((plain, "names no trace"), (pretending, r"trace\.jsonl: broken"),
                       ("latest", r"names no code\.tar")):
        with pytest.raises(UserError, match=told):
            rerun(name)
    exchange.export_record(find(plain), tmp_path / "plain")
    assert read_folder(tmp_path / "plain").facts.stage == "\x1b[2J<b>"
    # no odd run keeps a stage from its record
    store.begin(Record("pca", 1, {}, here | {"git_commit": "c", "record": "r"}, {}))
    assert {client.get_run(run_id).info.status for run_id in dead} == {"KILLED"}
