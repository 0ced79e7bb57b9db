"""The installed packages: pinned, fitting together, of licences that are told, and without known
holes.

`python -m tests.packages` is the last part of `make check`. Whether there are known holes is asked
of osv.dev, by pip-audit; where that cannot be reached it says so, and that they are not checked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
FOR_TESTS = ROOT / "tests/requirements.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Not pinned: pip comes with Python; what PyTorch brings for a GPU differs from machine to machine
# (see setup.sh); stock Pillow stands in pillow-simd's place where the processor is none that it is
# written for.
UNPINNED = re.compile(r"pip|triton|nvidia-.*|cuda-.*|pillow")
# by another name it is
PILLOW = re.compile(r"(matplotlib|torchvision) \S+ requires pillow, which is not installed\.")
ACCEPTED: dict[str, str] = {}  # known holes that do no harm here: the advisory's id, and why
AUDIT = ("-m", "pip_audit", "--requirement", str(LOCK), "--no-deps", "--disable-pip",
         "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off",
         "--timeout", "10")
SECONDS = 25  # for the audit: `make check` is run often


def pins() -> dict[str, str]:
    """What the lock says, and what is for single tests."""
    lines = (
        f"{LOCK.read_text(encoding='utf-8')}\n{FOR_TESTS.read_text(encoding='utf-8')}".splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def strays(installed: Iterable[tuple[str, str]], pinned: dict[str, str]) -> list[str]:
    """Of these packages (name, version), those that the lock does not pin to this version."""
    return [f"{name} {version}: {pinned.get(canonicalize_name(name), 'not')} in requirements.lock"
            for name, version in sorted(installed)
            if not UNPINNED.fullmatch(canonicalize_name(name)) and canonicalize_name(name)
            != PROJECT["name"] and pinned.get(canonicalize_name(name)) != version.partition("+")[0]]


def installed() -> list[tuple[str, str]]:
    return [(one.metadata["Name"], one.version) for one in metadata.distributions()]


def direct() -> list[str]:
    """The packages that pyproject.toml asks for, with those of its extras, and pillow-simd."""
    wanted = [*PROJECT["dependencies"],
              *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    names = {canonicalize_name(Requirement(one).name)
             for one in wanted} | {"pillow-simd", "ruff", "mypy"}
    return sorted(names - {PROJECT["name"]})


def licence(name: str) -> str:
    """As its metadata tell it: the expression, or the classifiers, or else the first words."""
    told = metadata.metadata(name)
    classified = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or []
                  if one.startswith("License ::")]
    return str(told.get("License-Expression") or ", ".join(classified)
               or (told.get("License") or "").split("\n")[0])


def conflicts() -> list[str]:
    """What `pip check` complains of."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True,
                          check=False)
    return [line for line in done.stdout.splitlines()
            if not PILLOW.fullmatch(line) and not line.startswith("No broken requirements")]


def holes(command: Iterable[str] = AUDIT) -> tuple[list[str], str]:
    """Known holes that are not accepted; and why they are not checked, or nothing."""
    try:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True,
                              check=False, timeout=SECONDS)
        told = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS} s"
    except (ValueError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit says nothing"])[-1][:200]
    if skipped := [one["name"] for one in told if "skip_reason" in one]:
        return [], f"pip-audit skipped {', '.join(skipped[:5])}"
    found = [f"{one['name']} {one['version']}: {hole['id']}, mended in "
             f"{', '.join(hole['fix_versions']) or 'none'}"
             for one in told for hole in one["vulns"] if hole["id"] not in ACCEPTED]
    return (found, "" if len(told) == len(pins())
            else f"pip-audit told of {len(told)} packages of {len(pins())}")


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    wrong = [*conflicts(), *strays(installed(), pins())]
    found, unchecked = holes()
    print("\n".join([*wrong, *found, *([f"known holes: NOT CHECKED ({unchecked})"] if unchecked
                                       else [f"known holes: {len(found)}"])]))
    return int(bool(wrong or found))


if __name__ == "__main__":
    sys.exit(main())
