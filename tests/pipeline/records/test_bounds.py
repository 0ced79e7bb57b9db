"""A server whose answers never end, are huge, or name a folder of this machine."""

from __future__ import annotations

import gzip
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config import parameters
from pipeline.records import bounds, environment, mlflow_connection
from pipeline.records.recording import recorded
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
ENOUGH = '{"experiment": {"experiment_id": "1", "name": "alexnet", "artifact_location": "x"}}'
BOMB = gzip.compress(bytes(256 << 20), 1)  # 1 MB


class Handler(BaseHTTPRequestHandler):
    manner = "right"

    def do_GET(self) -> None:
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
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

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


@pytest.mark.parametrize("address", ["file:///etc", "/etc", "file://localhost/etc"])
def test_a_folder_here_that_a_server_names_is_neither_read_nor_written(
        server: type[Handler], monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with pytest.raises(UserError, match=r"must serve them.*nothing is read or written there"):
        mlflow_connection.check_address(address)
    mlflow_connection.check_address("mlflow-artifacts:/1/2/artifacts")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow_connection.check_address("file:///etc/a/b")  # of a database it may be one
