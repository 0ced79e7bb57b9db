"""`alexnet ui`: MLflow's pages on the store that the stages record in, opened at the list of
trainings.

Where a server is the store its own pages are named. For the file in the project, or a database, a
server is started on this machine; it and all that it started end with the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from typing import Any

import click

from pipeline.records import mlflow_pages
from pipeline.records.mlflow_store import SETTINGS, connect, is_server, tracking_uri
from pipeline.system.errors import UserError, without_password
from pipeline.system.processes import die_with_parent, group_dies_with_parent
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

HOST = "127.0.0.1"
SECONDS_TO_START = 120.0
SECONDS_TO_END = 5.0


def serve(port: int) -> None:
    """Serve the pages until interrupted, or tell where they are.

    Raises:
        UserError: the store cannot be reached, the port is taken, or the server does not start.
    """
    uri = tracking_uri()
    if is_server(uri):
        click.echo(mlflow_pages.addresses(without_password(uri), str(connect().experiment)))
        return
    _check(port)
    experiment = str(connect().experiment)
    with _server(port, uri) as server:
        _wait_for(server, port)
        told = mlflow_pages.addresses(f"http://{HOST}:{port}", experiment)
        click.echo(f"{told}\nCtrl-C ends it.")
        if sys.stdout.isatty() and (sys.platform == "darwin" or os.environ.get("DISPLAY")
                                    or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(told.split()[2])
        if status := server.wait():
            raise UserError(f"MLflow's server ended with status {status}; what it said stands "
                            "above")


def _check(port: int) -> None:
    with socket.socket() as one:
        # as the server: one that has just ended is no matter
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror} (another `alexnet ui`?); give "
                            f"another, as in `alexnet ui --port {port + 1}` or "
                            f"`make ui PORT={port + 1}`") from None


@contextlib.contextmanager
def _server(port: int, uri: str) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server in a process group of its own, all of which ends when the block does, or this
    process."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port),
               "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    # In variables, since everybody sees a command's arguments, and the address of a database may
    # hold a password.
    # of MLflow's own packages
    variables = SETTINGS | {"MLFLOW_BACKEND_STORE_URI": uri,
                            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                            "MLFLOW_ARTIFACTS_DESTINATION": str(home_folder() / "mlartifacts"),
                            "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore")}
    server = subprocess.Popen(command, env=os.environ | variables, start_new_session=True,
                              stdout=sys.stderr, preexec_fn=die_with_parent)
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with group_dies_with_parent(server.pid):
            yield server
    except KeyboardInterrupt:
        say("")  # behind the terminal's ^C
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end_group(server)


def _end(number: int, frame: Any) -> None:
    sys.exit(128 + number)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all of the group, and SIGKILL to those that are still there after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        latest = time.monotonic() + SECONDS_TO_END
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
            while time.monotonic() < latest:
                server.poll()
                os.killpg(server.pid, 0)
                time.sleep(0.05)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    say("starting MLflow's server: some seconds")
    latest = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < latest:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise UserError(f"MLflow's server does not start (status {server.poll()}); what it said stands "
                    "above")
