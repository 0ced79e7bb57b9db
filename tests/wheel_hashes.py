"""Writes requirements.hashes: the SHA-256 of the wheels of the versions in requirements.lock.

`python -m tests.wheel_hashes INDEX` asks the package index at this address (its simple API, in
JSON). setup.sh installs what stands in the file with `--require-hashes`. What it leaves out has no
wheel, or wheels that are another index's on some machines: PyTorch's, of which there is one for
each kind of GPU, and pillow-simd, which is compiled where it is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import requests
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCK, HASHES = ROOT / "requirements.lock", ROOT / "requirements.hashes"
OF_OTHER_INDEXES = ("torch", "torchvision")
JSON = "application/vnd.pypi.simple.v1+json"
HEAD = "# made by python -m tests.wheel_hashes: the wheels of the versions in requirements.lock\n"


def pinned() -> dict[str, str]:
    """Return the version of each package in the lock."""
    return dict(line.split("==") for line in LOCK.read_text(encoding="utf-8").split())


def hashed() -> dict[str, str]:
    """Return the version of each package in requirements.hashes."""
    return dict(line.removesuffix(" \\").split("==") for line
                in HASHES.read_text(encoding="utf-8").splitlines() if "==" in line)


def wheels(files: list[Mapping[str, dict[str, str]]], version: str) -> list[str]:
    """Return the SHA-256 of the wheels of this version, sorted.

    Args:
        files: what the index says of a package: `filename` and `hashes` of each file.
        version: as the lock has it.
    """
    found = set()
    for file in files:
        try:
            _, of_file, _, _ = parse_wheel_filename(str(file["filename"]))
        except InvalidWheelFilename:  # a source archive
            continue
        if of_file == Version(version):
            found.add(file["hashes"]["sha256"])
    return sorted(found)


def main(index: str) -> None:
    """Write the file."""
    lines = [HEAD]
    with requests.Session() as session:
        for name, version in pinned().items():
            if name in OF_OTHER_INDEXES:
                continue
            answer = session.get(f"{index.rstrip('/')}/{name}/", headers={"Accept": JSON},
                                 timeout=60)
            answer.raise_for_status()
            digests = wheels(answer.json()["files"], version)
            if digests:
                lines.append(" \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{digest}"
                                                                  for digest in digests)]) + "\n")
    HASHES.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
