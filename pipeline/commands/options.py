"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pipeline.system import project

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class UserPath(click.Path):
    """A path relative to the folder in which the user stands, which may lie within the project.

    A default is relative to the project, the current folder of every command.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, parameter: click.Parameter | None,
                context: click.Context | None) -> Any:
        """Return the path relative to the project, or absolute outside it."""
        source = (context.get_parameter_source(parameter.name)
                  if context and parameter and parameter.name else None)
        if source is not ParameterSource.DEFAULT:
            value = from_start(value)
        return super().convert(value, parameter, context)


class RunName(click.types.StringParamType):
    """A run's id, the beginning of one, `latest`; or a folder or file, as UserPath."""

    name = "run"

    def convert(self, value: Any, parameter: click.Parameter | None,
                context: click.Context | None) -> Any:
        """Return the name, of a folder or file that is there its path."""
        path = from_start(value)
        return str(path) if path.exists() else value


def from_start(text: str | Path) -> Path:
    """Return a path that the user gave as this process, which runs in the project, finds it."""
    start, here = project.start_folder(), Path.cwd()
    if start == here:
        return Path(text)
    path = Path(os.path.normpath(start / text))
    return path.relative_to(here) if path.is_relative_to(here) else path


def keys_of(file: Path = Path("params.yaml")) -> list[str]:
    """Return `section.key` of every parameter in the file, unchecked; none where it cannot be
    read."""
    from pipeline.config.safe_yaml import flatten, read_sections
    from pipeline.system.errors import UserError

    try:
        return list(flatten(read_sections(file)))
    except UserError:
        return []


def _keys(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the keys of params.yaml that begin so, with the = after them."""
    return [CompletionItem(f"{key}=")
            for key in keys_of(Path(context.params.get("file") or "params.yaml"))
            if key.startswith(begun)]


def parameter_options(command: Any) -> Any:
    """Add `--set` and `--params`, for a command that reads params.yaml."""
    for option in (click.option("--params", "file",
                                type=UserPath(), default=Path("params.yaml"),
                                show_default=True, help="The parameters to read."),
                   click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                                shell_complete=_keys, help="Override a parameter, as in --set "
                                                           "train.seed=2. May be repeated.")):
        command = option(command)
    return command


def seeds_option(default: str) -> Callable[[Any], Any]:
    """Return the option `--seeds 1-10` or `--seeds 1,3,5-7`, whose value is a tuple of numbers."""
    return click.option("--seeds", metavar="SEEDS", callback=_seeds,
                        help=f"As in 1-10 or 1,3,5-7. {default}")


def _seeds(context: click.Context, option: click.Parameter,
           text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if (not first.isdecimal() or (dash and not last.isdecimal())
                or (dash and int(last) < int(first))):
            raise click.BadParameter(f"{part.strip()!r} is neither a number nor a range like 1-10",
                                     context, option)
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter("a seed is named twice", context, option)
    return tuple(seeds)
