"""Where and how a training is executed: the device, the placement, the processes.

`resolve()` leaves no `auto` in the execution section; `prepare()` sets up this process for it. The
results do not depend on any of it, except on the device and the number of threads in `native`
arithmetic.
"""

from __future__ import annotations

import json
import os

import torch

from alexnet.architectures import ARCHITECTURES
from alexnet.arithmetic import NUMBER
from pipeline.config.identity import start_digest
from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.config.sections import ExecutionSection
from pipeline.data.store import prepared_by
from pipeline.system.errors import UserError
from pipeline.system.processes import keep_freed_memory
from pipeline.training.launcher import world_size


def resolve(parameters: Parameters) -> Parameters:
    """Return the parameters with an execution section that has no `auto` left.

    Two processes, one column each, need a net of two columns, and two GPUs or two cores; they are
    faster than one with as many threads. Where threads cannot show in the bits, all cores are used.
    Under torchrun the number of processes is given, and that of replicas follows from it.

    Raises:
        UserError: this machine, or what torchrun started, cannot execute what is asked for.
    """
    execution = parameters.execution
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = _device(execution, gpus)
    started = world_size() if launched() else 0
    available = started or (gpus if device == "cuda" else len(os.sched_getaffinity(0)))
    placement = _placement(parameters, started, available)
    replicas = started // (2 if placement == "two" else 1) if started else execution.replicas
    execution = execution.model_copy(update={"device": device, "placement": placement,
                                             "replicas": replicas})
    execution = execution.model_copy(update={"threads": _threads(parameters, execution)})
    if device == "cuda":
        _check_gpus(execution, gpus, bool(started))
    if parameters.train.micro_batches % replicas:
        raise UserError("execution.replicas: "
                        f"{replicas}{' (as torchrun started them)' if started else ''} does not "
                        f"divide train.micro_batches ({parameters.train.micro_batches})")
    return parameters.model_copy(update={"execution": execution})


def _device(execution: ExecutionSection, gpus: int) -> str:
    if execution.device == "cuda" and not gpus:
        raise UserError("execution.device: cuda, but PyTorch finds no GPU here; set it to cpu or "
                        "auto")
    if execution.device != "auto":
        return execution.device
    return "cuda" if gpus else "cpu"


def _placement(parameters: Parameters, started: int, available: int) -> str:
    execution, architecture = parameters.execution, parameters.architecture
    two_columns = ARCHITECTURES[architecture].columns == 2
    if execution.placement == "two" and not two_columns:
        raise UserError(f"execution.placement: two, but network.architecture {architecture} has "
                        "one column; set it to one or auto")
    if execution.placement == "two" and started % 2:
        raise UserError(f"execution.placement: two, but torchrun started {started} processes, "
                        "which is odd; set it to one, or start an even number")
    if execution.placement != "auto":
        return execution.placement
    needed = 2 if started else 2 * execution.replicas
    return "two" if two_columns and available >= needed and started % 2 == 0 else "one"


def _threads(parameters: Parameters, execution: ExecutionSection) -> int:
    """Return how many threads each of the processes on this machine has."""
    if execution.threads != "auto":
        return execution.threads
    if not _threads_are_free(parameters, execution.device):
        return 1
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else process_count(execution)
    return max(1, len(os.sched_getaffinity(0)) // here)


def _threads_are_free(parameters: Parameters, device: str) -> bool:
    """Return whether the work is shared by threads whose number no bit depends on."""
    return parameters.train.arithmetic == "portable" and device == "cpu"


def _check_gpus(execution: ExecutionSection, gpus: int, started: bool) -> None:
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if started else process_count(execution)
    if here > gpus:
        fix = ("start fewer (torchrun's --nproc-per-node)" if started else
               "lower execution.replicas, or set execution.placement to one")
        raise UserError(f"execution: {here} processes need as many GPUs, and there are {gpus}; "
                        f"{fix}")


def process_count(execution: ExecutionSection) -> int:
    """Return how many training processes an execution section asks for, over all machines."""
    return execution.replicas * (2 if execution.placement == "two" else 1)


def launched() -> bool:
    """Return whether torchrun, or our launcher, started this process as one of several.

    Raises:
        UserError: as `launcher.world_size`.
    """
    return world_size() > 1


def tags(parameters: Parameters) -> dict[str, str]:
    """Return the tags of a training's record that say how it is executed, what it starts from, and
    which decoder prepared its images, which need not be the one installed here."""
    execution = resolve(parameters).execution
    start = start_digest(parameters)
    return {"placement": execution.placement, "replicas": str(execution.replicas),
            "processes": str(process_count(execution)), "device": execution.device,
            "threads": str(execution.threads), "arithmetic": arithmetic_name(parameters),
            "deterministic": json.dumps(execution.deterministic),
            **({"start_from_digest": start} if start else {}), **prepared_by(STORE)}


def arithmetic_name(parameters: Parameters) -> str:
    """Return what decides the bits of a product, as "portable 1", the number that of its
    definition, or "native"."""
    name = parameters.train.arithmetic
    return f"{name} {NUMBER}" if name == "portable" else name


def prepare(parameters: Parameters) -> torch.device:
    """Set up memory, threads and determinism of this process, and return its device.

    Raises:
        UserError: the precision is one that the device does not have.
    """
    keep_freed_memory()
    torch.set_num_threads(int(parameters.execution.threads))
    deterministic = parameters.execution.deterministic
    # As use_deterministic_algorithms, which imports the compiler that nobody here uses: almost two
    # seconds.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    if parameters.execution.device != "cuda":
        if parameters.train.precision == "tf32":
            raise UserError("train.precision: tf32 is a format of GPUs, and the device is the CPU; "
                            "set it to fp32 or bf16")
        return torch.device("cpu")
    if deterministic:  # without this variable cuBLAS is not
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = not deterministic
    # Nothing here reads memory before it is written; filling all of it costs a pass each time.
    torch._C._set_deterministic_fill_uninitialized_memory(False)
    tf32 = parameters.train.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device
