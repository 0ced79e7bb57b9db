"""From the sample to another data set, and back: rewrites params.yaml by a preset.

Each data set has a preset, `presets/NAME.yaml`. That of the sample is params.yaml as it is
committed, with all keys and their comments; each other names only what differs from it. What no
preset names (seeds, the recipe, threads) stays as it is in the file.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from alexnet.ports import PORTS
from alexnet.recipe import Name
from pipeline.config import parameters
from pipeline.config.datasets import BY_NAME, NAMES
from pipeline.config.safe_yaml import flatten, load_yaml, read_sections
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

PRESETS = Path(__file__).with_name("presets")
BASE = "sample"
TEMPLATE = PRESETS / f"{BASE}.yaml"
PLACES = ("dataset.location", "dataset.origin")  # which every preset sets, to null where unnamed


def values_of(name: str) -> dict[str, Any]:
    """Return `section.key` to value for every key that some preset names, as this preset has it.

    Raises:
        UserError: no preset has that name; the message lists them.
    """
    if name not in NAMES:
        raise UserError(f"no preset called {name!r}; there are {', '.join(sorted(NAMES))}")
    usual = template_values()
    changes = {other: flatten(read_sections(PRESETS / f"{other}.yaml"))
               for other in NAMES if other != BASE}
    keys = {key for preset in changes.values() for key in preset}.union(PLACES)
    return {key: changes.get(name, {}).get(key, value)
            for key, value in usual.items() if key in keys}


def template_values() -> dict[str, Any]:
    """Return `section.key` to value of params.yaml as it is committed."""
    return flatten(read_sections(TEMPLATE))


def file_or_template(file: Path) -> Path:
    """Return the file; the template for params.yaml that is not there, as outside a project."""
    return TEMPLATE if file == parameters.FILE and not file.exists() else file


def values_of_recipe(recipe: Name) -> dict[str, Any]:
    """Return `section.key` to value for all that a recipe decides: its name, its net, and, of a
    port, batch, epochs and input; of `source` and `paper` their defaults but batch and epochs,
    which are the data set's."""
    usual = template_values()
    decided = dict.fromkeys(key for port in PORTS.values() for key in port.settings)
    values = {key: usual[key] for key in decided if not key.startswith("train.")}
    if recipe in PORTS:
        values |= {key: each.value for key, each in PORTS[recipe].settings.items()}
    return values | {"recipe.name": recipe}


def configure(name: str, location: Path | None = None, file: Path = parameters.FILE,
              recipe: Name | None = None) -> dict[str, tuple[Any, Any]]:
    """Rewrite the file by the preset; comments, layout and what no preset names stay.

    Where there is no such file, it is written from the template.

    Args:
        location: the folder that holds the files of the data set, or will hold them.
        recipe: is set, with its batch, epochs and input.

    Returns:
        `section.key` to its old and its new value, for each that has changed.

    Raises:
        UserError: there is no such preset or location, or the file cannot be read or would not be
            valid; then it stays as it was.
    """
    wanted = values_of(name)
    if BY_NAME[name].files == "own" and not location:
        raise UserError(f"--location is missing: alexnet configure {name} --location DIR, where "
                        "DIR has the pictures, train/<class>/* and val/<class>/*")
    if location:
        if not location.is_dir():
            raise UserError(f"--location {location}: no such folder; make it, or name the one "
                            "that holds the data set's files or shall hold them")
        wanted["dataset.location"] = str(location)
    if recipe:
        wanted |= values_of_recipe(recipe)
    source = file if file.exists() else TEMPLATE
    before = flatten(read_sections(source))
    editor = _editor()
    old = source.read_text(encoding="utf-8")
    document = editor.load(old)
    changed = {key: (before.get(key), value)
               for key, value in wanted.items() if before.get(key) != value}
    for key, (_, value) in changed.items():
        *sections, last = key.split(".")
        section = document
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    dumped = io.StringIO()
    editor.dump(document, dumped)
    text = _aligned(dumped.getvalue(), old)
    parameters.check(load_yaml(text), file)
    with atomic_write(file) as stream:
        stream.write(text.encode())
    return changed


def _aligned(text: str, old: str) -> str:
    """Return the text with the comments of changed lines back in the template's columns, out of
    which a long value may have moved them."""
    columns = {line[column:]: column for line in TEMPLATE.read_text(encoding="utf-8").splitlines()
               if (column := line.find("# ")) > 0}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        comment = next((comment for comment in columns if line.endswith(comment)), None)
        if comment and line not in old.splitlines():
            value = line.removesuffix(comment).rstrip()
            lines[number] = f"{value.ljust(columns[comment] - 1)} {comment}"
    return "\n".join(lines) + "\n"


def _editor() -> Any:
    """Return a YAML reader and writer that keeps comments, quotes and line breaks, and writes None
    as the file does."""
    from ruamel.yaml import YAML

    editor = YAML()
    editor.width = 1000
    editor.preserve_quotes = True
    editor.representer.add_representer(type(None),
                                       lambda representer, _: representer.represent_scalar(
                                           "tag:yaml.org,2002:null", "null"))
    return editor
