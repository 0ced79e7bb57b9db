"""The `alexnet` command: what it prints, its exit codes, and that asking for help costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.commands.group import Command
from pipeline.commands.main import main
from pipeline.config.stages import STAGES
from tests.terminal import CTRL_C, on_a_terminal

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "torchvision", "mlflow", "dvc", "numpy", "scipy", "PIL", "pyarrow", "matplotlib",
         "pydantic", "rich")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # set first, so that what a command sets is taken back, too
    for name in ("ALEXNET_DEBUG", "NO_COLOR"):
        monkeypatch.setenv(name, "")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def alexnet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def process(*arguments: str, code: str = "from pipeline.commands.main import main; "
                                         "main()") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True,
                          check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_help_names_every_stage_and_imports_nothing_heavy() -> None:
    code = ("import sys; from pipeline.commands.main import main\n"
            "try: main()\n"
            f"finally: print([name for name in {HEAVY} if name in sys.modules])")
    for arguments in (["--help"], ["resize", "--help"], ["train", "-h"]):
        done = process(*arguments, code=code)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]", arguments
    told = alexnet("--help").output
    for stage in STAGES:
        assert stage.summary in told


def test_a_stages_record_and_its_data_import_nothing_that_they_do_not_use(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # a client asks nothing yet
    code = ("import sys, pipeline.stages.runner, pipeline.data.store\n"
            "from pipeline.records import environment, mlflow_connection\n"
            "from pipeline.data.arrow import pyarrow\n"
            "environment.fingerprint(with_torch=False), mlflow_connection.client()\n"
            "pyarrow.compute.equal(pyarrow.array(['a']), 'a')\n"
            "print([name for name in ('mlflow', 'pandas', 'scipy', 'sympy', 'pygments', 'torch')\n"
            "       if name in sys.modules])")
    done = process(code=code)
    assert done.stdout.splitlines()[-1:] == ["['mlflow']"], done.stderr


def leaves(group: click.Group,
           path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by the words that call it."""
    for name, command in group.commands.items():
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name), command
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


def test_help_is_a_table_of_contents_that_fits_80_columns() -> None:
    told = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    assert (sorted(main.list_commands(click.Context(main)))
            == sorted(main.commands)), ("each command in one section")
    titles = [line[:-1] for line in told.splitlines() if line.endswith(":")
              and not line.startswith(" ")]
    assert titles == [*main.sections, "Options"]
    for name in main.commands:
        assert f"\n  {name} " in told
    assert "..." not in told.partition("Stages")[2], "a command's line was cut off"
    assert max(map(len, told.splitlines())) <= 80


def test_every_command_says_what_it_reads_what_it_leaves_and_how_long_it_takes() -> None:
    for path, command in leaves(main):
        assert isinstance(command, Command), path
        assert all(command.facts.values()), path
        told = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).output
        for fact in ("\n  Reads   ", "\n  Leaves  ", "\n  Takes   "):
            assert fact in told, path
        assert max(map(len, told.splitlines())) <= 80, path


def test_every_stage_explains_its_options() -> None:
    for stage in STAGES:
        told = alexnet(stage.name, "--help")
        assert told.exit_code == 0
        assert "--set KEY=VALUE" in told.output
        assert "--params" in told.output
    assert "--placement" in alexnet("train", "--help").output
    assert "--workers" in alexnet("resize", "--help").output


@pytest.mark.parametrize(("arguments", "told"), [
    (("download", "--set", "train.sed=2"), "--set train.sed=2"),
    (("train", "--set", "train.epoch=3"), "did you mean train.epochs"),
    (("mean", "--set", "train.batch=0"), "error: --set train.batch=0: train.batch: input"),
    (("train", "--threads", "0"), "error: --threads 0: execution.threads: input"),
    (("train", "--placement", "three"), "error: --placement three: execution.placement: input"),
    (("train", "--set", "train.micro_batches=3"), "error: --set train.micro_batches=3: train."),
    (("train", "--set", "train.batch=1", "--set", "train.micro_batches=2"),
     "error: --set train.micro_batches=2: train.micro_batches: 2 does not divide"),
    (("pca", "--params", "other.yaml"), "other.yaml: no such file"),
    (("configure", "cifar"), "imagenet2012, imagenette, sample"),
    (("summary",), "dvc repro"),
])
def test_what_a_user_can_mend_is_one_message_and_exit_1(arguments: tuple[str, ...],
                                                        told: str) -> None:
    done = alexnet(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_that_is_a_parameter_gets_told_how_it_is_given() -> None:
    done = alexnet("train", "--epochs", "3")
    assert done.exit_code == 2
    assert ("No such option '--epochs'. A parameter is given as --set train.epochs=VALUE."
            in done.stderr)
    assert "parameter" not in alexnet("train", "--nothing").stderr
    assert "parameter" not in alexnet("summary", "--epochs", "3").stderr


def test_the_same_in_a_real_process(here: Path) -> None:
    (here / "params.yaml").write_text((here / "params.yaml").read_text()
                                      .replace("epochs:", "epoch:"))
    done = process("train")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: params.yaml: train.epochs: missing",
        "  params.yaml: train.epoch: unknown key; remove it or correct its spelling"]


