"""How the `alexnet` command presents itself: a table of contents, what each command does, colours,
errors.

`Contents` is the command itself: its help lists the commands by section. The help of a `Command`
ends with what it reads, what it leaves and how long it takes. Both know --debug and --no-color,
before the command's name or after it.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import sys
from typing import Any

import click

from pipeline.system import errors, signals, terminal

COLUMNS = 100  # of help, on a terminal that has them


def _debug(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        os.environ[errors.DEBUG] = "1"


def _no_color(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"  # rich and the processes that we start look at it, too
    if os.environ.get("NO_COLOR"):
        each: click.Context | None = context
        while each:
            each.color, each = False, each.parent


def _everywhere(hidden: bool) -> list[click.Parameter]:
    return [click.Option(["--debug"], is_flag=True,
                         expose_value=False, callback=_debug, hidden=hidden,
                         help="Print the traceback of an error, too (or set ALEXNET_DEBUG=1)."),
            click.Option(["--no-color"], is_flag=True, expose_value=False,
                         callback=_no_color, is_eager=True, hidden=hidden,
                         help="No colours (or set NO_COLOR=1); a file or a pipe never has any.")]


class Command(click.Command):
    """A command that says what it reads, what it leaves and how long it takes.

    It needs a project, unless it is one that runs `anywhere`.
    """

    def __init__(self, *arguments: Any, reads: str = "", leaves: str = "", takes: str = "",
                 anywhere: bool = False, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.anywhere = anywhere
        self.facts = {"Reads": reads, "Leaves": leaves, "Takes": takes}
        self.params += _everywhere(hidden=True)

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Parse as click does; for an option that is a parameter's name, say how parameters are
        given."""
        try:
            return super().parse_args(context, arguments)
        except click.NoSuchOption as error:
            keys = _called(error.option_name.lstrip("-").replace("-", "_"))
            if keys and any("--set" in parameter.opts for parameter in self.params):
                raise click.NoSuchOption(error.option_name, f"{error.message} A parameter is given "
                                                            f"as --set {keys[0]}=VALUE.",
                                         error.possibilities, error.ctx) from None
            raise

    def invoke(self, context: click.Context) -> Any:
        """Run the command; outside a project, refuse where it needs one.

        `context.obj` has the project, as pipeline.__main__ has found it; it is None in a test.
        """
        if not self.anywhere and context.obj is not None and context.obj["project"] is None:
            raise errors.UserError(
                f"{context.command_path}: no project here: neither this folder nor one above it "
                "has dvc.yaml and pipeline/; change into a clone of the project (describe, doctor, "
                "configure and --help work anywhere)")
        return super().invoke(context)

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the docstring, then the facts."""
        super().format_help_text(context, formatter)
        if any(self.facts.values()):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_dl([(name, fact) for name, fact in self.facts.items() if fact])


class Group(Command, click.Group):
    """A command with commands of its own, as `golden record`."""

    command_class = Command


class Contents(click.Group):
    """The top command. A UserError is one plain message and exit 1; what nobody expected exits with
    70, Ctrl-C 130, SIGTERM 143."""

    command_class = Command

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += _everywhere(hidden=False)
        self.sections: dict[str, list[str]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands under one heading of the table of contents, in this order."""
        for command in commands:
            self.add_command(command)
            self.sections.setdefault(title, []).append(command.name or "")

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order of the sections."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a heading for each section."""
        longest = max(map(len, self.list_commands(context)))
        limit = formatter.width - 4 - longest
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(longest),
                                     self.commands[name].get_short_help_str(limit))
                                    for name in names])

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of contents first."""
        self.format_commands(context, formatter)
        click.Command.format_options(self, context, formatter)

    def invoke(self, context: click.Context) -> Any:
        """Run the command; an exception becomes a line and an exit status, a crash in C says where
        it was."""
        faulthandler.enable(2)
        try:
            with signals.raise_on_signal():
                return super().invoke(context)
        except click.Abort:  # at a question, by Ctrl-C or by the end of the input
            if not signals.last_signal():
                raise
            click.secho("\ninterrupted before anything was begun", fg="yellow", err=True)
            sys.exit(128 + signals.last_signal())
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):  # click's own affair
            raise
        except KeyboardInterrupt as error:
            click.secho("interrupted; the same command goes on where it stopped", fg="yellow",
                        err=True)
            sys.exit(error.status if isinstance(error, signals.Interrupted) else 130)
        except Exception as error:
            line, status = errors.describe_error(error)
            click.secho(terminal.wrapped(terminal.message_lines(line)), fg="red", err=True)
            sys.exit(status)


def _called(name: str) -> list[str]:
    """Return the keys of params.yaml that end in this name."""
    from pipeline.commands.options import keys_of

    return [key for key in keys_of() if key.split(".")[-1] == name]


command = functools.partial(click.command, cls=Command)
group = functools.partial(click.group, cls=Group)


