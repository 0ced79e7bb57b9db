"""The hub's and Kaggle's own clients, each in a process of its own, against a server that stands
for theirs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.data.sources import fetching, hub, kaggle
from tests.pipeline.data.sources import imagenet_copies
from tests.pipeline.data.sources.test_copies import EXPECTED, dataset, told

PROJECT = Path(__file__).parents[4]
COMMAND = """
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.LOCAL] = sys.argv[1]
from pathlib import Path
from pipeline.config import parameters
from pipeline.data.sources import fetching, kaggle
from pipeline.system import errors
kaggle.BYTES = 1_000_000  # that of the real one may not fit on this disk
try:
    fetching.fetch(parameters.load(Path(sys.argv[2]), [
        "dataset.source=imagenet2012", "dataset.origin=" + sys.argv[3], "dataset.incomplete=true",
        "dataset.location=" + sys.argv[4]]).dataset)
except errors.UserError as error:
    sys.exit(f"error: {error}")
"""


class Site(ThreadingHTTPServer):
    """Files by their paths on the server; `gate`: the status that meets whoever has no token."""

    daemon_threads = True
    gate = 401

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.files = files
        self.requests: list[tuple[str, str]] = []
        self.drop_after: int | None = None


class Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, self.path))
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        if not path.startswith("/storage/") and not self.headers.get("Authorization"):
            return self.answer(self.server.gate, b"", {"X-Error-Code": "GatedRepo"})
        if path.endswith("/DownloadDataFiles"):
            return self.answer(302, b"", {"Location": f"/storage/{kaggle.ZIP}?X-Signature=private"})
        if path == f"/api/datasets/{hub.REPOSITORY}/tree/main/data":
            return self.answer(200, json.dumps([
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40,
                 "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content),
                         "pointerSize": 134}} for name, content in self.server.files.items()])
                               .encode(), {"Content-Type": "application/json"})
        name = path.removeprefix(f"/datasets/{hub.REPOSITORY}/resolve/main/").removeprefix(
            "/storage/")
        if name not in self.server.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = self.server.files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "1" * 40,
                   "Accept-Ranges": "bytes", "Last-Modified": "Tue, 06 Sep 2022 15:55:41 GMT"}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206 if start else 200, content[start:], headers)

    do_HEAD = do_POST = do_GET

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            stop = self.server.drop_after if len(content) > 5000 else None
            self.wfile.write(content[:stop])
            if stop is not None:
                self.close_connection = True
                self.server.drop_after = None  # once


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    imagenet_copies.write_parquet(tmp_path / "remote", suffixed=True)
    imagenet_copies.write("kaggle zip", tmp_path / "kaggle")
    files = {f"data/{file.name}": file.read_bytes()
             for file in sorted((tmp_path / "remote").iterdir())}
    server = Site(files | {kaggle.ZIP: (tmp_path / "kaggle" / kaggle.ZIP).read_bytes()})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01},
                              daemon=True)
    thread.start()
    (tmp_path / "project").mkdir()
    (tmp_path / "data").mkdir()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def download(site: Site, origin: str, folder: Path, token: bool = True, status: int = 0) -> str:
    """What `alexnet download` does, in a process of its own; what it printed."""
    address = f"http://127.0.0.1:{site.server_address[1]}"
    tokens = ({"HF_TOKEN": "hf_private", "KAGGLE_USERNAME": "ann", "KAGGLE_KEY": "private"} if token
              else {})
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "KAGGLE", "MLFLOW"))}
    done = subprocess.run([sys.executable, "-c", COMMAND, address, str(PROJECT / "params.yaml"),
                           origin, str(folder / "data")], cwd=folder / "project",
                          capture_output=True, text=True, timeout=100, check=False,
                          env=kept | tokens | {"PYTHONPATH": str(PROJECT), "HF_ENDPOINT": address,
                                               "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
                                               "HOME": str(folder), "no_proxy": "*"})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def holds(folder: Path, text: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text in file.read_bytes()]


def test_the_hub(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told_without = download(site, "huggingface", tmp_path, token=False, status=1)
    assert "agree to its terms" in told_without
    assert "HF_TOKEN" in told_without
    output = download(site, "huggingface", tmp_path)
    assert "non-commercial research" in told_without  # the terms, once
    assert "non-commercial research" not in output
    assert sorted(path.name for path in (tmp_path / "data").glob("*.*")) == [
        ".fetching", *(f"train-0000{part}-of-00003.tar" for part in range(3)),
        "validation-00000-of-00001.tar"]
    assert not list(tmp_path.glob("data/**/*.parquet"))
    monkeypatch.chdir(tmp_path / "project")
    assert told(fetching.load_catalogue(dataset(tmp_path / "data", "huggingface"))) == EXPECTED
    assert not holds(tmp_path / "project", b"hf_private")
    # as if the first run had been killed before this one
    (tmp_path / "data/train-00001-of-00003.tar").unlink()
    before = len(site.requests)
    download(site, "huggingface", tmp_path)
    assert [path for method, path in site.requests[before:]
            if method == "GET" and "resolve" in path] == [
                f"/datasets/{hub.REPOSITORY}/resolve/main/data/train-00001-of-00003.parquet"]


def test_kaggle(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.gate = 403
    output = download(site, "kaggle", tmp_path, token=False, status=1)
    assert "credentials" in output or "rules" in output
    assert not (tmp_path / "data" / kaggle.ZIP).exists()
    site.drop_after = 40_000
    output = download(site, "kaggle", tmp_path)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [kaggle.ZIP]
    monkeypatch.chdir(tmp_path / "project")
    assert told(fetching.load_catalogue(dataset(tmp_path / "data", "kaggle"))) == EXPECTED
    assert not holds(tmp_path / "project", b"X-Signature")
    shutil.rmtree(tmp_path / "project/data")
    before = len(site.requests)
    download(site, "kaggle", tmp_path)
    assert len(site.requests) == before  # it is there
