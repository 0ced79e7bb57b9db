"""A server whose answers never end, are huge, or name a folder of this machine."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config import parameters
from pipeline.records import bounds, environment, kept_runs, mlflow_connection
from pipeline.records.recording import recorded
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
ENOUGH = '{"experiment": {"experiment_id": "1", "name": "alexnet", "artifact_location": "x"}}'
BOMB = gzip.compress(bytes(256 << 20), 1)  # 1 MB
RUN = "a" * 32
STORED = {"info": {"run_id": RUN, "experiment_id": "1", "status": "FINISHED", "start_time": 1,
                   "artifact_uri": f"mlflow-artifacts:/1/{RUN}/artifacts"},
          "data": {"tags": [{"key": "stage", "value": "train"}]}}
ANSWERS = {  # of a server with this one run, which has a trace; before MLflow 3
    "/experiments/get-by-name": json.loads(ENOUGH), "/experiments/set-experiment-tag": {},
    "/runs/search": {"runs": [STORED]}, "/runs/get": {"run": STORED}, "/server-info": {},
    "/mlflow-artifacts/artifacts": {"files": [
        {"path": "trace.jsonl", "is_dir": False, "file_size": 9}]}}


class Handler(BaseHTTPRequestHandler):
    manner = "right"
    file: str | None = None  # how it sends one, where it has a run

    def do_GET(self) -> None:
        if self.file:
            path, _, query = self.path.partition("?")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path.endswith("/trace.jsonl"):
                self.send_file()
            else:  # whether the file is a folder is asked, too
                answers = [answer for name, answer in ANSWERS.items() if path.endswith(name)]
                if answers:
                    self.answer(b"{}" if "trace.jsonl" in query
                                else json.dumps(answers[0]).encode())
                else:
                    self.send_error(404)
            return
        if self.manner == "silent":
            time.sleep(30)
        self.send_response(200)
        if self.manner == "trickling":  # a byte a second, for ever
            self.end_headers()
            for _ in range(60):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.5)
            return
        content = ENOUGH.encode()
        if self.manner == "bomb":
            content = BOMB
            self.send_header("Content-Encoding", "gzip")
        self.answer(content, begun=True)

    def answer(self, content: bytes, begun: bool = False) -> None:
        if not begun:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_file(self) -> None:
        if self.file == "right":
            self.answer(b"{}\n")
            return
        self.send_response(200)
        self.end_headers()
        piece = bytes(1 << 20) if self.file == "endless" else b" "
        with contextlib.suppress(OSError):  # until the other side has enough
            for _ in range(600):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.05)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    class Own(Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listening.server_port}")
        monkeypatch.setattr(bounds, "SECONDS", 3.0)
        yield Own
        listening.shutdown()


def test_a_right_answer_is_taken(server: type[Handler]) -> None:
    assert mlflow_connection.client().get_experiment_by_name("alexnet").experiment_id == "1"


@pytest.mark.parametrize("manner", ["silent", "trickling"])
def test_an_answer_that_does_not_end_keeps_no_stage_from_its_work(
        server: type[Handler], manner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "fingerprint", lambda with_torch=True: {"lock_digest": "l"})
    mlflow_connection.client()  # MLflow is imported
    server.manner = manner
    start = time.monotonic()
    with recorded("mean", parameters.load(ROOT / "params.yaml")) as record:
        assert time.monotonic() - start < 10
        record.finish({"mean_r": 1.0})
    assert "cannot be used (TimeoutError: no whole answer within 3 s)" in capsys.readouterr().err
    assert len(list(tmp_path.glob("work/unsent/*-mean-*/record.json"))) == 1


def test_an_answer_that_unpacks_to_more_than_the_limit_is_refused_in_bounded_memory(
        server: type[Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow_connection.client()
    server.manner = "bomb"
    monkeypatch.setattr(bounds, "LARGEST", 1 << 20)
    tracemalloc.start()
    with pytest.raises(Exception, match="an answer of more than 1,048,576 bytes"):
        client.get_experiment_by_name("alexnet")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20  # of the 256 MB that it unpacks to
    tracemalloc.stop()


# Reads the trace of the only run of a server, with smaller bounds.
READ_TRACE = """
import sys
from pipeline.records import bounds, kept_runs, record_files
from pipeline.system.errors import UserError
bounds.SECONDS, record_files.LARGEST["trace.jsonl"] = 3.0, 2 << 20
try:
    print(kept_runs.find("latest").fetch("trace.jsonl").read_text())
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize(("file", "said"), [
    ("right", ""), ("endless", "ValueError: more than 2,097,152 bytes"),
    ("trickling", r"TimeoutError: \d+ bytes within 3 s")])
def test_a_file_of_a_server_that_is_huge_or_does_not_end_is_given_up(
        server: type[Handler], tmp_path: Path, file: str, said: str) -> None:
    """In a process of its own, which does not wait for what it has given up, and leaves nothing."""
    server.file = file
    (tmp_path / "temporary").mkdir()
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", READ_TRACE], cwd=tmp_path, text=True, timeout=100,
                          env=os.environ | {"PYTHONPATH": str(ROOT),
                                            "TMPDIR": str(tmp_path / "temporary")},
                          capture_output=True, check=False)
    if said:
        assert done.returncode == 1
        assert re.search(rf"run {'a' * 12}: its models/trace.jsonl cannot be read from "
                         rf"mlflow-artifacts:.*\({said}\)", done.stderr), done.stderr
    else:
        assert done.stdout == "{}\n\n", done.stderr
    assert time.monotonic() - start < 25  # the server would send for 30 s
    assert not list((tmp_path / "temporary").iterdir())


def test_a_server_before_mlflow_3_has_its_files_read(server: type[Handler],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those of 2.10 and 2.22 it was tried; MLflow's own client cannot."""
    server.file = "right"
    with pytest.raises(Exception, match="logged-models/search"):
        mlflow_connection.client().list_artifacts(RUN, "models")
    trace = kept_runs.find("latest").fetch("trace.jsonl")
    assert trace is not None
    assert trace.read_bytes() == b"{}\n"
    assert kept_runs.find("latest").fetch("learning.csv") is None


@pytest.mark.parametrize("address", ["file:///etc", "/etc", "file://localhost/etc"])
def test_a_folder_here_that_a_server_names_is_neither_read_nor_written(
        server: type[Handler], monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(UserError, match=r"must serve them.*nothing is read or written there"):
        mlflow_connection.check_address(address)
    mlflow_connection.check_address("mlflow-artifacts:/1/2/artifacts")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow_connection.check_address("file:///etc/a/b")  # of a database it may be one
