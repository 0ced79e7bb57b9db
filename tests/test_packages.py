"""The packages that are installed here, and that the check of them would find what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.utils import canonicalize_name

from tests import packages


def test_every_installed_package_is_pinned_to_its_version() -> None:
    assert packages.strays(packages.installed(), packages.pins()) == []


def test_a_package_that_is_not_pinned_is_told() -> None:
    pinned = {"a-b": "1.0", "torch": "2.0"}
    assert packages.strays([("A_b", "1.0"), ("torch", "2.0+cpu"), ("pip", "9"),
                            ("nvidia-nccl", "2")], pinned) == []
    assert (packages.strays([("a.b", "1.1"), ("c", "3")], pinned)
            == ["a.b 1.1: 1.0 in requirements.lock", "c 3: not in requirements.lock"])


def test_every_direct_dependency_is_explained_with_its_licence() -> None:
    text = (packages.ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$",
                           text.partition("## Licences")[2].partition("##")[0], re.M))
    # pillow-simd is not, on other processors
    here = {canonicalize_name(name) for name, _ in packages.installed()}
    assert told.keys() - {"package"} == set(packages.direct())
    assert {name: told[name] for name in packages.direct() if name in here} == {
        name: packages.licence(name) for name in packages.direct() if name in here}
    explained = set(re.findall(r"[\w.-]+",
                               text.partition("## Licences")[0].lower().replace("_", "-")))
    assert [name for name in packages.direct() if not {name, name.replace("-", ".")}
            & explained] == []


ANSWER = ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", '
          '"fix_versions": ["2"]}]}]}')


def test_holes_are_told_and_what_was_not_checked_is_not_passed(tmp_path: Path) -> None:
    def audit(program: str) -> tuple[list[str], str]:
        return packages.holes(["-c", program])

    found, unchecked = audit(f"print('''{ANSWER}''')")
    assert found == ["a 1: CVE-1, mended in 2"]
    assert "told of 1 packages" in unchecked
    assert (audit("import sys; sys.exit('ConnectionError: no such host')")
            == ([], "ConnectionError: no such host"))
    assert audit("print('[]')")[1]
    assert audit("pass") == ([], "pip-audit says nothing")