def test_debug_gives_the_traceback_before_the_command_or_after_it() -> None:
    for arguments in (("--debug", "pca", "--params", "other.yaml"),
                      ("pca", "--params", "other.yaml", "--debug")):
        done = alexnet(*arguments)
        assert done.exit_code == 1
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: other.yaml: no such file")


def test_what_nobody_expected_is_one_line_too_and_the_traceback_is_kept(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, parameters: object) -> None:
        json.loads("{")

    monkeypatch.setattr("pipeline.stages.runner.run", broken)
    done = alexnet("mean")
    assert done.exit_code == 70
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: unexpected JSONDecodeError: Expecting property name")
    assert "(tests/pipeline/commands/test_main.py, line " in done.stderr
    assert "alexnet doctor --json" in done.stderr
    assert "JSONDecodeError" in (here / "work/traceback.txt").read_text()
    assert "work/traceback.txt" in done.stderr
    shutil.rmtree(here / "work")
    (here / "work").touch()  # where nothing can be kept
    assert "--debug prints the traceback" in alexnet("mean").stderr


def test_what_the_system_refuses_names_the_file_and_the_mend(
        monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str, parameters: object) -> None:
        with open("/dev/full", "w") as stream:
            stream.write("x")

    monkeypatch.setattr("pipeline.stages.runner.run", full)
    done = alexnet("mean")
    assert ((done.exit_code, done.stderr)
            == (1, "error: No space left on device; make room, and give the same command again\n"))


def test_colours_on_a_terminal_and_none_where_they_are_not_wanted() -> None:
    assert "\x1b[31m" in shown("pca", "--params", "other.yaml")
    assert "\x1b" not in shown("pca", "--params", "other.yaml", "--no-color")
    assert "\x1b" not in shown("pca", "--params", "other.yaml", NO_COLOR="1")
    assert "\x1b" not in process("pca", "--params", "other.yaml").stderr


def test_a_message_is_broken_between_words_on_a_terminal_and_is_one_line_elsewhere() -> None:
    told = [line.rstrip()
            for line in shown("pca", "--params", "other.yaml", "--no-color").splitlines()]
    assert len(told) > 1
    assert max(map(len, told)) <= 80
    assert " ".join(told) + "\n" == process("pca", "--params", "other.yaml").stderr


def shown(*arguments: str, **variables: str) -> str:
    """What the command, which fails, shows on a terminal."""
    told, status = on_a_terminal([sys.executable, "-c",
                                  "from pipeline.commands.main import main; main()", *arguments],
                                 os.environ | variables | {"PYTHONPATH": str(ROOT),
                                                           "TERM": "xterm"})
    assert status == 1
    return told


ASKS = """
import click
from pipeline.commands.group import Contents
@click.group(cls=Contents)
def main(): pass
@main.command()
def ask(): click.confirm("Run?", err=True, abort=True)
main(["ask"])
"""


@pytest.mark.parametrize(("typed", "status", "told"),
                         [(CTRL_C, 130, "interrupted before anything was begun"),
                          ("\x04", 1, "Aborted!"), ("n\n", 1, "Aborted!")])
def test_a_question_can_be_left(typed: str, status: int, told: str) -> None:
    """Python makes its terminal the controlling one, as a shell does, so that Ctrl-C becomes a
    signal."""
    own = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{ASKS}"
    shown, ended = on_a_terminal([sys.executable, "-c", own],
                                 os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
                                 typed=("[y/N]: ", typed))
    assert ended == status
    assert told in shown


