"""The result of a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warning", "fails", "skipped"]


@dataclass(frozen=True)
class Finding:
    """A verdict on one thing that a run needs.

    Attributes:
        verdict: `fails`: a run would fail, or its record would; `warning`: it works, and something
            about it should be known; `skipped`: there was nothing to check, or another failure
            stood in the way.
        detail: the facts.
        fix: what to do about it; empty where nothing is wrong.
        facts: for programs, in the JSON under the check's name.
    """

    verdict: Verdict
    detail: str
    fix: str = ""
    facts: Mapping[str, Any] | None = None


def ok(detail: str) -> Finding:
    """Return the finding that all is as it should be."""
    return Finding("ok", detail)


def skipped(why: str) -> Finding:
    """Return the finding that nothing was checked, and why."""
    return Finding("skipped", why)


def size(count: float) -> str:
    """Return bytes in words, in decimal units as disks have them."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:,.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
