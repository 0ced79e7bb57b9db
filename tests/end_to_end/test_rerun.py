"""Recorded runs, run again with the real commands: from a dirty tree, another clone, a record that
travelled; and one in which a single weight was moved by one unit in its last place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.records import code_archive, environment, exchange, kept_runs
from tests.end_to_end.project import Project

STEPS = [1, 2, 4, 6, 8, 10]  # in the trace
LOST = "http://127.0.0.1:9"


class Clone(Project):
    """A clone of a project's repository, without its data and its store of runs."""

    def __init__(self, original: Project, folder: Path) -> None:
        self.folder = folder
        original.run("git", "clone", "-q", str(original.folder), str(folder))


@pytest.fixture(scope="module")
def record(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported record of the training that `dvc repro` ran."""
    folder = tmp_path_factory.mktemp("records") / "record"
    weights = reproduced.metrics("train")["weights_digest"]
    with sqlite3.connect(reproduced.folder / "mlflow.db") as store:
        [[run_id], *_] = store.execute("select run_uuid from tags join runs using (run_uuid) where "
                                       "key = 'weights_digest' and value = ? and name not like "
                                       "'rerun %' order by start_time", (weights,)).fetchall()
    reproduced.run("alexnet", "export", run_id[:10], str(folder))
    return folder


def state(project: Project) -> dict[str, str]:
    """The digests of all that is the user's own; `work` and the store of runs are the commands'."""
    files = [file for file in project.folder.rglob("*") if file.is_file()
             and "__pycache__" not in file.parts and file.relative_to(project.folder).parts[0]
             not in ("work", "mlartifacts", ".git", ".dvc")
             and not file.name.startswith("mlflow.db")]
    return {str(file.relative_to(project.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files}


def tags_of(project: Project, run_id: str) -> dict[str, str]:
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        return dict(store.execute("select key, value from tags where run_uuid = ?",
                                  (run_id,)).fetchall())


def last_json(output: str) -> Any:
    """What was printed after what was told on the way."""
    return json.loads(output[output.rindex("\n{\n") if "\n{\n" in output else output.index("{"):])


def doctored(record: Path, folder: Path, files: dict[str, bytes], tags: dict[str, str]) -> Path:
    """A copy of a record that says something else, and fits together."""
    shutil.copytree(record, folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    facts = kept_runs.read_folder(record).facts
    facts.tags.update(tags)
    for name in ("files", *(f"{Path(name).stem}_digest" for name in files)):
        facts.tags.pop(name, None)
    exchange.write_record(folder, facts)
    return folder


def test_a_run_from_a_dirty_tree_of_another_clone_that_is_no_more(
        reproduced: Project, record: Path, tmp_path: Path) -> None:
    clone = Clone(reproduced, tmp_path / "clone")
    shutil.copytree(reproduced.folder / "data", clone.folder / "data", copy_function=os.link)
    rule = clone.folder / "alexnet/optimizer.py"
    changed = rule.read_text().replace("MOMENTUM, rate.lr,", "MOMENTUM, rate.lr / 2,")
    assert changed != rule.read_text()
    rule.write_text(changed)
    (clone.folder / "alexnet/never_added.py").write_text("X = 1\n")
    store = f"sqlite:///{reproduced.folder / 'mlflow.db'}"
    clone.run("env", f"MLFLOW_TRACKING_URI={store}", "alexnet", "train")
    shutil.rmtree(clone.folder)
    before = state(reproduced)
    found = last_json(reproduced.run("alexnet", "rerun", "latest", "--json"))
    assert (found["verdict"], found["steps_compared"], found["traced_steps"]) == ("identical", 6, 6)
    assert found["first_difference"] is None
    assert state(reproduced) == before
    assert not list((reproduced.folder / "work/reruns").glob("*/"))
    tags, original = tags_of(reproduced, found["rerun"]), tags_of(reproduced, found["run"])
    assert (original["git_dirty"], tags["rerun_of"],
            tags["verdict"]) == ("true", found["run"], "identical")
    assert (original["rerun_by"], original["rerun_verdict"]) == (found["rerun"], "identical")
    assert (tags["weights_digest"] == original["weights_digest"]
            != reproduced.metrics("train")["weights_digest"])
    assert tags["trace_digest"] == original["trace_digest"]
    assert original.keys() >= {"resize.pixels_digest", "mean.mean_digest", "pca.pca_digest",
                               "placement", "processes", "replicas", "device", "threads",
                               "prepared_by.resize", "prepared_by.mean"}
    apart = last_json(reproduced.run("alexnet", "diff", str(record), found["run"], "--json",
                                     status=1))
    assert apart["first_difference"]["step"] == 1
    assert apart["first_difference"]["kind"] == "momentum"
    assert set(apart["records"]["code"]) == {"alexnet/never_added.py", "alexnet/optimizer.py"}
    assert not apart["records"]["data"]
    assert not apart["records"]["parameters"]


def test_a_record_that_travelled_to_a_clone_without_data(reproduced: Project, record: Path,
                                                         tmp_path: Path) -> None:
    clone = Clone(reproduced, tmp_path / "clone")
    clone.set(**{"dataset.sample.seed": 7})  # whatever the user works on there
    run_id = clone.run("alexnet", "import", str(record)).splitlines()[-2]
    assert clone.run("alexnet", "import",
                     str(record)).splitlines()[-2:] == [run_id, f"{record}: is there already"]
    [listed] = json.loads(clone.run("alexnet", "runs", "--json"))
    assert listed["top1_error_10crop"] == reproduced.metrics("evaluate")["top1_error_10crop"]
    before = state(clone)
    told = clone.run("alexnet", "rerun", run_id[:8])
    assert "making them again: download, resize" in told
    assert "identical: 6 of 6 traced steps, to step 10" in told
    assert state(clone) == before
    assert "making them again" not in clone.run("alexnet", "rerun", run_id[:8], "--steps", "1")


def test_one_weight_moved_by_one_ulp_at_one_step_is_found(reproduced: Project, record: Path,
                                                          tmp_path: Path) -> None:
    """The record's code is one in which it is moved, so the rerun's weights really are other ones.
    Its environment is another too, which by portable arithmetic decides nothing; by native
    arithmetic nothing is run without --anyway. And the data come from DVC's cache."""
    code_archive.unpack_code(record / "code.tar.gz", tmp_path / "code",
                          kept_runs.read_folder(record).facts.tags["code_digest"])
    source = tmp_path / "code/alexnet/training.py"
    text = source.read_text()
    assert text.count("        self.step += 1\n") == 1
    source.write_text(text.replace("        self.step += 1\n", """\
        self.step += 1
        for name, column, parameter in self.parameters:
            if (self.step, name, column) == (4, "conv3.weight", 0):
                with torch.no_grad():
                    parameter[0, 0, 0, 0] = torch.nextafter(parameter[0, 0, 0, 0], torch.tensor(9.0))
"""))
    found = json.loads((record / "environment.json").read_text()) | {"torch": "1.0",
                                                                     "python": "3.1"}
    files = {"code.tar.gz": code_archive.pack_code(tmp_path / "code"),
             "environment.json": json.dumps(found).encode()}
    tags = {"code_digest": environment.code_digest(tmp_path / "code")}
    # by portable arithmetic no variable of a record is obeyed, whatever it says
    odd = {"environment.json": json.dumps(found | {"variable OMP_NUM_THREADS": "many"}).encode()}
    planted = doctored(record, tmp_path / "planted", files | odd, tags)
    parameters = json.loads((record / "parameters.json").read_text())
    parameters["train"]["arithmetic"] = "native"
    native = doctored(record, tmp_path / "native",
                      files | {"parameters.json": json.dumps(parameters).encode()}, tags)
    assert "give the command again with --trust" in reproduced.run("alexnet", "rerun", str(planted),
                                                                   status=1)
    told = reproduced.run("alexnet", "rerun", str(native), "--trust", status=2)
    assert "not compared: torch: 1.0 when it was recorded" in told
    assert "python" not in told
    assert "rerun: to step" not in told
    before = state(reproduced)
    shutil.rmtree(reproduced.folder / "data/store")
    (reproduced.folder / "data/mean.npy").unlink()
    try:
        told = reproduced.run("alexnet", "rerun", str(planted), "--trust", "--json", "--steps",
                              "7", status=1)
    finally:
        reproduced.run("dvc", "checkout")
    assert "making them again" not in told
    outcome = last_json(told)
    assert outcome["verdict"] == "differs"
    assert outcome["first_difference"] == {"step": 4, "kind": "weights", "tensor": "conv3.weight",
                                           "column": 0, "tensors": 1, "values": None}
    assert outcome["steps_compared"] == 3
    assert outcome["environment"] == {}
    # a beginning is no finished training
    assert "weights_digest" not in tags_of(reproduced, outcome["rerun"])
    assert state(reproduced) == before


EVIL_LOCK = """schema: '2.0'
stages:
  resize:
    cmd: 'true'
    outs:
    - path: data/store
      files:
      - {relpath: ../../../../escaped, md5: d41d8cd98f00b204e9800998ecf8427e, size: 0}
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What a hostile scheduler would be: whoever connects to it would unpickle its answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def forged(record: Path, folder: Path, listener: socket.socket, **dataset: Any) -> Path:
    """A record by the code here that asks for everything that it must not have."""
    code = folder / "code"
    code_archive.unpack_code(record / "code.tar.gz", code,
                          kept_runs.read_folder(record).facts.tags["code_digest"])
    (code / "dvc.lock").write_text(EVIL_LOCK)
    parameters = json.loads((record / "parameters.json").read_text())
    parameters["execution"] |= {
        "scheduler": f"tcp://127.0.0.1:{listener.getsockname()[1]}", "workers": 64,
        "replicas": 100_000_000, "placement": "two"}
    parameters["dataset"] |= {"location": str(folder / "bait"), **dataset}
    return doctored(record, folder / "forged",
                    {"parameters.json": json.dumps(parameters).encode(),
                     "code.tar.gz": code_archive.pack_code(code)},
                    {"replicas": "100000000", "placement": "two", "interface": "666"})


def connections(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while listener.accept():
            count += 1
    return count


def test_nothing_of_a_strangers_record_is_obeyed_before_consent(
        reproduced: Project, record: Path, tmp_path: Path, listener: socket.socket) -> None:
    """Neither its scheduler nor its number of processes, its folders, its dvc.lock: where the data
    are here, where the sample is made again, and where they cannot be had."""
    bad = forged(record, tmp_path, listener)
    found = last_json(reproduced.run("alexnet", "rerun", str(bad), "--json"))
    assert (found["verdict"], found["steps_compared"]) == ("identical", 6)
    assert tags_of(reproduced, found["rerun"])["processes"] == "1"

    clone = Clone(reproduced, tmp_path / "clone")
    told = clone.run("alexnet", "rerun", str(bad), "--steps", "4")
    assert "making them again" in told
    assert "identical: 3 of 6 traced steps, to step 4" in told
    kept = next((clone.folder / "work/reruns").glob("data-*"))
    assert f"127.0.0.1:{listener.getsockname()[1]}" not in (kept / "params.yaml").read_text()

    shutil.rmtree(kept)
    worse = forged(record, tmp_path / "worse", listener, source="folder")
    told = clone.run("alexnet", "rerun", str(worse), status=2)
    assert "not compared: the data of the run cannot be had" in told
    assert "a record from elsewhere does not decide where folder is read from" in told
    assert not list(tmp_path.rglob("escaped"))
    assert not list(reproduced.folder.parent.rglob("escaped"))
    assert connections(listener) == 0
    with socket.create_connection(listener.getsockname()):
        assert connections(listener) == 1  # the test could have failed


def test_a_copy_of_the_data_that_has_rotted_is_made_anew(reproduced: Project, record: Path,
                                                         tmp_path: Path) -> None:
    clone = Clone(reproduced, tmp_path / "clone")
    clone.run("alexnet", "rerun", str(record), "--steps", "1")
    [copy] = (clone.folder / "work/reruns").glob("data-*")
    shard = copy / "data/store/train-00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    told = clone.run("alexnet", "rerun", str(record), "--steps", "1")
    assert f"{shard}: damaged" in told
    assert "It is removed and made anew" in told
    assert "identical: 1 of 6 traced steps, to step 1" in told


@pytest.mark.parametrize(("name", "change"), [
    ("models/trace.jsonl", lambda content: content.replace(b'"step": 2', b'"step": 3', 1)),
    ("models/model.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1]))])
def test_evidence_that_has_changed_in_the_store_is_named_and_not_compared(
        reproduced: Project, record: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    run_id = kept_runs.read_folder(record).facts.run_id
    [file] = [file for file in (reproduced.folder / "mlartifacts").rglob(name)
              if run_id in file.parts]
    whole = file.read_bytes()
    assert change(whole) != whole
    file.write_bytes(change(whole))
    try:
        told = reproduced.run("alexnet", "rerun", run_id, "--steps", "1", status=1)
    finally:
        file.write_bytes(whole)
    assert re.search(f"{file.name}.*changed since it was recorded", told)
    assert "differs from" not in told
    assert "identical" not in told


def test_data_that_cannot_be_had_are_refused(reproduced: Project, record: Path,
                                             tmp_path: Path) -> None:
    parameters = json.loads((record / "parameters.json").read_text())
    parameters["dataset"] |= {"source": "folder", "location": "gone"}
    gone = doctored(record, tmp_path / "gone", {"parameters.json": json.dumps(parameters).encode()},
                    {"resize.pixels_digest": "0" * 64})
    told = reproduced.run("alexnet", "rerun", str(gone), status=2)
    assert "not compared: the data of the run cannot be had: data/store has the digest" in told
    assert "the record names 0000000000000000" in told
    assert f"{reproduced.folder / 'gone'}" not in told  # a stranger does not say where to look
    told = reproduced.run("alexnet", "rerun", str(gone), "--trust", status=2)
    assert f"{reproduced.folder / 'gone'}" in told
    assert "Traceback" not in told
    (gone / "code.tar.gz").write_bytes(b"")
    assert "code.tar.gz: changed since it was written" in reproduced.run("alexnet", "rerun",
                                                                         str(gone), status=1)


def test_without_mlflow_a_stage_goes_on_and_sync_sends_its_record_later(
        reproduced: Project) -> None:
    before = state(reproduced)
    told = reproduced.run("env", f"MLFLOW_TRACKING_URI={LOST}", "alexnet", "pca")
    assert f"MLflow's store {LOST} cannot be used" in told
    assert "`alexnet sync` sends it" in told
    assert "1 could not be sent" in reproduced.run("env", f"MLFLOW_TRACKING_URI={LOST}", "alexnet",
                                                   "sync", status=1)
    with sqlite3.connect(reproduced.folder / "mlflow.db") as store:
        count = "select count(*) from runs where name like 'pca %' and status = 'FINISHED'"
        [[runs]] = store.execute(count).fetchall()
        assert "1 record sent, 0 kept" in reproduced.run("alexnet", "sync")
        assert store.execute(count).fetchall() == [(runs + 1,)]
    assert "0 records sent, 0 kept" in reproduced.run("alexnet", "sync")
    assert state(reproduced) == before
