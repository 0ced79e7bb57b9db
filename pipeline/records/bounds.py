"""Bounds on the answers of an MLflow server: their size, and the time that they may take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

LARGEST = 64 << 20  # bytes of an answer, unpacked; a thousand points of a curve take some 100 kB
SECONDS = 60.0  # for all that a stage asks of a server when it starts, or ends
BYTES_A_SECOND = 250_000  # of files that are sent
Result = TypeVar("Result")


def within(seconds: float, action: Callable[[], Result]) -> Result:
    """Return what the action returns, if it ends within so many seconds. It runs in a thread, which
    is left to itself if it does not.

    Raises:
        TimeoutError: it did not end.
        Exception: whatever the action raises.
    """
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(action())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no whole answer within {seconds:g} s")
    return results[0]


def bound_answers() -> None:
    """Have MLflow's requests end with an error after LARGEST bytes of an answer."""
    from mlflow.utils import request_utils

    adapter: Any = request_utils.TCPKeepAliveHTTPAdapter  # each session of MLflow has one
    send = adapter.send
    if send.__name__ == "bounded_send":
        return

    def bounded_send(self: Any, request: Any, stream: bool = False, *rest: Any,
                     **named: Any) -> Any:
        response = send(self, request, stream, *rest, **named)
        if not stream:
            response._content, response._content_consumed = _read(response.raw), True
        return response

    adapter.send = bounded_send


def _read(raw: Any) -> bytes:
    content = bytearray()
    while piece := raw.read(1 << 16, decode_content=True):
        content += piece
        if len(content) > LARGEST:
            raw.close()
            raise ValueError(f"an answer of more than {LARGEST:,} bytes")
    raw.release_conn()
    return bytes(content)
