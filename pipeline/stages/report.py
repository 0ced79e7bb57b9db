"""The `report` stage: one page, complete in itself, that shows what was trained on what, and how it came out.

Yields report/index.html, and in report/figures the learning curves (SVG) and the first layer's kernels (PNG) as files.
The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline.files import written_whole
from pipeline.parameters import Parameters
from pipeline.paths import REPORT
from pipeline.report.inputs import gather
from pipeline.report.page import figures, render

FIGURES = REPORT.parent / "figures"
FILES = {"learning-loss": "learning-loss.svg", "learning-error": "learning-error.svg", "kernels": "kernels.png"}
ARTIFACTS = (REPORT, *(FIGURES / file for file in FILES.values()))


def run(parameters: Parameters) -> dict[str, Any]:
    """Write the page and the figures.

    Returns:
        report_digest, the sha256 of the page.

    Raises:
        UserError: an input is missing, damaged or of another run; names the stage to run.
    """
    inputs = gather(parameters)
    drawn = figures(inputs)
    page = render(inputs, drawn).encode()
    for name, file in FILES.items():
        with written_whole(FIGURES / file) as stream:
            stream.write(drawn[name].content)
    with written_whole(REPORT) as stream:
        stream.write(page)
    return {"report_digest": hashlib.sha256(page).hexdigest()}
