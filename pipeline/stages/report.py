"""The `report` stage: one page, complete in itself, that shows what was trained on what, and how it
came out.

Yields report/index.html, and in report/figures every figure as a file (SVG or PNG) beside the
numbers behind it. The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline.config.parameters import Parameters
from pipeline.config.paths import REPORT
from pipeline.report.inputs import gather
from pipeline.report.page import draw, files, render
from pipeline.system.files import atomic_write

FIGURES = REPORT.parent / "figures"
ARTIFACTS = (REPORT, FIGURES)


def run(parameters: Parameters) -> dict[str, Any]:
    """Write the page and the figures, in place of those of an earlier run.

    Returns:
        report_digest, the sha256 of the page.

    Raises:
        UserError: an input is missing, damaged or of another run; names the stage to run.
    """
    inputs = gather(parameters)
    parts = draw(inputs)
    page = render(inputs, parts).encode()
    beside = files(inputs, parts)
    for name, content in beside.items():
        with atomic_write(FIGURES / name) as stream:
            stream.write(content)
    for file in FIGURES.iterdir():
        if file.name not in beside:
            file.unlink()
    with atomic_write(REPORT) as stream:
        stream.write(page)
    return {"report_digest": hashlib.sha256(page).hexdigest()}
