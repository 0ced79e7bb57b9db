"""MLflow's server, with what MLflow does not let us set elsewhere set in its answers to a browser.

- Its pages open in the view of model training, not in that of GenAI. MLflow keeps this choice in
  the browser alone: an address can have it as a parameter, which a click on a run drops. So the
  first page makes the choice where the browser has none. In the same way the assistant stays
  closed.
- The metrics of a run begin with the errors, and its tags are those that say something to
  people. The store keeps all, and MLflow's client, which asks at other addresses, gets all.

`python -m pipeline.commands.ui_server OPTION...` is `mlflow server OPTION...`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pipeline.records.mlflow_names import is_for_eyes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

CHOICES = {"mlflow.workflowType_v1": '"machine_learning"',
           "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
SCRIPT = "".join(f"localStorage.getItem('{name}') ?? localStorage.setItem('{name}', '{value}');"
                 for name, value in CHOICES.items())
# Tags for programs: most are digests, which the report has, or stand among the files of the record.
TECHNICAL = re.compile(
    r"(process|environment|evaluate|report|images|download|mean|pca|prepared_by|compared)\..+"
    r"|(lock|environment|code|configuration)_digest|store_\w+|record|interface|files|placement"
    r"|replicas|processes|device|threads|deterministic|arithmetic")
CONDITIONS = (b"if-none-match", b"if-modified-since")  # a browser may hold MLflow's own page


def main() -> None:
    """Run `mlflow server` with the arguments of this process, with `app` as what it serves."""
    from mlflow import cli, server

    if hasattr(server, "_build_uvicorn_command"):  # of the version in requirements.lock
        build = server._build_uvicorn_command
        server._build_uvicorn_command = lambda opts, host, port, workers, *_: build(
            opts, host, port, workers, "pipeline.commands.ui_server:app", is_factory=True)
    cli.cli(["server", *sys.argv[1:]])


def app() -> Application:
    """Return MLflow's application with our changes."""
    from mlflow.server.fastapi_app import app as pages

    return changed(pages)


def changed(pages: Application) -> Application:
    """Return an application that answers as `pages` does, but for what CHANGES names."""
    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        change = CHANGES.get((scope.get("method", ""), scope.get("path", "")))
        if change is None:
            await pages(scope, receive, send)
            return
        begun: list[Message] = []
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                whole = change(bytes(body))
                length = (b"content-length", str(len(whole)).encode())
                headers = [pair for pair in begun[0]["headers"] if pair[0].lower() != length[0]]
                await send({**begun[0], "headers": [*headers, length]})
                await send({"type": "http.response.body", "body": whole})

        asked = [pair for pair in scope["headers"] if pair[0].lower() not in CONDITIONS]
        await pages({**scope, "headers": asked}, receive, collect)
    return answer


def first_page(page: bytes) -> bytes:
    """Return MLflow's first page with the script that makes CHOICES."""
    return page.replace(b"<head>", f"<head><script>{SCRIPT}</script>".encode(), 1)


def for_people(answer: bytes) -> bytes:
    """Return an answer about runs, as JSON, with errors first and without technical tags; any other
    as it is."""
    try:
        return json.dumps(_arranged(json.loads(answer))).encode()
    except ValueError:
        return answer


def _arranged(content: Any) -> Any:
    if isinstance(content, list):
        return [_arranged(each) for each in content]
    if not isinstance(content, dict):
        return content
    arranged = {key: _arranged(value) for key, value in content.items()}
    if _named(arranged.get("metrics")):
        arranged["metrics"].sort(key=lambda metric: not is_for_eyes(metric["key"]))
    if _named(arranged.get("tags")):
        arranged["tags"] = [tag for tag in arranged["tags"] if not _is_technical(tag)]
    return arranged


def _named(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) and isinstance(
        value.get("key"), str) for value in values)


def _is_technical(tag: dict[str, Any]) -> bool:
    failed = tag["key"].endswith(".status") and tag.get("value") != "FINISHED"
    return bool(TECHNICAL.fullmatch(tag["key"])) and not failed


CHANGES = {("GET", "/"): first_page, ("POST", "/graphql"): for_people,
           ("POST", "/ajax-api/2.0/mlflow/runs/search"): for_people,
           ("GET", "/ajax-api/2.0/mlflow/runs/get"): for_people}


if __name__ == "__main__":
    main()
