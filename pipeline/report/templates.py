"""The templates of the pages: their environment, and the filters that write numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.figures import photo
from pipeline.system.terminal import printable

HERE = Path(__file__).parent


def template(name: str) -> Any:
    """Return a template of this folder, which escapes everything that is put into it: HTML, and
    what would move a terminal's cursor where the page is read there."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, finalize=_shown,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                              keep_trailing_newline=True)
    environment.filters |= {"percent": percent, "short": short, "plain": plain, "number": number,
                            "significant": significant, "signed": signed}
    environment.globals |= {"photo": photo,
                            "style": (HERE / "page.css").read_text(encoding="utf-8")}
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value, keep="\n\t\N{NO-BREAK SPACE}")
    return value


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as a percentage; the number and its sign stay on one line."""
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Return three significant digits, or a whole number with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def significant(value: float | None) -> str:
    """Return three significant digits; a dash for none."""
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def signed(value: float, form: str) -> str:
    """Return the number with its sign, as people write it."""
    return format(value, f"+{form}").replace("-", "−")


def short(words: str) -> str:
    """Return the first of a class's synonyms."""
    return words.split(",")[0]


def plain(value: Any) -> str:
    """Return a parameter's value as params.yaml writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
