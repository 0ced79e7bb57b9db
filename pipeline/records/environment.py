"""What a run ran on: the guard on the environment, its fingerprint, and digests of the code and its
changes.

`check()` is asked before every stage; `fingerprint()`, `code_digest()` and `git_state()` go into
every run's record.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pipeline.system.errors import UserError
from pipeline.system.git import GitError, run_git
from pipeline.system.importing import first_import
from pipeline.system.project import CODE
from pipeline.system.terminal import say

LOCK = CODE / "requirements.lock"
PACKAGES = ("alexnet", "pipeline")
# Of the packages' files, those that are code: modules, kernels, and the data that they read.
CODE_SUFFIXES = (".py", ".c", ".h", ".json", ".yaml", ".txt", ".j2", ".css", ".jpg", ".png")
_VERSION = re.compile(r"^Version: *(\S+) *$", re.MULTILINE)  # a header of a package's METADATA
PROBE = "native_probe"  # of the fingerprint: a digest of what PyTorch's own kernels compute
# changed: the run is dirty
DECIDING = (*PACKAGES, "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock")
BIT_CHANGING_VARIABLES = ("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "DNNL_MAX_CPU_ISA",
                          "MKL_CBWR", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
                          "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE",
                          "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")


def check() -> None:
    """Require that exactly one of Pillow and pillow-simd owns the package PIL, and say so where it
    is stock Pillow.

    Raises:
        UserError: both are installed, neither is, or one's files lie under the other's name; the
            message names the fix.
    """
    problem = problem_with_pillow()
    if problem:
        raise UserError(problem)
    if _version("pillow"):
        say(f"images are decoded by stock Pillow {_version('pillow')}, and resampled in C with "
            "the bits of pillow-simd, more slowly")


def fingerprint(with_torch: bool = True) -> dict[str, str]:
    """Return everything of this machine and its software that can change a bit of a result, and a
    little more for people.

    `with_torch=False` leaves out what only PyTorch, which takes seconds to import, can tell.
    """
    facts = {"python": platform.python_version(), "os": f"{platform.system()} {platform.release()}",
             "machine": platform.machine(), "libc": " ".join(platform.libc_ver()).strip(),
             "cpu": _cpu(), "cores": str(cores()), "numpy": _version("numpy") or "none",
             "scipy": _version("scipy") or "none", "torch": _version("torch") or "none",
             "lock_digest": _lock_digest(), "lock_followed": lock_followed()} | decoder()
    for name in BIT_CHANGING_VARIABLES:
        if name in os.environ:
            facts[f"variable {name}"] = os.environ[name]
    return facts | (_torch() if with_torch else {})


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def code_digest(root: Path = CODE) -> str:
    """Return the SHA-256 over the names and contents of the code under `root`."""
    return digest_of_code({name: file.read_bytes() for name, file in code_files(root).items()})


def code_files(root: Path) -> dict[str, Path]:
    """Return the files of the two packages that are code, by their names relative to `root`."""
    return {file.relative_to(root).as_posix(): file for package in PACKAGES
            for file in (root / package).rglob("*")
            if file.suffix in CODE_SUFFIXES and file.is_file()}


def digest_of_code(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode() + files[name])
    return digest.hexdigest()


@dataclass(frozen=True)
class GitState:
    """What git says of the code.

    Attributes:
        commit: the commit, or why there is none: "not a repository", "no commit yet", or
            "unknown: " and the reason for which git does not answer.
        diff: the patch that leads from the commit to the files as they are, which `git apply`
            takes; None without a commit.
    """

    commit: str
    diff: str | None

    @property
    def dirty(self) -> bool | None:
        """Return whether anything that decides a run has changed since the commit; None without a
        commit, when that is unknown."""
        return None if self.diff is None else bool(self.diff)

    def tags(self) -> dict[str, str]:
        """Return git_commit and git_dirty, which is true, false or unknown, for a record."""
        return {"git_commit": self.commit,
                "git_dirty": "unknown" if self.dirty is None else json.dumps(self.dirty)}


def git_state(root: Path = CODE) -> GitState:
    """Return the state of the code and of what else decides a run: untracked Python files count,
    changed documents do not."""
    def git(*arguments: str) -> str:
        return run_git(*arguments, folder=root).decode("utf-8", "replace")

    try:
        if not git("ls-files", "--", *PACKAGES):  # a repository in which the code happens to lie
            return GitState("not a repository", None)
        commit = git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        if not commit:
            return GitState("no commit yet", None)
        changed = git(*_DIFF, "HEAD", "--", *DECIDING)
        untracked = git("ls-files", "-z", "--others", "--exclude-standard", "--",
                        *DECIDING).split("\0")
        new = [git(*_DIFF, "--no-index", "--", os.devnull, name)
               for name in untracked if name.endswith((*CODE_SUFFIXES, ".toml", ".lock"))]
    except GitError as error:
        absent = "not a git repository" in str(error)
        return GitState("not a repository" if absent else f"unknown: {error}", None)
    return GitState(commit, changed + "".join(new))


_DIFF = ("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c",
         "core.quotePath=false", "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--binary")


def _version(distribution: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        package = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    headers = (package.read_text("METADATA") or "").partition("\n\n")[0]
    match = _VERSION.search(headers)
    return match[1] if match else package.version  # which parses the whole description, too


def _pil() -> str | None:
    """Return the version that PIL's own files say they are; None if they do not work."""
    try:
        import PIL.Image  # loads the compiled part, which refuses the files of another version
    except ImportError:
        return None
    return PIL.__version__


