"""`alexnet matrix`: the small workload along every axis of change, each stage compared bit by bit
with a reference run.

`command()` is the whole of it; `pipeline.studies.matrix.axes` says what is varied. All runs take
place in work/matrix; the folders of results that differ are kept there, beside the reference's, for
a closer look. The verdicts are left in experiments/matrix.json, a small file to be committed, which
the report shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.config.parameters import load
from pipeline.config.paths import MATRIX, WORK
from pipeline.system.errors import UserError


def command(file: Path, overrides: Iterable[str], axes: str | None, require: str | None,
            html: Path | None, as_json: bool) -> int:
    """Run, print and record the matrix; `axes` and `require` are names separated by commas, None
    for the default.

    Returns:
        The exit status: 1 if a required axis differs, else 0.

    Raises:
        UserError: an unknown axis, bad parameters, or a reference run that fails.
    """
    from pipeline.records import environment, tracking
    from pipeline.report import matrix
    from pipeline.studies.matrix.axes import ALL, AXES, REQUIRED, WORKLOAD
    from pipeline.studies.matrix.running import run
    from pipeline.system.files import atomic_write, write_json

    overrides = list(overrides)
    chosen, required = names(axes, ALL, "--axes"), names(require, REQUIRED, "--require")
    parameters = load(file, [*WORKLOAD, *overrides])
    folder = WORK / "matrix"
    stack = environment.fingerprint()
    with tracking.recorded("matrix", parameters) as record:
        rows = run(parameters, [axis for axis in AXES if axis.name in chosen], required, folder)
        found = [asdict(row) for row in rows]
        text = matrix.html(rows, stack)
        write_json(folder / "matrix.json", found)
        write_json(folder / "stack.json", stack)
        write_json(MATRIX, {"workload": [*WORKLOAD, *overrides], "stack": stack, "rows": found})
        for target in (folder / "matrix.html", *([html] if html else [])):
            with atomic_write(target) as stream:
                stream.write(text.encode())
        record.finish({verdict: sum(row.verdict == verdict for row in rows)
                       for verdict in ("identical", "differs", "skipped")}
                      | {"required_differs": sum(row.fails for row in rows)})
        for name in ("matrix.json", "matrix.html", "stack.json"):
            record.artifact(folder / name)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        matrix.show(rows, stack)
    return int(any(row.fails for row in rows))


def names(told: str | None, default: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The axes in "a,b"; () for "none"; a UserError that lists what there is for any other."""
    from pipeline.studies.matrix.axes import ALL

    if told is None:
        return default
    found = tuple(name.strip() for name in told.split(",") if name.strip())
    if found == ("none",):
        return ()
    for name in found:
        if name not in ALL:
            raise UserError(f"{option}: no axis is called {name}; there are {', '.join(ALL)}")
    return found
