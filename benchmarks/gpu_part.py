"""What the phases of `benchmarks.gpu` share: rows, time that is left, the device."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch

START = time.monotonic()


def emit(what: str, **fields: Any) -> None:
    """Print a row, at once."""
    print(json.dumps({"what": what} | fields), flush=True)


def seconds_left() -> float:
    """Of the phase."""
    return float(os.environ.get("GPU_SECONDS", "600")) - (time.monotonic() - START)


def each(parts: dict[str, Callable[[torch.device], None]]) -> None:
    """Run the parts of a phase on the device that the command line names. One that fails costs
    itself, and makes the phase end with status 1."""
    device = torch.device(sys.argv[1])
    failed = False
    with _prepared(device):
        for name, part in parts.items():
            if seconds_left() < 2:
                emit(name, verdict="not compared", detail="no time was left for it")
                continue
            try:
                part(device)
            except Exception as error:
                failed = True
                traceback.print_exc()
                emit(name, verdict="failed", detail=f"{type(error).__name__}: {error}"[:500])
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # threads and contexts of a device that failed are not waited for


def interpreted(device: torch.device) -> bool:
    """Whether the GPU's kernels run in Triton's interpreter."""
    return device.type == "cpu" and importlib.util.find_spec("triton") is not None


def set_exact() -> None:
    """Have this process refuse what is not deterministic, and compute float32 as such: PyTorch's
    convolutions are in TF32 otherwise."""
    torch.set_deterministic_debug_mode("error")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextlib.contextmanager
def _prepared(device: torch.device) -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_exact()
    torch._C._set_deterministic_fill_uninitialized_memory(False)
    if device.type == "cpu":
        torch.set_num_threads(1)
    if not interpreted(device):
        yield
        return
    os.environ["TRITON_INTERPRET"] = "1"
    from alexnet.arithmetic.gpu import interpreter

    with interpreter.exact():
        yield


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
