"""Is what is installed what a run needs? Packages, the image library and its pixels, PyTorch and
torchvision."""

from __future__ import annotations

import os
import platform
import re
import runpy
import subprocess
import sys
from importlib import metadata

from pipeline.commands.doctor.finding import Finding, ok, skipped
from pipeline.config.parameters import Parameters
from pipeline.records import environment
from pipeline.system.errors import UserError
from pipeline.system.importing import first_import
from pipeline.system.project import CODE

OLDEST_PYTHON = (3, 11)
SET_UP = "make setup"


def packages(parameters: Parameters) -> Finding:
    """Check Python, every direct dependency, and whether the installed versions are those of
    requirements.lock."""
    here = f"Python {sys.version.split()[0]}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("fails", f"{here}, and 3.11 or newer is needed",
                       "make setup PYTHON=python3.12")
    missing = [name for name in _direct() if not _there(name)]
    if missing:
        return Finding("fails", f"not installed: {', '.join(missing)}", SET_UP)
    followed = environment.lock_followed()
    if followed != "yes":
        return Finding("warning",
                       f"{here}; not as requirements.lock pins: {followed.removeprefix('no: ')}. "
                       "Bits may differ from those of the pinned set", SET_UP)
    return ok(f"{here}; all packages as requirements.lock pins them")


def _direct() -> list[str]:
    """Return the direct dependencies, without the optional ones and without Pillow, which has a
    check of its own."""
    try:
        wanted = metadata.requires("alexnet-harness") or []
    except metadata.PackageNotFoundError:
        return ["alexnet-harness"]
    return [re.split(r"[^\w.-]", requirement)[0] for requirement in wanted
            if "extra ==" not in requirement]


