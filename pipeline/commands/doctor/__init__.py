"""`alexnet doctor`: is everything here that a run needs?

`command()` is the whole of it. A check is a function of the parameters that returns a `Finding`;
each looks at one thing, and leaves nothing. `CHECKS` has them in the order of the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.doctor import machine, project, software
from pipeline.commands.doctor.agreement import Pair
from pipeline.commands.doctor.finding import Finding, ok, skipped
from pipeline.system.errors import UserError, closest
from pipeline.system.terminal import cell

if TYPE_CHECKING:
    from pipeline.config.parameters import Parameters

Check = Callable[["Parameters"], Finding]
TOGETHER = ("exchange", "steps")  # of the two processes that are started for both
CHECKS: dict[str, Check] = {
    "packages": software.packages, "pillow": software.pillow, "pictures": software.pictures,
    "torch": software.torch, "torchvision": software.torchvision, "gpus": software.gpus,
    "determinism": software.determinism, "disk": machine.disk, "memory": machine.memory,
    "shared-memory": machine.shared_memory, "commands": project.commands, "git": project.git,
    "dvc": project.dvc, "mlflow": project.mlflow, "records": project.unsent}
NAMES = ("parameters", *CHECKS, *TOGETHER)
NEEDS = {"pictures": "pillow", "torchvision": "torch", "gpus": "torch", "memory": "torch",
         "disk": "torch", "exchange": "torch", "steps": "exchange"}  # what must work before


def command(file: Path, overrides: Sequence[str], names: Sequence[str], as_json: bool) -> int:
    """Make the checks, all or those named, and print what they find.

    Returns:
        The exit status: 1 if one fails, else 0.

    Raises:
        UserError: no check has that name.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        near = closest(unknown[0], NAMES) or f"; there are {', '.join(NAMES)}"
        raise UserError(f"no check is called {unknown[0]}{near}")
    found = examine(file, overrides, tuple(names) or NAMES, quiet=as_json)
    if as_json:
        print(json.dumps([{"check": name, "verdict": one.verdict, "detail": one.detail,
                           "mend": one.mend} for name, one in found.items()], indent=2))
    else:
        show(found)
    return int(any(one.verdict == "fails" for one in found.values()))


def examine(file: Path, overrides: Sequence[str], names: Sequence[str],
            quiet: bool = True) -> dict[str, Finding]:
    """What each of these checks finds, in the order of the table."""
    from pipeline.config import parameters, presets

    here = presets.file_or_template(file)
    try:
        read = parameters.load(here, overrides)
    except UserError as error:
        why = f"{file} cannot be used"
        mend = (f"mend {file}, or: git checkout {file}" if file.exists()
                else "change into the project's top folder")
        return {name: Finding("fails", str(error), mend) if name == "parameters" else skipped(why)
                for name in NAMES if name in ("parameters", *names)}
    chosen = [name for name in NAMES if name in names]
    found: dict[str, Finding] = {}
    with ExitStack() as started:
        checks = dict(CHECKS)
        checks["parameters"] = lambda parameters: ok(
            f"{file}: every key known, every value in range" if here == file else
            f"no {file} here: the sample's values are taken")
        if set(chosen) & set(TOGETHER):
            pair = started.enter_context(Pair(read))
            checks |= {"exchange": pair.exchange, "steps": pair.steps}
        for name in chosen:
            before = found.get(NEEDS.get(name, ""))
            found[name] = (skipped(f"{NEEDS[name]} fails") if before and before.verdict == "fails"
                           else _made(checks[name], read))
    return found


def _made(check: Check, parameters: Parameters) -> Finding:
    try:
        return check(parameters)
    except Exception as error:  # one broken thing must not hide what the other checks find
        return Finding("fails",
                       f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}",
                       "report it with the output of: alexnet --debug doctor --json")


def show(found: dict[str, Finding]) -> None:
    """Print it as a table, and what is to be mended below it."""
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "warning": "yellow", "fails": "bold red", "skipped": "dim"}
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, one in found.items():
        table.add_row(f"[{colours[one.verdict]}]{one.verdict}[/]", name, cell(one.detail))
        if one.mend:
            table.add_row("", "", cell(f"mend: {one.mend}", style="bold"))
    console.print(table)
    fails, warnings = (sum(one.verdict == verdict for one in found.values())
                       for verdict in ("fails", "warning"))
    told = (f"{fails} of {len(found)} checks fail" if fails
            else "nothing that a run needs is missing")
    console.print(told + (f"; {warnings} warning{'s' * (warnings > 1)}" if warnings else ""))
