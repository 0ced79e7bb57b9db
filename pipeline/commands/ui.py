"""`alexnet ui`: MLflow's own server on the store that the stages record in.

Where a server is the store, the addresses of its pages are printed. For the file in the project, or
a database, this process becomes `mlflow server`, which ends when its parent does. (Killed outright,
it leaves the web server behind that it had started.)
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import click

from pipeline.records import mlflow_connection, mlflow_pages, mlflow_store
from pipeline.system.errors import UserError, without_password
from pipeline.system.processes import die_with_parent
from pipeline.system.project import home_folder

HOST = "127.0.0.1"
ALLOWED_HOSTS = f"{HOST},{HOST}:*,localhost,localhost:*"  # what a browser here may call it


def serve(port: int) -> None:
    """Print where the pages are and become MLflow's server, or print where a server's pages are.

    Raises:
        UserError: the store cannot be reached, or the port is taken.
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
    die_with_parent(signal.SIGTERM)  # which MLflow passes on to the server that it starts
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output is for the addresses
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port),
               "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    os.execve(sys.executable, command,  # noqa: S606
              {"MLFLOW_SERVER_ALLOWED_HOSTS": ALLOWED_HOSTS} | os.environ | variables)


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
