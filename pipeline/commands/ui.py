"""`alexnet ui`: MLflow's own server on the store that the stages record in.

Where a server is the store, the addresses of its pages are printed. For the file in the project, or
a database, this process runs `mlflow server`, and ends with it. Whichever of the two is killed,
nothing that it has started stays; and it ends when its own parent does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import click

from pipeline.records import mlflow_connection, mlflow_pages, mlflow_store
from pipeline.system.errors import UserError, without_password
from pipeline.system.processes import adopt_orphans, die_with_parent, kill_children
from pipeline.system.project import environment, home_folder

HOST = "127.0.0.1"
SECONDS_TO_END = 10.0  # for the server to answer what it was asked
ALLOWED_HOSTS = f"{HOST},{HOST}:*,localhost,localhost:*"  # what a browser here may call it


def serve(port: int) -> None:
    """Print where the pages are and run MLflow's server, or print where a server's pages are.

    Raises:
        UserError: the store cannot be reached, the port is taken, or the server failed.
    """
    uri = mlflow_connection.tracking_uri()
    if mlflow_connection.is_server(uri):
        experiment = mlflow_store.connect().experiment
        click.echo(mlflow_pages.addresses(without_password(uri), experiment))
        return
    _check(port)
    addresses = mlflow_pages.addresses(f"http://{HOST}:{port}", mlflow_store.connect().experiment)
    click.echo(f"{addresses}\nMLflow's server takes some seconds to start. Ctrl-C ends it.")
    sys.stdout.flush()
    # In variables, since everybody sees a command's arguments, and the address of a database may
    # hold a password.
    variables = mlflow_connection.SETTINGS | {
        "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ARTIFACTS_DESTINATION": str(home_folder() / "mlartifacts"),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore")}
    command = [sys.executable, "-P", "-m", "pipeline.commands.ui_server", "--host", HOST,
               "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    _run(command, environment(variables={"MLFLOW_SERVER_ALLOWED_HOSTS": ALLOWED_HOSTS}
                              | os.environ | variables))


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run MLflow's server to its end, or to SIGINT or SIGTERM."""
    die_with_parent(signal.SIGTERM)
    adopt_orphans()  # the web server is a child of MLflow's process
    server = subprocess.Popen(
        command, env=dict(variables), stdout=sys.stderr.fileno(),  # ours is for the addresses
        start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
        preexec_fn=lambda: die_with_parent(signal.SIGTERM))  # MLflow passes that on
    try:
        status = server.wait()
        if status:
            raise UserError(f"MLflow's server ended with status {status}; what it said stands "
                            "above")
    except KeyboardInterrupt:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_END)
    finally:
        kill_children(os.getpid(), itself=False)


def _check(port: int) -> None:
    with socket.socket() as listener:
        # as the server does: a port whose server has just ended is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror} (another `alexnet ui`?); give "
                            f"another, as in `alexnet ui --port {port + 1}` or "
                            f"`make ui PORT={port + 1}`") from None
