"""A real PostgreSQL server of its own, in a new folder, which is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.system.processes import die_with_parent

PROGRAMS = ("initdb", "postgres")
DEBIAN = "/usr/lib/postgresql/*/bin"
PASSWORD = "a-secret"  # noqa: S105 - of a server that lives as long as a test


def missing() -> str | None:
    """Why there is none here; None if there is."""
    if absent := [name for name in PROGRAMS if _program(name) is None]:
        return f"no PostgreSQL here ({', '.join(absent)}); install the package postgresql"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "no psycopg here; pip install --no-deps -r tests/requirements.txt"
    return None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Yields the address of an empty database, with a password in it."""
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="alexnet-postgresql-"))
    if account:
        shutil.chown(folder, account)
    try:
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        _run(account, "initdb", "-D", str(folder / "data"), "-U", "alexnet", "--pwfile",
             str(folder / "password"), "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8",
             "--no-locale")
        port = free_port()
        server = subprocess.Popen([str(_program("postgres")), "-D", str(folder / "data"), "-p",
                                   str(port), "-F", "-c", "listen_addresses=127.0.0.1", "-c",
                                   f"unix_socket_directories={folder}"], user=account, cwd=folder,
                                  stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        address = f"postgresql://alexnet:{PASSWORD}@127.0.0.1:{port}/postgres"
        try:
            _wait_for(address, server)
            yield address
        finally:
            server.send_signal(signal.SIGINT)  # does not wait for those who are connected
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _program(name: str) -> Path | None:
    places = [Path(found).parent for found in [shutil.which(name)]
              if found] + sorted(Path("/").glob(DEBIAN[1:]))
    return next((place / name for place in places if (place / name).exists()), None)


def _account() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(account: str | None, program: str, *arguments: str) -> None:
    done = subprocess.run([str(_program(program)), *arguments], user=account, cwd="/",
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    latest = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(address).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < latest
            time.sleep(0.05)
