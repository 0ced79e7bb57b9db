"""The commands about the project here: doctor, configure, describe, mend, completion."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from pipeline.commands.group import command
from pipeline.commands.options import JSON, UserPath, parameter_options
from pipeline.config import datasets
from pipeline.system.terminal import printable

# as alexnet.recipe.NAMES, which takes a moment to import
RECIPES = ("source", "paper", "caffe", "caffenet", "torchvision", "one-weird-trick")


@command(short_help="Is everything here that a run needs?",
         reads="params.yaml, requirements.lock, what is installed, this machine",
         leaves="nothing", takes="under 20 seconds", anywhere=True)
@parameter_options
@click.argument("checks", nargs=-1, metavar="[CHECK]...")
@JSON
def doctor(file: Path, overrides: tuple[str, ...], checks: tuple[str, ...], as_json: bool) -> None:
    """Is everything here that a run needs? Says how to fix what is not.

    With names of checks only those are made. Exit code: 0 nothing that is needed fails (there may
    be warnings), 1 something does.
    """
    from pipeline.commands import doctor as doctors

    sys.exit(doctors.command(file, overrides, checks, as_json))


def _presets(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in datasets.NAMES if name.startswith(begun)]


@command(short_help="Rewrite params.yaml for another data set.",
         anywhere=True, reads="the preset NAME", takes="a moment",
         leaves="params.yaml, changed in place; outside a project, where there is none, a new one")
@click.argument("name", metavar=f"[{'|'.join(datasets.NAMES)}]", shell_complete=_presets)
@click.option("--location", type=UserPath(exists=True, file_okay=False),
              help="The folder with the data set's files, or for them.  [default: archives]")
@click.option("--recipe", type=click.Choice(RECIPES), metavar="RECIPE",
              help=f"Set recipe.name, and a port's batch, epochs and input: {', '.join(RECIPES)}.")
@click.option("--params", "file", type=UserPath(), default=Path("params.yaml"),
              show_default=True, help="The parameters to rewrite.")
@JSON
def configure(name: str, location: Path | None, recipe: Any, file: Path, as_json: bool) -> None:
    """Rewrite params.yaml for another data set.

    Only the keys that the preset and the recipe name change, and they are printed; comments stay.
    `alexnet configure sample` goes back, from a port's recipe with `--recipe source`. `configure
    folder --location DIR` is for pictures of your own, train/<class>/* and val/<class>/* in DIR.
    """
    from pipeline.config import presets

    absent = not file.exists()
    changed = presets.configure(name, location, file, recipe)
    if as_json:
        click.echo(json.dumps({key: {"old": old, "new": new}
                               for key, (old, new) in changed.items()}, indent=2))
        return
    for key, (old, new) in changed.items():
        click.echo(printable(f"{key}: {_yaml(old)} -> {_yaml(new)}"))
    if absent:
        click.echo(f"{file} is new")
    elif not changed:
        click.echo(f"{file} stands as {name} has it already")


def _yaml(value: object) -> object:
    """Return a value as params.yaml writes it: null, true, false."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value


@command(short_help="The layers of the configured network.",
         reads="network.* and recipe.* of params.yaml; the number of classes from data/download, "
               "if it is there", leaves="nothing", takes="3 seconds", anywhere=True)
@parameter_options
@click.option("--classes", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Units of the output layer.  [default: the data set's]")
@click.option("--recipe", type=click.Choice(RECIPES), metavar="RECIPE",
              help=f"The net of this recipe: {', '.join(RECIPES)}.  [default: recipe.name]")
@click.option("--against", type=click.Choice(RECIPES), metavar="RECIPE",
              help="Instead, all in which the two recipes differ, and where it stands.")
@JSON
def describe(file: Path, overrides: tuple[str, ...], classes: int | None, recipe: str | None,
             against: str | None, as_json: bool) -> None:
    """The layer table of the configured net: kernels, shapes, parameters, multiply-adds.

    `describe --recipe caffe --against source` prints instead in what two recipes differ, with the
    file and line, or the section of the paper, of each value.
    """
    from pipeline.config import parameters, presets
    from pipeline.config.describe import description, show
    from pipeline.config.recipes import comparison, lines

    if recipe:
        overrides = (*overrides, f"recipe.name={recipe}", "network.architecture=auto")
    read = parameters.load(presets.file_or_template(file), overrides)
    if against:
        compared = comparison(read.recipe.name, against)  # type: ignore[arg-type]
        click.echo(json.dumps(compared, indent=2) if as_json else "\n".join(lines(compared)))
        return
    net = description(read, classes or _classes(read.dataset.source))
    if as_json:
        click.echo(json.dumps(net, indent=2))
    else:
        show(net)


def _classes(source: str) -> int:
    """Return how many classes the data set has: by the listing if it is of it, else by its name."""
    from pipeline.config.describe import PUBLISHED_CLASSES
    from pipeline.config.paths import LISTING
    from pipeline.system.files import read_json

    if LISTING.exists():
        listing = read_json(LISTING, made_by="download")
        if listing.get("source") == source:
            return len(listing["classes"])
    return datasets.BY_NAME[source].classes or PUBLISHED_CLASSES


@command(short_help="Remove what a killed `dvc repro` left half written.",
         reads="dvc.lock, .dvc/tmp/rwlock",
         leaves="nothing; removes those of them that are cut off",
         takes="a moment; a second if one is broken")
@JSON
def mend(as_json: bool) -> None:
    """Remove files of DVC's own that a killed `dvc repro` left half written; `make repro` does this
    first.

    Where DVC would refuse to work for want of a git repository, the command that makes one is
    named.
    """
    from pipeline.system.dvc import check_repository, remove_broken_files

    removed = remove_broken_files()
    if as_json:
        click.echo(json.dumps([str(file) for file in removed]))
        return
    for file in removed:
        click.echo(f"{file}: was cut off by a kill; removed")
    check_repository()


# For bash, at the end of click's function: after `train.seed=` comes the value, not a blank.
NO_SPACE = """    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
"""


@command(short_help="The script that completes commands with Tab.", reads="nothing",
         leaves="nothing", takes="a moment", anywhere=True)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that has SHELL complete commands, options, presets and parameters with Tab.

    \b
    bash 4.4+  eval "$(alexnet completion bash)"  in ~/.bashrc
    zsh        eval "$(alexnet completion zsh)"   in ~/.zshrc, after compinit
    fish       alexnet completion fish | source   in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    written = get_completion_class(shell)
    assert written is not None  # click has these three
    script = written(context.find_root().command, {}, "alexnet", "_ALEXNET_COMPLETE").source()
    click.echo(script.replace("    return 0\n", NO_SPACE) if shell == "bash" else script)


COMMANDS = (doctor, configure, describe, mend, completion)
