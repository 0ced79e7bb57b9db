"""Commands forked from a process in which PyTorch, MLflow and the like are loaded already: some
four seconds less each; and what they start by `python -m pipeline`, two seconds less each.

Without it the suite would mostly wait for Python to load libraries. With `--long` each is started
from nothing.
"""

from __future__ import annotations

import importlib
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
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
LONG = "ALEXNET_TESTS_LONG"  # set by --long, for the processes of pytest-xdist, too
LOADED = ["torch", "torch.distributed", "torch._inductor", "mlflow.tracking", "alembic.command",
          "mlflow.store.tracking.sqlalchemy_workspace_store", "sqlalchemy.dialects.sqlite",
          "scipy.io", "scipy.linalg", "pyarrow.parquet", "rich.table", "matplotlib.figure",
          "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
          "tests.alexnet.runs", "pipeline.commands.main", "pipeline.stages.runner",
          "pipeline.training.process", "pipeline.stages.train", "pipeline.stages.resize",
          "pipeline.stages.evaluate", "pipeline.stages.report"]
# Asks a Door for `alexnet ARGUMENTS`, hands over its own standard streams, and ends as the command
# does. Called as Python, it asks for what COMMANDS begin; it becomes Python for all else, and where
# a variable is another that LIBRARIES read when they are loaded.
CLIENT = """\
#!{python} -IS
import json, os, socket, sys
module, command = "pipeline", sys.argv[1:]
if os.path.basename(sys.argv[0]) == "python":
    *options, module = command[: 1 if command[:1] == ["-c"] else 3] or [""]
    command = command[len(options) + 1:]
    loaded = {{name: value for name, value in os.environ.items()
              if name.startswith({libraries!r}) and (name, value) != ("PYTHONHASHSEED", "0")}}
    if [*options, module] not in {commands!r} or loaded != {variables!r}:
        os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as door:
    door.connect({address!r})
    socket.send_fds(door, [b"."], [0, 1, 2])
    door.sendall(json.dumps([[module, *command], os.getcwd(), dict(os.environ),
                             os.getpid()]).encode() + b"\\n")
    status = int(door.recv(100))
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
COMMANDS = [["-c"], ["-P", "-m", "pipeline"], ["-P", "-m", "pipeline.commands.main"]]
LIBRARIES = ("OMP_", "KMP_", "GOMP_", "MKL_", "ONEDNN_", "DNNL_", "OPENBLAS_", "ATEN_", "TORCH_",
             "CUDA_", "LD_", "GLIBC_", "MALLOC_", "PYTHONHASHSEED", "ALEXNET_ISA")


def forked(target: Callable[..., None], *arguments: Any) -> Any:
    """A process of `target`, started, from one in which the libraries are loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def alexnet(command: Sequence[str], folder: Path, environment: Mapping[str, str],
            streams: Sequence[Any], limits: Sequence[tuple[int, int]] = (),
            python: str = sys.executable, like: int = 0) -> None:
    """In a forked process: `python -m COMMAND`, as a shell in this folder would start it.

    Args:
        command: a module, or "-c" and a program; then arguments.
        folder: in which it runs.
        environment: all of its variables; the packages come from the first folder of PYTHONPATH.
        streams: its standard streams, or the last two of them, to be detached from what brought
            them here.
        limits: resources of the process and their limits, as (resource.RLIMIT_FSIZE, 1000).
        python: starts what the command starts by Python.
        like: the process whose cores it may use.
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
    (module, *arguments), sys.executable = command, python
    sys.argv = ["alexnet", *arguments]
    limited(limits)
    os.sched_setaffinity(0, os.sched_getaffinity(like))
    if module == "-c":
        exec(arguments[0], {"__name__": "__main__"})  # noqa: S102
    else:
        importlib.import_module("pipeline.__main__" if module == "pipeline" else module).main()


def limited(limits: Sequence[tuple[int, int]]) -> None:
    """In a command's process: within these limits, and hearing Ctrl-C as from a shell in the
    foreground."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for which, value in limits:
        resource.setrlimit(which, (value, value))


class Door:
    """A folder for PATH, whose `alexnet` is forked; for commands that nobody sends signals to.

    What such a command starts and kills, ends: the forked process dies with the one that asked.
    `Door.python` begins COMMANDS likewise.
    """

    python: ClassVar[str] = sys.executable

    def __init__(self) -> None:
        # a socket's address must be short
        self.folder = Path(tempfile.mkdtemp(prefix="alexnet-door-"))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.folder / "socket"))
        self._socket.listen()
        for name in ("alexnet", "tools/python"):
            client = self.folder / name
            client.parent.mkdir(exist_ok=True)
            client.write_text(CLIENT.format(
                python=sys.executable, address=str(self.folder / "socket"), libraries=LIBRARIES,
                commands=COMMANDS,
                variables={name: value for name, value in os.environ.items()
                           if name.startswith(LIBRARIES)}))
            client.chmod(0o755)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Door:
        Door.python = str(self.folder / "tools/python")
        return self

    def __exit__(self, *_: object) -> None:
        Door.python = sys.executable
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
                command, folder, environment, client = json.loads(asked.readline())
            for number in numbers:
                os.close(number)
            process = forked(alexnet, command, folder, environment, streams, (),
                             str(self.folder / "tools/python"), client)
            wait([process.sentinel, connection])  # this one is ready when who asked has ended
            if process.is_alive():
                process.kill()
            process.join()
            with suppress(BrokenPipeError):
                connection.sendall(str(process.exitcode).encode())
