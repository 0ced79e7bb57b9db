"""Bounds on the answers of an MLflow server, and on the files that it sends: their size, and the
time that they may take."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

LARGEST = 64 << 20  # bytes of an answer, unpacked; a thousand points of a curve take some 100 kB
SECONDS = 60.0  # for all that a stage asks of a server when it starts, or ends
BYTES_A_SECOND = 250_000  # of files, in either direction
SECONDS_BETWEEN_LOOKS = 0.2
Result = TypeVar("Result")


def within(seconds: float, action: Callable[[], Result]) -> Result:
    """Return what the action returns, if it ends within so many seconds. It runs in a thread, which
    is left to itself if it does not.

    Raises:
        TimeoutError: it did not end.
        Exception: whatever the action raises.
    """
    def check(elapsed: float) -> None:
        if elapsed >= seconds:
            raise TimeoutError(f"no whole answer within {seconds:g} s")

    return _watched(action, check)


def download(folder: Path, largest: int, action: Callable[[], Result]) -> Result:
    """Return what the action returns, which writes files of a server into `folder`: no more than
    `largest` bytes, and after SECONDS no fewer than BYTES_A_SECOND. What does not keep to that is
    given up.

    Raises:
        ValueError: there are more bytes.
        TimeoutError: they come too slowly.
        Exception: whatever the action raises.
    """
    def check(elapsed: float) -> None:
        written = _size(folder)
        if written > largest:
            raise ValueError(f"more than {largest:,} bytes")
        if written < (elapsed - SECONDS) * BYTES_A_SECOND:
            raise TimeoutError(f"{written:,} bytes within {elapsed:.0f} s")

    responses: list[Any] = []
    _downloads.append(responses)
    try:
        result = _watched(action, check)
        check(0.0)  # it may have ended between two looks
        return result
    except BaseException:
        for response in responses:  # MLflow reads them in threads that this process would wait for
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is over
                response.raw.shutdown()
        raise
    finally:
        _downloads.remove(responses)


_downloads: list[list[Any]] = []  # the responses of those in progress


def _watched(action: Callable[[], Result], check: Callable[[float], None]) -> Result:
    """Return what the action returns, in a thread, while `check`, given the seconds that it has
    taken, raises nothing."""
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(action())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    start = time.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(SECONDS_BETWEEN_LOOKS)
        if thread.is_alive():
            check(time.monotonic() - start)
    if errors:
        raise errors[0]
    return results[0]


def _size(folder: Path) -> int:
    """Return how many bytes the files in a folder have on the disk, or will have."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed just now
                size += (Path(place) / name).lstat().st_size
    return size


def bound_answers() -> None:
    """Have MLflow's requests end with an error after LARGEST bytes of an answer, and have those for
    files known to `download`."""
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
        elif _downloads:
            _downloads[-1].append(response)
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
