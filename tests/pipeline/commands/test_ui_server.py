"""What `alexnet ui` changes in the answers of MLflow's server, and what it leaves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipeline.commands import ui_server

RUN = {"data": {"mlflowGetRun": {"run": {
    "data": {"metrics": [{"key": "train/loss", "value": 2.5}, {"key": "error/top1_10crop",
                                                               "value": 36.0},
                         {"key": "val/loss", "value": 2.0}, {"key": "error/top5_10crop",
                                                             "value": 9.0}],
             "tags": [{"key": name, "value": value} for name, value in (
                 ("mlflow.runName", "a"), ("stage", "train"), ("process.id", "7"), ("files", "{}"),
                 ("weights_digest", "d"), ("evaluate.status", "FINISHED"), ("mine", "x"),
                 ("report.status", "FAILED"), ("code_digest", "c"))]}}}}}


def asked(method: str, path: str, body: bytes, headers: list[Any] | None = None) -> tuple[
        list[dict[str, Any]], dict[str, Any]]:
    """What is sent for a request to a server that answers with this body, in two parts, and the
    request that the server sees."""
    sent: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}

    async def pages(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"Content-Length", str(len(body)).encode()), (b"x", b"y")]})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": method, "path": path, "headers": headers or []}
    asyncio.run(ui_server.changed(pages)(scope, receive, send))  # type: ignore[arg-type]
    return sent, seen


def test_the_first_page_chooses_where_the_browser_has_not() -> None:
    sent, seen = asked("GET", "/", b"<html><head><title>MLflow</title></head>",
                       [(b"If-None-Match", b"1"), (b"host", b"h")])
    begun, page = sent
    assert seen["headers"] == [(b"host", b"h")]
    assert page["body"].startswith(b"<html><head><script>localStorage.getItem('mlflow.workflowType")
    assert page["body"].endswith(b"</script><title>MLflow</title></head>")
    assert begun["headers"] == [(b"x", b"y"), (b"content-length", str(len(page["body"])).encode())]


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/graphql"), ("POST", "/ajax-api/2.0/mlflow/runs/search"),
    ("GET", "/ajax-api/2.0/mlflow/runs/get")])
def test_a_run_begins_with_its_errors_and_has_few_tags(method: str, path: str) -> None:
    sent, _ = asked(method, path, json.dumps(RUN).encode())
    data = json.loads(sent[1]["body"])["data"]["mlflowGetRun"]["run"]["data"]
    assert [metric["key"] for metric in data["metrics"]] == [
        "error/top1_10crop", "error/top5_10crop", "train/loss", "val/loss"]
    assert [tag["key"] for tag in data["tags"]] == [
        "mlflow.runName", "stage", "weights_digest", "mine", "report.status"]


@pytest.mark.parametrize(("method", "path", "body"), [
    ("GET", "/api/2.0/mlflow/runs/get", json.dumps(RUN).encode()),
    ("POST", "/api/2.0/mlflow/runs/search", json.dumps(RUN).encode()),
    ("GET", "/static-files/main.js", b"<head> of another"),
    ("POST", "/graphql", b"no JSON at all, and no text: \xff"),
    ("POST", "/graphql", b'{"tags": "one", "metrics": [1, {"key": 2}]}')])
def test_what_is_for_programs_and_what_is_not_understood_stays(method: str, path: str,
                                                               body: bytes) -> None:
    sent, _ = asked(method, path, body)
    assert b"".join(message.get("body", b"") for message in sent) == body
