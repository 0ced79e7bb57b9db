"""The connection to MLflow's store: its address, its client, bounds on its answers, and what is
said where it cannot be used.

The store is mlflow.db in the project's folder, or any server or database that MLFLOW_TRACKING_URI
names.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.records import bounds, database
from pipeline.system.errors import UserError, without_password
from pipeline.system.importing import absent, first_import
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

EXPERIMENT = "alexnet"
LONGEST_REASON = 600  # characters of an error's message
# One try more at a server that does not answer, not MLflow's seven, which take minutes.
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # one stream, which is bounded
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
Result = TypeVar("Result")
UNUSED = ("pandas", "pyarrow", "scipy", "pygments")  # MLflow imports them if they are there


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the address of mlflow.db in the project's folder."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return database.resolve_address(address)
    return database.address_of(home_folder() / database.DATABASE)


def experiment_name() -> str:
    """Return MLFLOW_EXPERIMENT_NAME, or alexnet."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def exists() -> bool:
    """Return whether there is a store to look into; a database file is made by the first stage."""
    file = database.file_of(tracking_uri())
    return file is None or file.exists()


def is_server(uri: str) -> bool:
    """Return whether the address is one of MLflow's server, not of a database."""
    return uri.startswith(("http://", "https://"))


def client() -> Any:
    """Return MLflow's client of the store. That of a database looks at its tables, or makes them,
    at once."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri()
    _import_mlflow(uri)
    from mlflow.tracking import MlflowClient

    # The tables it creates; errors with tracebacks, which are reported where they are caught.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # every try; the last is reported by whoever asked
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    if file := database.file_of(uri):
        database.prepare(file)
    if is_server(uri):
        bounds.bound_answers()
    return MlflowClient(uri)


def _import_mlflow(uri: str) -> None:
    """Import what a store at this address needs, which takes a second; once in a process."""
    if "mlflow" in sys.modules:
        return
    with first_import("mlflow"), absent(*UNUSED):
        importlib.import_module("mlflow.tracking")
        if not is_server(uri):
            importlib.import_module("mlflow.store.tracking.sqlalchemy_store")


def bounded(action: Callable[[], Result], size: int = 0) -> Result:
    """Return what the action returns; a server has a minute for it, and time for `size` bytes.

    Raises:
        TimeoutError: the server did not answer.
        Exception: whatever the action raises.
    """
    if not is_server(tracking_uri()):
        return action()
    return bounds.within(bounds.SECONDS + size / bounds.BYTES_A_SECOND, action)


def attempt(consequence: str, action: Callable[[], object], size: int = 0) -> bool:
    """Do this, as `bounded`, or warn that MLflow cannot be used, and of the consequence; return
    whether it was done. Nothing that MLflow does or fails to do stops a stage."""
    try:
        bounded(action, size)
    except Exception as error:  # of the network, the database, the disk, MLflow
        say(f"warning: {describe_failure(error)}; {consequence}")
        return False
    return True


def describe_failure(error: Exception) -> str:
    """Return a line on why the store cannot be used."""
    return f"MLflow's store {without_password(tracking_uri())} cannot be used ({reason(error)})"


def reason(error: Exception) -> str:
    """Return a line on an error of MLflow, or of what is under it: its kind, its message, and the
    end of its message, where the cause stands, if that is long."""
    text = without_password(" ".join(str(error).split()))
    if isinstance(error, UserError):
        return text
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON // 2]} ... {text[-LONGEST_REASON // 2:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_address(address: str) -> None:
    """Refuse a folder of this machine as the place of a run's files, where a server names it.

    Raises:
        UserError: it is one, or its folder is not there.
    """
    scheme, path = urlsplit(address).scheme, Path(url2pathname(urlsplit(address).path))
    if scheme not in ("", "file"):
        return
    if is_server(tracking_uri()):
        raise UserError(f"{address}: a server that keeps files in a folder of its own machine must "
                        "serve them (mlflow server --serve-artifacts); nothing is read or written "
                        "there")
    if not path.parents[1].is_dir():  # of all runs: a run without files has no folder of its own
        raise UserError(f"{path.parents[1]}: no such folder, though the store names it")
