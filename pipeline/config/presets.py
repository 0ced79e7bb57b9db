"""From the sample to another data set, and back: rewrites params.yaml by a preset, a file of
presets/.

A preset names only what differs from the sample. What no preset names (seeds, the recipe, threads)
stays as it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import parameters
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

PRESETS = Path(__file__).with_name("presets")
BASE = "sample"


def names() -> list[str]:
    """The presets there are, sorted."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def values_of(name: str) -> dict[str, Any]:
    """`section.key` to value: the sample's, with those of the preset over them.

    Raises:
        UserError: no preset of that name; it lists those that there are.
    """
    if name not in names():
        raise UserError(f"no preset called {name!r}; there are {', '.join(names())}")
    return {key: value for preset in (BASE, name) for key, value
            in leaves(yaml.safe_load((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")))}


def configure(name: str, location: Path | None = None,
              file: Path = parameters.FILE) -> dict[str, tuple[Any, Any]]:
    """Rewrite the file by the preset, with the data set at this location; comments and layout stay.

    Returns:
        `section.key` to its old and its new value, for each that has changed.

    Raises:
        UserError: an unknown preset, a file that cannot be read, or that would not be valid; then
            it stays as it was.
    """
    wanted = values_of(name) | ({"dataset.location": str(location)} if location else {})
    before = dict(leaves(parameters.read(file)))
    editor = _editor()
    document = editor.load(file.read_text(encoding="utf-8"))
    changed = {key: (before.get(key), value)
               for key, value in wanted.items() if before.get(key) != value}
    for key, (_, value) in changed.items():
        *sections, last = key.split(".")
        section = document
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    text = io.StringIO()
    editor.dump(document, text)
    parameters.check(yaml.safe_load(text.getvalue()), file)
    with atomic_write(file) as stream:
        stream.write(text.getvalue().encode())
    return changed


def _editor() -> Any:
    """A YAML reader and writer that keeps comments, quotes and line breaks, and writes None as the
    file does."""
    from ruamel.yaml import YAML

    editor = YAML()
    editor.width = 1000
    editor.preserve_quotes = True
    editor.representer.add_representer(type(None),
                                       lambda representer, _: representer.represent_scalar(
                                           "tag:yaml.org,2002:null", "null"))
    return editor


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`section.key` and value of every value in nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
