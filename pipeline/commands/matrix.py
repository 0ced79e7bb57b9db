"""`alexnet matrix`: does this machine reproduce?

The runs take place in work/matrix; the folders of stages that differ are kept there, beside the
reference run's. The verdicts go to experiments/matrix.json, a small file to be committed, which the
report shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pipeline.commands.group import command
from pipeline.commands.options import JSON, UserPath, parameter_options
from pipeline.system.errors import UserError


@command(short_help="Does this machine reproduce? Changes one thing at a time.",
         reads="params.yaml (the network and the recipe)",
         leaves="experiments/matrix.json, work/matrix, a record in MLflow's store",
         takes="4 minutes on two cores")
@parameter_options
@click.option("--axes", metavar="AXES",
              help="Only these axes, separated by commas.  [default: all]")
@click.option("--require", metavar="AXES", help="The axes that must be identical, separated by "
                                                "commas; none for none.  [default: all but "
                                                "device and mode-off, and by native arithmetic "
                                                "threads and cores]")
@click.option("--html", type=UserPath(dir_okay=False),
              help="Write the report as a page, too.")
@JSON
def matrix(file: Path, overrides: tuple[str, ...], axes: str | None, require: str | None,
           html: Path | None, as_json: bool) -> None:
    """Does this machine reproduce? A small workload, run again along every axis of change, compared
    bit by bit.

    For each axis and each stage that it reaches, the result is identical to that of the reference
    run, or differs, and then the first difference is given, or could not be compared, and then the
    reason is.

    The workload is the configured network and recipe, 1/16 as wide, on 60 generated pictures; --set
    changes it (--set execution.device=cuda for a reference run on the GPU).

    Exit code: 0 all that is required is identical, 1 a required axis differs, 2 one could not be
    compared.
    """
    from dataclasses import asdict

    from pipeline.config.parameters import load
    from pipeline.config.paths import MATRIX, WORK
    from pipeline.records import environment, recording
    from pipeline.report import matrix as pages
    from pipeline.studies.matrix.axes import ALL, AXES, WORKLOAD
    from pipeline.studies.matrix.running import run
    from pipeline.system.files import atomic_write, write_json
    from pipeline.system.verdicts import VERDICTS, exit_status

    parameters = load(file, [*WORKLOAD, *overrides])
    usual = tuple(axis.name for axis in AXES if axis.must_be_identical(parameters))
    chosen, required = names(axes, ALL, "--axes"), names(require, usual, "--require")
    folder = WORK / "matrix"
    stack = environment.fingerprint()
    with recording.recorded("matrix", parameters) as record:
        cells = run(parameters, [axis for axis in AXES if axis.name in chosen], required, folder)
        rows = [asdict(cell) for cell in cells]
        page = pages.html(cells, stack, [*WORKLOAD, *overrides]).encode()
        write_json(folder / "matrix.json", rows)
        write_json(folder / "stack.json", stack)
        write_json(MATRIX, {"workload": [*WORKLOAD, *overrides], "stack": stack, "rows": rows})
        for target in (folder / "matrix.html", *([html] if html else [])):
            with atomic_write(target) as stream:
                stream.write(page)
        record.finish({verdict.replace(" ", "_"): sum(cell.verdict == verdict for cell in cells)
                       for verdict in VERDICTS}
                      | {"required_differs": sum(cell.fails for cell in cells)})
        for name in ("matrix.json", "matrix.html", "stack.json"):
            record.add_artifact(folder / name)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        pages.show(cells, stack)
    sys.exit(exit_status(cell.verdict for cell in cells if cell.required))


def names(text: str | None, default: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Return the axes in "a,b"; () for "none", `default` where the option is not given.

    Raises:
        UserError: a name that no axis has; it lists what there is.
    """
    from pipeline.studies.matrix.axes import ALL

    if text is None:
        return default
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    if chosen == ("none",):
        return ()
    for name in chosen:
        if name not in ALL:
            raise UserError(f"{option}: no axis is called {name}; there are {', '.join(ALL)}")
    return chosen
