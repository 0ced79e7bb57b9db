"""The page: the sections put into page.html.j2, with its style sheet, into one file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report import sections
from pipeline.report.figures import Figure
from pipeline.report.inputs import Inputs

HERE = Path(__file__).parent


def figures(inputs: Inputs) -> dict[str, Figure]:
    """Those that are also files of their own, by name."""
    return sections.learning_figures(inputs) | {"kernels": sections.kernel_figure(inputs)}


def render(inputs: Inputs, drawn: dict[str, Figure]) -> str:
    """The HTML; `drawn` are the figures of these inputs."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"percent": percent, "short": short, "plain": plain, "number": number}
    return environment.get_template("page.html.j2").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"), **_context(inputs, drawn))


def _context(inputs: Inputs, drawn: dict[str, Figure]) -> dict[str, Any]:
    parameters, store = inputs.parameters, inputs.store
    errors, images = sections.errors(inputs), inputs.metrics["evaluate"]["images"]
    return {
        "parameters": parameters, "metrics": inputs.metrics, "network": inputs.network, "store": store,
        "data": sections.data_name(parameters), "images": images, "train_images": len(store.split("train")),
        "errors": errors, "others": sections.to_compare(len(store.classes)),
        "intervals": {name: sections.interval(error, images) for name, error in errors.items()},
        "unlike": sections.unlike_the_paper(parameters, len(store.classes)), "digests": sections.digests(inputs),
        "epochs": inputs.curve["epoch"][-1], "curve": sections.curve_rows(inputs), "points": len(inputs.curve["step"]),
        "figures": drawn,
        "mean": sections.mean_figure(inputs), "components": sections.components(inputs), "sigmas": sections.SIGMAS,
        "predictions": sections.predictions(inputs), "confusion": sections.confusion(inputs),
        "quarantined": inputs.quarantined, "longest": sections.LONGEST_LIST,
        "choices": sections.choices(parameters), "settings": sections.settings(parameters),
    }


def percent(fraction: float, digits: int = 1) -> str:
    """0.123 as 12.3 %."""
    return f"{100 * fraction:.{digits}f} %"


def number(value: float) -> str:
    """Three significant digits, or a whole number with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def short(words: str) -> str:
    """The first of a class's synonyms."""
    return words.split(",")[0]


def plain(value: Any) -> str:
    """As params.yaml writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
