"""Commands forked from a process in which PyTorch, MLflow and the like are loaded already: some
four seconds less each.

Without it the suite would mostly wait for Python to load libraries. With `--long` each is started
from nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONG = "ALEXNET_TESTS_LONG"  # set by --long, for the processes of pytest-xdist, too
LOADED = ["torch", "torch.distributed", "torch._inductor", "mlflow.tracking",
          "mlflow.store.tracking.sqlalchemy_store", "scipy.linalg", "pyarrow.parquet",
          "tests.alexnet.runs", "pipeline.commands.main", "pipeline.stages.runner",
          "pipeline.training.process", "pipeline.stages.train", "pipeline.stages.resize",
          "pipeline.stages.evaluate", "pipeline.stages.report", "matplotlib.backends.backend_agg",
          "matplotlib.backends.backend_svg"]
# Asks a Door for `alexnet ARGUMENTS`, hands over its own standard streams, and ends as the command
# does.
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect({address!r})
    socket.send_fds(door, [b"."], [0, 1, 2])
    door.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    door.shutdown(socket.SHUT_WR)
    status = int(door.recv(100))
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def forked(target: Callable[..., None], *arguments: Any) -> Any:
    """A process of `target`, started, from one in which the libraries are loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def alexnet(command: Sequence[str], folder: Path, environment: Mapping[str, str],
            streams: Sequence[Any], limits: Sequence[tuple[int, int]] = ()) -> None:
    """In a forked process: `alexnet COMMAND`, as a shell in this folder would start it.

    Args:
        command: arguments.
        folder: in which it runs.
        environment: all of its variables; the packages come from the first folder of PYTHONPATH.
        streams: its standard streams, or the last two of them, to be detached from what brought
            them here.
        limits: resources of the process and their limits, as (resource.RLIMIT_FSIZE, 1000).
    """
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams, 3 - len(streams)):
        os.dup2(stream.detach(), number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "w" if number else "r", buffering=1,
                                                   closefd=False) for number in range(3))
    code = os.environ["PYTHONPATH"].split(os.pathsep)[0]
    if Path(code) != ROOT:
        for name in [name for name in sys.modules
                     if name.partition(".")[0] in ("alexnet", "pipeline", "tests")]:
            del sys.modules[name]
        sys.path.insert(0, code)
    sys.argv = ["alexnet", *command]
    limited(limits)
    from pipeline.commands.main import main

    main()


def limited(limits: Sequence[tuple[int, int]]) -> None:
    """In a command's process: within these limits, and hearing Ctrl-C as from a shell in the
    foreground."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for which, value in limits:
        resource.setrlimit(which, (value, value))


class Door:
    """A folder for PATH, whose `alexnet` is forked; for commands that nobody sends signals to."""

    def __init__(self) -> None:
        # a socket's address must be short
        self.folder = Path(tempfile.mkdtemp(prefix="alexnet-door-"))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / "socket"))
        self._socket.listen()
        client = self.folder / "alexnet"
        client.write_text(CLIENT.format(python=sys.executable, address=str(self.folder / "socket")))
        client.chmod(0o755)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            _, numbers, _, _ = socket.recv_fds(connection, 1, 3)
            streams = [reduction.DupFd(number) for number in numbers]
            with connection.makefile() as asked:
                command, folder, environment = json.load(asked)
            for number in numbers:
                os.close(number)
            process = forked(alexnet, command, folder, environment, streams)
            process.join()
            connection.sendall(str(process.exitcode).encode())
