"""An MLflow server that is gone, hangs or answers wrongly: the stage goes on, and its record is
sent later."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.system.processes import kill_with_children
from tests.faults.harness import Bench

MEAN = ("data/mean.npy", "data/mean.png", "metrics/mean.json")
TRAINED = ("models/model.safetensors", "models/trace.jsonl", "plots", "metrics/train.json")
# What the server answers to everything: a status, a body, and how many bytes it says that the body
# has.
ANSWERS = {
    "errors": (500, b"out of order", 12),
    "a web page": (200, b"<html>please log in</html>", 26),
    "an empty answer": (200, b"{}", 2),
    "wrong types": (200, b'{"experiment": 5, "experiment_id": [], "run": "x", "runs": {"a": 1}}',
                    68),
    "half an answer": (200, b'{"experiment": ', 4000),
}
SHORT = "errors"  # the others, with --long


@contextmanager
def answering(answer: tuple[int, bytes, int] | None) -> Iterator[str]:
    """The address of a server that gives this answer to whatever is asked; None: it never
    answers."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer is None:
                over.wait()
                return
            status, body, length = answer
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def sent(bench: Bench) -> list[tuple[str, str]]:
    """Stage and status of the runs in the project's own store."""
    with sqlite3.connect(bench.folder / "mlflow.db") as store:
        return list(store.execute("select value, status from runs join tags using (run_uuid) where "
                                  "key = 'stage'"))


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.long] * (kind != SHORT))
                                  for kind in ("hanging", *ANSWERS)])
def test_a_server_that_answers_wrongly(bench: Bench, outcome: Callable[[str], None],
                                       kind: str) -> None:
    bench.remove(*MEAN)
    with answering(ANSWERS.get(kind)) as address:
        begun = time.monotonic()
        bench.run("mean", MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="2").done(
            f"warning: MLflow's store {address} cannot be used", "mean goes on without it",
            "`alexnet sync` sends it")
        seconds = time.monotonic() - begun
    bench.assert_right(*MEAN)
    if kind == "errors":
        bench.run("sync").done("1 record sent, 0 kept")
        assert sent(bench) == [("mean", "FINISHED")]
    outcome(f"status 0 after {seconds:.0f} s, the same bytes; a warning; the record waits for "
            "`alexnet sync`")


@pytest.mark.long
def test_a_server_that_is_gone_while_a_training_goes_on(
        bench: Bench, outcome: Callable[[str], None],
        tmp_path_factory: pytest.TempPathFactory) -> None:
    """The real server, killed after it has seen the run begin, and there again when the training is
    over."""
    bench.remove(*TRAINED)
    folder, port = tmp_path_factory.mktemp("server"), _free_port()
    address = f"http://127.0.0.1:{port}"
    server = _server(folder, port)
    try:
        running = bench.start("train", "--placement", "one", MLFLOW_TRACKING_URI=address)
        running.until(bench.checkpoints)
        assert kill_with_children(server)
        running.end().done("warning: MLflow's store", "`alexnet sync` sends it")
        bench.assert_right(*TRAINED)
        bench.run("sync", MLFLOW_TRACKING_URI=address).says("could not be sent")
        server = _server(folder, port)
        bench.run("sync", MLFLOW_TRACKING_URI=address).done("1 record sent, 0 kept")
    finally:
        kill_with_children(server)
    with sqlite3.connect(folder / "mlflow.db") as store:
        runs = store.execute("select value, status from runs join tags using (run_uuid) where key "
                             "= 'stage'").fetchall()
        steps = store.execute("select value from latest_metrics where key like "
                              "'%/steps'").fetchall()
    assert runs == [("train", "FINISHED")]  # completed, not sent twice
    assert steps == [(10.0,)]
    outcome("status 0, the same weights; the begun run is completed by `alexnet sync` when the "
            "server is back")


def _server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-m", "mlflow", "server", "--backend-store-uri",
                              f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination",
                              str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
                              "--workers", "1"], cwd=folder, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    latest = time.monotonic() + 180
    while time.monotonic() < latest:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health",
                                                       timeout=5):
            return child
        time.sleep(0.2)
    kill_with_children(child)
    raise TimeoutError


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return int(server.server_address[1])
