"""The three verdicts of every comparison, and the exit statuses of the commands that compare.

What could not be compared is never said to be identical or to differ; the reason stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Verdict = Literal["identical", "differs", "not compared"]
IDENTICAL: Verdict = "identical"
DIFFERS: Verdict = "differs"
NOT_COMPARED: Verdict = "not compared"
VERDICTS = (IDENTICAL, DIFFERS, NOT_COMPARED)
EXIT_STATUS: dict[Verdict, int] = {IDENTICAL: 0, DIFFERS: 1, NOT_COMPARED: 2}


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """Return 1 if any of the verdicts is `differs`, else 2 if any is `not compared`, else 0."""
    seen = set(verdicts)
    return 1 if DIFFERS in seen else 2 if NOT_COMPARED in seen else 0