def problem_with_pillow() -> str | None:
    """Return what is wrong with the image library here, followed by the fix; None if nothing is."""
    own = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    spec = importlib.util.find_spec("PIL")
    place_of_pil = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    if place_of_pil and place_of_pil not in own and any((place / "PIL").is_dir() for place in own):
        return (f"PIL is taken from {place_of_pil}, which stands before this environment's own (by "
                "PYTHONPATH?); fix it with: unset PYTHONPATH")
    return _problem_with_pillow(_version("pillow"), _version("pillow-simd"), _pil())


def _problem_with_pillow(stock: str | None, simd: str | None, files: str | None) -> str | None:
    """Return what is wrong, given the versions of the two distributions and of the files that are
    there; None if nothing is."""
    installed = simd or stock
    if installed is None:
        return "Pillow is not installed; fix it with: make setup, or: pip install pillow"
    if stock and simd:
        what = (f"Pillow {stock} and pillow-simd {simd} are both installed and have overwritten "
                "each other's files")
    elif files != installed:
        what = (f"{'pillow-simd' if simd else 'Pillow'} {installed} is installed, but the files of "
                "PIL are not its own")
    else:
        return None
    wanted = f"pillow-simd=={simd}" if simd else f"pillow=={stock}"
    return (f"{what}; fix it with: pip uninstall --yes pillow pillow-simd && "
            f"pip install --no-deps {wanted}")


def decoder() -> dict[str, str]:
    """Return the versions of Pillow and of the JPEG library, and a digest of the pixels that they
    make: pixels differ between their builds."""
    from PIL import features

    from pipeline.data import pixels

    simd = _version("pillow-simd")
    turbo = features.version_feature("libjpeg_turbo")
    return {"pillow": f"pillow-simd {simd}" if simd else f"Pillow {_version('pillow')}", "libjpeg":
            f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}",
            "zlib": str(features.version_codec("zlib")), "pixels": pixels.decoder()["fingerprint"]}


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else "none"


def lock_followed() -> str:
    """Return whether the installed packages are those that requirements.lock pins: "yes", or "no: "
    and those that are not. Pillow of its version may stand in pillow-simd's place."""
    if not LOCK.exists():
        return "no lock file"
    pins = [line.partition("==")[::2] for line in LOCK.read_text(encoding="utf-8").split()
            if "==" in line]
    strays = [f"{name} {there or 'missing'}" for name, pinned in pins
              if ((there := _version(name)) or "").partition("+")[0] != pinned
              and not (name == "pillow-simd" and _version("pillow") == pinned.split(".post")[0])]
    return "yes" if not strays else f"no: {', '.join(strays[:5])}{', ...' * (len(strays) > 5)}"


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8",
                                                    errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or "unknown"


def _torch() -> dict[str, str]:
    with first_import("torch"):
        import torch

    from alexnet.arithmetic.probe import native_digest

    built = torch.__config__.show()
    facts = {"torch": torch.__version__,
             "torch_build": f"cuda {torch.version.cuda}" if torch.version.cuda else "cpu",
             "cpu_capability": torch.backends.cpu.get_cpu_capability(), "gpu": "none",
             PROBE: native_digest()}
    for name, pattern in (("onednn", r"(?:oneDNN|MKL-DNN) v([\d.]+)"), ("blas", r"BLAS_INFO=(\w+)"),
                          ("mkl", r"Math Kernel Library Version ([\w.-]+)")):
        match = re.search(pattern, built)
        facts[name] = match[1] if match else "none"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        drivers = _output("nvidia-smi", "--query-gpu=driver_version",
                          "--format=csv,noheader").splitlines()
        facts |= {"gpu": ", ".join(gpus), "driver": drivers[0] if drivers else "unknown",
                  "cudnn": str(torch.backends.cudnn.version())}
    return facts


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
