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
from pipeline.commands.doctor.arithmetic import arithmetic
from pipeline.commands.doctor.data import data
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
    "determinism": software.determinism, "arithmetic": arithmetic, "data": data,
    "disk": machine.disk, "memory": machine.memory,
    "shared-memory": machine.shared_memory, "commands": project.commands, "git": project.git,
    "dvc": project.dvc, "mlflow": project.mlflow, "records": project.unsent}
NAMES = ("parameters", *CHECKS, *TOGETHER)
NEEDS = {"pictures": "pillow", "arithmetic": "torch", "torchvision": "torch", "gpus": "torch",
         "memory": "torch", "disk": "torch", "exchange": "torch",
         "steps": "exchange"}  # what must work before


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
    findings = examine(file, overrides, tuple(names) or NAMES)
    if as_json:
        print(json.dumps([{"check": name, "verdict": finding.verdict, "detail": finding.detail,
                           "mend": finding.fix}
                          | ({name: finding.facts} if finding.facts else {})
                          for name, finding in findings.items()], indent=2))
    else:
        show(findings)
    return int(any(finding.verdict == "fails" for finding in findings.values()))


def examine(file: Path, overrides: Sequence[str], names: Sequence[str]) -> dict[str, Finding]:
    """Return what each of these checks finds, in the order of the table."""
    from pipeline.config import parameters, presets

    here = presets.file_or_template(file)
    try:
        read = parameters.load(here, overrides)
    except UserError as error:
        why = f"{file} cannot be used"
        fix = (f"correct {file}; `git diff {file}` shows what was changed" if file.exists()
               else "change into the project's top folder")
        return {name: Finding("fails", str(error), fix) if name == "parameters" else skipped(why)
                for name in NAMES if name in ("parameters", *names)}
    chosen = [name for name in NAMES if name in names]
    findings: dict[str, Finding] = {}
    with ExitStack() as started:
        checks = dict(CHECKS)
        checks["parameters"] = lambda parameters: ok(
            f"{file}: every key known, every value in range" if here == file else
            f"no {file} here: the sample's values are taken")
        if set(chosen) & set(TOGETHER):
            pair = started.enter_context(Pair(read))
            checks |= {"exchange": pair.exchange, "steps": pair.steps}
        for name in chosen:
            before = findings.get(NEEDS.get(name, ""))
            findings[name] = (skipped(f"{NEEDS[name]} fails")
                              if before and before.verdict == "fails"
                              else _result(checks[name], read))
    return findings


def _result(check: Check, parameters: Parameters) -> Finding:
    try:
        return check(parameters)
    except Exception as error:  # one broken thing must not hide what the other checks find
        return Finding("fails",
                       f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}",
                       "report it with the output of: alexnet --debug doctor --json")


def show(findings: dict[str, Finding]) -> None:
    """Print them as a table, each with how to fix it, and the sum of them."""
    from rich.console import Console

    from pipeline.system.tables import print_table, terminal_table

    colours = {"ok": "green", "warning": "yellow", "fails": "bold red", "skipped": "dim"}
    console = Console(highlight=False)
    table = terminal_table()
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for name, finding in findings.items():
        table.add_row(f"[{colours[finding.verdict]}]{finding.verdict}[/]", name,
                      cell(finding.detail, keep="\n"))
        if finding.fix:
            table.add_row("", "", cell(f"fix: {finding.fix}", style="bold"))
    print_table(table, console)
    fails, warnings = (sum(finding.verdict == verdict for finding in findings.values())
                       for verdict in ("fails", "warning"))
    total = (f"{fails} of {len(findings)} checks fail" if fails
             else "nothing that a run needs is missing")
    console.print(total + (f"; {warnings} warning{'s' * (warnings > 1)}" if warnings else ""))