def _there(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def pillow(parameters: Parameters) -> Finding:
    """Check that one of Pillow and pillow-simd is installed, and whole; report which, and its JPEG
    library."""
    try:
        problem = environment.problem_with_pillow()
    except Exception as error:  # files of two libraries, one over the other, fail in any way
        problem = (f"PIL cannot be imported ({type(error).__name__}: {error}); fix it with: "
                   f"{SET_UP}")
    if problem:
        what, _, fix = problem.partition("; fix it with: ")
        return Finding("fails", what, fix)
    from PIL import features

    if not features.check("jpg") or not features.check("zlib"):
        return Finding("fails", "Pillow was built without JPEG or zlib",
                       "install libjpeg-dev and zlib1g-dev, remove .venv, then: make setup")
    stack = environment.decoder()
    detail = f"{stack['pillow']}, {stack['libjpeg']}, zlib {stack['zlib']}"
    if not stack["pillow"].startswith("pillow-simd"):
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return ok(f"{detail}; resampling in C, with the bits of pillow-simd")
        return Finding("warning", f"{detail}: not pillow-simd, so resampling is done in C, with "
                                  "the same bits and more slowly", SET_UP)
    return ok(f"{detail}; built with SIMD")


def pictures(parameters: Parameters) -> Finding:
    """Check that the reference pictures decode, and whether data/store was made with the same
    decoder."""
    from pipeline.config.paths import STORE
    from pipeline.data import pixels

    try:
        pixels.decoder.cache_clear()
        here = pixels.decoder()
    except pixels.Undecodable as error:
        return Finding("fails", f"a reference picture cannot be decoded: {error}", SET_UP)
    detail = f"reference pictures have the fingerprint {here['fingerprint']}"
    if not (STORE / "store.json").exists():
        return ok(f"{detail}; no image store yet to compare with")
    from pipeline.data.store import Store

    try:
        other = Store(STORE).other_decoder()
    except UserError as error:
        return Finding("fails", str(error), "dvc repro resize")
    if other:
        return Finding("warning", f"{detail}; {other}",
                       "dvc repro --force resize, or install what made the store")
    return ok(f"{detail}, as those of {STORE}")


def torch(parameters: Parameters) -> Finding:
    """Check PyTorch, and whether its build fits the GPU here."""
    try:
        with first_import("torch"):
            import torch as pytorch
    except Exception as error:  # a broken installation fails in any way
        return Finding("fails",
                       f"torch cannot be imported ({type(error).__name__}: {_first_line(error)})",
                       SET_UP)
    build = f"CUDA {pytorch.version.cuda}" if pytorch.version.cuda else "CPU"
    detail = (f"PyTorch {pytorch.__version__}, {build} build, "
            f"{pytorch.backends.cpu.get_cpu_capability()}")
    seen = nvidia_gpus()
    if seen and not pytorch.cuda.is_available():
        why = "its build is for the CPU" if not pytorch.version.cuda else \
            f"it cannot use the driver ({_warning_of_cuda()})"
        fix = "pip install torch from PyTorch's index for your CUDA version, or a newer driver"
        return Finding("fails" if parameters.execution.device == "cuda" else "warning",
                       f"{detail}; {seen} NVIDIA GPU{'s' * (seen > 1)} here, but {why}", fix)
    if parameters.execution.device == "cuda" and not pytorch.cuda.is_available():
        return Finding("fails", f"{detail}; execution.device is cuda, and there is no GPU",
                       "set execution.device to auto or cpu")
    return ok(detail)


def nvidia_gpus() -> int:
    """Return how many GPUs the driver names, whether or not PyTorch can use them."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True,
                                check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _warning_of_cuda() -> str:
    import torch as pytorch

    try:
        pytorch.cuda.init()
    except Exception as error:  # RuntimeError, AssertionError, what the driver says
        return _first_line(error)
    return "no reason given"


def torchvision(parameters: Parameters) -> Finding:
    """Check torchvision through `benchmarks.torchvision_import`, which makes it work beside a CPU
    build of PyTorch; it is run as a file, since the project's folder is on no path."""
    file = CODE / "benchmarks/torchvision_import.py"
    if not file.exists():
        return skipped("only benchmarks and tests import torchvision, and they are not here")
    try:
        with first_import("torchvision"):
            runpy.run_path(str(file))
    except Exception as error:
        return Finding("fails", f"torchvision cannot be imported ({type(error).__name__}: "
                                f"{_first_line(error)})", SET_UP)
    return ok(f"torchvision {metadata.version('torchvision')}")


def gpus(parameters: Parameters) -> Finding:
    """Check the GPUs, their memory, and whether each pair can reach the other's memory."""
    import torch as pytorch

    if not pytorch.cuda.is_available():
        return skipped("no GPU that PyTorch can use: runs take the CPU")
    count = pytorch.cuda.device_count()
    names = ", ".join(f"{pytorch.cuda.get_device_name(device)} "
                      f"({pytorch.cuda.get_device_properties(device).total_memory / 1e9:.0f} GB)"
                      for device in range(count))
    if len({pytorch.cuda.get_device_name(device) for device in range(count)}) > 1:
        return Finding("warning", f"{names}: of different kinds, whose bits differ",
                       "choose like ones with CUDA_VISIBLE_DEVICES")
    apart = [f"{a}-{b}" for a in range(count) for b in range(a + 1, count)
             if not pytorch.cuda.can_device_access_peer(a, b)]
    if apart:
        return Finding("warning", f"{names}; no peer access between {', '.join(apart)}: what the "
                                  "columns exchange goes through the host's memory, which is "
                                  "slower and changes no bit",
                       "choose GPUs of one switch or bridge with CUDA_VISIBLE_DEVICES (nvidia-smi "
                       "topo -m)")
    return ok(names + (", each with access to the others' memory" if count > 1 else ""))


def determinism(parameters: Parameters) -> Finding:
    """Check for settings that would let two runs differ, or that change the bits of all."""
    execution, workspace = parameters.execution, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if execution.threads != "auto" and execution.threads > environment.cores():
        return Finding("warning", f"execution.threads is {execution.threads}, and there are "
                                  f"{environment.cores()} cores: slow",
                       "lower execution.threads, or set it to auto")
    if parameters.train.arithmetic == "portable":
        return ok("portable arithmetic: no thread, variable or library changes its bits")
    if workspace not in (None, ":4096:8", ":16:8"):
        return Finding("fails" if execution.device != "cpu" else "warning",
                       f"CUBLAS_WORKSPACE_CONFIG is {workspace}: with it cuBLAS is not "
                       "deterministic",
                       "unset CUBLAS_WORKSPACE_CONFIG, or export CUBLAS_WORKSPACE_CONFIG=:4096:8")
    if not execution.deterministic:
        return Finding("warning", "execution.deterministic is false: two runs may differ",
                       "set execution.deterministic to true")
    changed = [f"{name}={os.environ[name]}" for name in environment.BIT_CHANGING_VARIABLES
               if name in os.environ and name != "CUBLAS_WORKSPACE_CONFIG"]
    if changed:
        return Finding("warning", f"{', '.join(changed)}: can change bits; every record names it",
                       "unset it, unless it is meant")
    threads = ("a thread" if execution.threads in (1, "auto") else
               f"{execution.threads} threads")
    return ok(f"deterministic algorithms, {threads} a process, no variable set that changes bits")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