COMPLETED = [("alexnet tr", ["train"]), ("alexnet configure cif", ["cifar10"]),
             ("alexnet train --pl", ["--placement"]),
             ("alexnet train --set train.s",
              ["train.seed=", "train.stop_below=", "train.start_from="]),
             ("alexnet mean --set dataset.sam",
              ["dataset.sample.seed=", "dataset.sample.train_images=",
               "dataset.sample.val_images="]), ("alexnet golden a", ["assess"])]


def test_a_real_bash_completes(here: Path) -> None:
    (here / "alexnet").write_text(f"#!{sys.executable}\nfrom pipeline.commands.main import "
                                  "main\nmain(prog_name='alexnet')\n")
    (here / "alexnet").chmod(0o755)
    script = ('source <(alexnet completion bash); complete -p alexnet; while read -r -a '
              'COMP_WORDS; do COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); '
              '_alexnet_completion alexnet; echo "${COMPREPLY[*]}"; done')
    done = subprocess.run(["bash", "-c", script],
                          input="".join(f"{line}\n" for line, _ in COMPLETED),
                          text=True, capture_output=True, check=True, env=os.environ
                          | {"PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)})
    assert done.stderr == ""
    told = done.stdout.splitlines()
    assert told[0] == "complete -o nosort -F _alexnet_completion alexnet"
    assert [line.split() for line in told[1:]] == [found for _, found in COMPLETED]
    for shell in ("zsh", "fish"):
        assert "_ALEXNET_COMPLETE" in alexnet("completion", shell).output


def test_bash_puts_no_blank_between_a_key_and_its_value(here: Path) -> None:
    (here / "alexnet").write_text(f"#!{sys.executable}\nfrom pipeline.commands.main import "
                                  "main\nmain(prog_name='alexnet')\n")
    (here / "alexnet").chmod(0o755)
    (here / "rc").write_text('PS1="ready> "; source <(alexnet completion bash); '
                             'alexnet() { printf "given:"; printf "<%s>" "$@"; }\n')
    shown, _ = on_a_terminal(["bash", "--rcfile", "rc", "-i"],
                             os.environ | {"PATH": f"{here}:{os.environ['PATH']}",
                                           "PYTHONPATH": str(ROOT), "TERM": "dumb"}, columns=200,
                             typed=("ready> ", "alexnet tra\t --set train.see\t3\nexit\n"))
    assert "given:<train><--set><train.seed=3>" in shown


def test_ctrl_c_exits_130_and_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str, parameters: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.stages.runner.run", interrupted)
    done = alexnet("mean")
    assert done.exit_code == 130
    assert "goes on where it stopped" in done.stderr


def test_options_of_a_stage_override_params_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr("pipeline.stages.runner.run", seen.__setitem__)
    assert alexnet("train", "--threads", "3", "--set", "train.seed=9", "--placement",
                   "one").exit_code == 0
    assert (seen["train"].execution.threads, seen["train"].train.seed) == (3, 9)
    assert seen["train"].execution.placement == "one"


def test_configure_prints_what_it_changes() -> None:
    Path("pictures").mkdir()
    done = alexnet("configure", "imagenette", "--location", "pictures")
    assert done.exit_code == 0
    assert ("dataset.source: sample -> imagenette\ndataset.location: null -> pictures\n"
            in done.stdout)
    assert alexnet("configure", "sample").exit_code == 0
    assert "stands as sample has it" in alexnet("configure", "sample").stdout
    Path("params.yaml").unlink()
    assert alexnet("configure", "sample").stdout == "params.yaml is new\n"


def test_json_where_a_machine_reads(here: Path) -> None:
    assert json.loads(alexnet("configure", "cifar10", "--json").stdout)["dataset.source"] == {
        "old": "sample", "new": "cifar10"}
    plan = json.loads(alexnet("download", "--dry-run", "--json").stdout)
    assert [one["name"] for one in plan["files"]] == ["cifar-10-binary.tar.gz"]
    assert plan["download_bytes"] > plan["files"][0]["bytes"] == 170_052_171
    assert plan["store_bytes"] == 60_000 * 32 * 32 * 3
    assert alexnet("download", "--json").exit_code == 2
    (here / "dvc.lock").write_text("schema: '2.0'\nstages:\n  download: [")
    assert json.loads(alexnet("mend", "--json").stdout) == ["dvc.lock"]
    assert json.loads(alexnet("sync", "--json").stdout) == {"sent": [], "kept": []}
