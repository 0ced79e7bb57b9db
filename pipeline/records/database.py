"""A SQLite database of runs, and the project's own: mlflow.db, with their files in mlartifacts.

MLflow makes a database in place, migrates an older one without asking, and keeps the addresses of
files absolute. Here a database is made under another name and renamed, so that it is whole or
absent; one of another version is refused; and the addresses follow the project's folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.config.paths import WORK
from pipeline.system.errors import UserError
from pipeline.system.files import sync_folder
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SQLITE = "sqlite:///"
SECONDS_BUSY = 20.0  # to wait for another process that writes


def address_of(file: Path) -> str:
    """Return the address of a SQLite file, for MLflow.

    SQLAlchemy reads `?` and `%2F` in it as something else, so that the path of a folder with such a
    name is written relative to the current one.
    """
    odd = re.search(r"\?|%[0-9A-Fa-f]{2}", str(file))
    return f"{SQLITE}{os.path.relpath(file) if odd else file}"


def resolve_address(address: str) -> str:
    """Return a store's address with a relative path in it taken from the project's folder, which is
    not the current one where DVC runs an experiment in a copy."""
    if address.startswith(SQLITE):
        path, query, options = address.removeprefix(SQLITE).partition("?")
        return f"{address_of(home_folder() / path)}{query}{options}"
    if "://" in address or address.startswith(("/", "file:")):
        return address
    return str(home_folder() / address)


def file_of(address: str) -> Path | None:
    """Return the file of a SQLite store; None for another store."""
    if not address.startswith(SQLITE):
        return None
    return Path.cwd() / address.removeprefix(SQLITE).partition("?")[0]


def prepare(file: Path) -> None:
    """Have the database be there, whole and of this MLflow's version; MLflow must be imported.

    What a killed process left of one in the making is renamed, and made anew.

    Raises:
        UserError: it is of another version of MLflow, or is no database.
    """
    if not _is_whole(file):
        with _lock():  # two stages that start at once both find none
            if not _is_whole(file):
                _make(file)
    if file == home_folder() / DATABASE:
        _follow_folder(file)


def _is_whole(file: Path) -> bool:
    """Return whether the database has all tables; UserError if it lacks some, and holds runs."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import _get_latest_schema_revision

    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(file, timeout=SECONDS_BUSY)) as database:
            tables = {name for name, in database.execute("SELECT name FROM sqlite_master")}
            if tables >= {*Base.metadata.tables, "alembic_version"}:
                versions = database.execute("SELECT version_num FROM alembic_version").fetchall()
                if versions in ([], [(_get_latest_schema_revision(),)]):
                    return bool(versions)
            used = any(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] > most  # noqa: S608
                       for table, most in (("runs", 0), ("experiments", 1)) if table in tables)
    except sqlite3.DatabaseError as error:
        raise UserError(f"{file}: no database of runs ({error})") from None
    if used:
        raise UserError(f"{file}: of another version of MLflow than the one installed, which would "
                        "change its tables for good. Keep a copy of it, then: mlflow db upgrade "
                        f"'{address_of(file)}'")
    return False


def _make(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for leftover in file.parent.glob(f".{file.name}.*.part*"):  # of a process killed here
        leftover.unlink()
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    store = SqlAlchemyStore(address_of(part), (home_folder() / ARTIFACTS).as_uri())
    store.engine.dispose()
    SqlAlchemyStore._engine_map.pop(address_of(part), None)
    if file.exists():
        aside = file.with_name(f"{file.name}.incomplete-{time.strftime('%Y%m%dT%H%M%S')}")
        os.rename(file, aside)
        say(f"{file}: only partly made, by a process that was killed; it is now {aside.name}, and "
            "made anew")
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.rename(part, file)
    sync_folder(file.parent)


@contextmanager
def _lock() -> Iterator[None]:
    """Wait for the lock on the making of a database, and hold it within the block."""
    file = home_folder() / WORK / "locks" / DATABASE
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _follow_folder(file: Path) -> None:
    """Point the addresses of files into mlartifacts beside the database, wherever that lies now."""
    here = (file.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(file, timeout=SECONDS_BUSY)) as database, database:
        locations = {location for location, in database.execute(
            "SELECT DISTINCT artifact_location FROM experiments")}
        for location in locations:
            address = urlsplit(location or "")
            root, folder_name, rest = location.rpartition(f"/{ARTIFACTS}")
            old = f"{root}{folder_name}"
            if (address.scheme not in ("", "file") or not folder_name or rest.strip("/0123456789")
                    or url2pathname(urlsplit(old).path) == str(file.parent / ARTIFACTS)):
                continue
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(old) + 1, old, len(old) + 1, f"{old}/"))
            say(f"{file}: the project's folder was {url2pathname(urlsplit(root).path)} when runs "
                "were recorded; their files are now looked for here")
