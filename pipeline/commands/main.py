"""The `alexnet` command: its table of contents. Each command is defined beside its like.

Everything heavy is imported inside the commands, so that `alexnet --help` answers at once.
"""

from __future__ import annotations

import click

from pipeline.commands import proof, runs, stages, tools
from pipeline.commands.claims import claims
from pipeline.commands.gate import check, golden_group
from pipeline.commands.group import COLUMNS, Contents
from pipeline.commands.matrix import matrix
from pipeline.commands.ports import ports


@click.group(cls=Contents,
             context_settings={"help_option_names": ["-h", "--help"], "max_content_width": COLUMNS})
@click.version_option(package_name="alexnet-harness")
def main() -> None:
    """AlexNet as it was in 2012, and reruns that are identical to the bit.

    `dvc repro` runs all stages that have something to do; each stage is also a command here, which
    runs in the project around the current folder. `alexnet COMMAND --help` says what a command
    reads, what it leaves and how long it takes.
    """


main.add_section("Stages of the pipeline, in the order the data flows", *stages.COMMANDS)
main.add_section("Recorded runs", *runs.COMMANDS)
main.add_section("Proof for whoever was not there", *proof.COMMANDS)
main.add_section("The gate", check, golden_group, matrix)
main.add_section("The paper's claims, and the ports", claims, ports)
main.add_section("Tools", *tools.COMMANDS)

if __name__ == "__main__":
    main()
