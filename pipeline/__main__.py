"""The one door to this code: `python -m pipeline`, for which `alexnet` is the short name.

    alexnet COMMAND ...                      any command, by the code of the project around it
    python -m pipeline fingerprint           print what of this machine can change a bit, as JSON
    python -m pipeline stage NAME            run a stage by params.yaml here, and record nothing
    python -m pipeline train FOLDER [STOP]   one training process, up to the update STOP

The last three are interface 1: `alexnet rerun` starts restored code of another day by them, in the
folder that holds its data, so they stay as they are. They run the code they were imported from.
"""

from __future__ import annotations

import sys

HELP = {"-h", "--help", "--version"}  # what runs no code of the project


def main() -> None:
    """Run what the command line asks for."""
    name, *rest = sys.argv[1:] or [""]
    if name == "fingerprint":
        _fingerprint()
    elif name == "stage" and len(rest) == 1:
        _stage(rest[0])
    elif name == "train" and rest and not rest[0].startswith("-"):
        from pathlib import Path

        from pipeline.system.importing import first_import

        with first_import("torch"):
            from pipeline.training.process import main as train

        train(Path(rest[0]), int(rest[1]) if len(rest) > 1 else None)
    else:
        _command()


def _fingerprint() -> None:
    import json

    from pipeline.records import environment
    from pipeline.system.project import CODE

    print(json.dumps({"code": str(CODE), "fingerprint": environment.fingerprint()}))


def _stage(name: str) -> None:
    import importlib

    from pipeline.config import parameters, stages
    from pipeline.system.errors import UserError
    from pipeline.system.importing import first_import

    try:
        if name not in stages.NAMES:
            raise UserError(f"no stage called {name!r}; there are {', '.join(stages.NAMES)}")
        with first_import("torch"):
            stage = importlib.import_module(f"pipeline.stages.{name}")
        stage.run(parameters.load())
    except UserError as error:
        sys.exit(f"error: {error}")


def _command() -> None:
    from pipeline.system import project
    from pipeline.system.errors import UserError

    folder = None
    try:
        folder = project.enter()
    except UserError as error:
        if not HELP & set(sys.argv[1:]):
            sys.exit(f"error: {error}")
    from pipeline.commands.main import main as command

    command(prog_name="alexnet", obj={"project": folder})


if __name__ == "__main__":
    main()
