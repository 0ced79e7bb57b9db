"""Where a command is given: in a subfolder of the project, outside one, in another user's, and with
the packages installed by pip and nothing else of the project."""

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
from click.testing import CliRunner

from pipeline.commands.group import Command
from pipeline.commands.main import main
from tests.end_to_end.project import ROOT

OTHER_USER = 12345
NEED_A_PROJECT = (("train",), ("summary",), ("ui",), ("golden", "record"), ("claims",),
                  ("export", "latest"))


def alexnet(folder: Path, *arguments: str, status: int = 0, code: Path = ROOT) -> str:
    """What the installed command prints, standard error after it, started in this folder."""
    variables = {name: value for name, value in os.environ.items()
                 if not name.startswith(("MLFLOW_", "ALEXNET_", "DVC_"))}
    done = subprocess.run([sys.executable, "-P", "-m", "pipeline", *arguments], cwd=folder,
                          env=variables | {"PYTHONPATH": str(code)}, capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a subfolder and two folders of pictures, one outside."""
    folder = tmp_path / "project"
    for name in ("alexnet", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    for place in ("project/notes/pictures", "pictures", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts}


def location(project: Path) -> str:
    [line] = [line for line in (project / "params.yaml").read_text().splitlines()
              if line.startswith("  location:")]
    return line.partition("#")[0].partition(":")[2].strip()


@pytest.mark.parametrize(("given", "kept"), [("pictures", "notes/pictures"),
                                             ("../notes/pictures", "notes/pictures"),
                                             ("../../pictures", "OUTSIDE/pictures")])
def test_paths_from_a_subfolder_are_the_users(project: Path, given: str, kept: str) -> None:
    alexnet(project / "notes", "configure", "folder", "--location", given)
    assert location(project) == kept.replace("OUTSIDE", str(project.parent))
    assert not (project / "notes/params.yaml").exists()
    alexnet(project, "configure", "sample")
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_a_file_of_parameters_and_the_default_one_from_a_subfolder(project: Path) -> None:
    (project / "notes/mine.yaml").write_text((project / "params.yaml").read_text()
                                             .replace("width: 0.25", "width: 0.5"))
    widths = [json.loads(alexnet(project / "notes", "describe", "--json", *options))["width"]
              for options in ((), ("--params", "mine.yaml"), ("--params", "../params.yaml"))]
    assert widths == [0.25, 0.5, 0.25]


def test_a_location_that_is_not_there_is_refused(project: Path) -> None:
    before = files(project)
    for command in (("configure", "folder"), ("configure", "imagenette"),
                    ("claims", "run", "all", "--scale", "imagenette")):
        said = alexnet(project / "notes", *command, "--location", "gone", status=2)
        assert "--location" in said
        assert "notes/gone" in said
    assert "--location is missing" in alexnet(project, "configure", "folder", status=1)
    assert files(project) == before


@pytest.mark.parametrize("command", NEED_A_PROJECT, ids=" ".join)
def test_outside_a_project_a_command_refuses_by_name_and_does_nothing(
        tmp_path: Path, command: tuple[str, ...]) -> None:
    said = alexnet(tmp_path, *command, status=1)
    assert said.startswith(f"error: alexnet {command[0]}")
    assert "no project here" in said
    assert files(tmp_path) == {}


def leaf_commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    for name, command in group.commands.items():
        assert isinstance(command, Command)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*words, name), command
        if isinstance(command, click.Group):
            yield from leaf_commands(command, *words, name)


def test_every_other_command_refuses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    anywhere = set()
    for words, command in leaf_commands(main):
        needed = ["x" for argument in command.params if isinstance(argument, click.Argument)
                  for _ in range(argument.required)]
        options = ["--scale=sample"] * (words == ("claims", "run"))
        done = CliRunner().invoke(main, [*words, *needed, *options], obj={"project": None})
        if command.anywhere:
            anywhere.add(" ".join(words))
        else:
            assert "no project here" in done.stderr, (words, done.output)
            assert done.exit_code == 1
            assert files(tmp_path) == {}
        for file in tmp_path.iterdir():
            file.unlink()
    assert anywhere == {"describe", "doctor", "configure", "completion"}


def test_another_users_project_is_refused_and_a_clone_of_it_suggested(project: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file to another user")
    alexnet(project, "describe")
    before = files(project)
    for place in (project, project / "pipeline", project / "alexnet"):
        os.chown(place, OTHER_USER, OTHER_USER)
        for folder in (project, project / "notes"):
            for command in ("train", "describe", "doctor", "configure"):
                said = alexnet(folder, command, status=1)
                assert f"{place}: belongs to another user" in said
                assert f"git clone {project}" in said
            assert "Stages of the pipeline" in alexnet(folder, "--help")
        os.chown(place, 0, 0)
    assert files(project) == before
    alexnet(project, "describe")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as pip installs them, without anything they depend on."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # setuptools builds within it
    source.mkdir()
    for name in ("alexnet", "pipeline"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index",
                    "--no-build-isolation", "--target", str(folder / "packages"), str(source)],
                   check=True, capture_output=True, timeout=300)
    return folder / "packages"


def test_pip_installs_every_file_of_the_packages(installed: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "alexnet", "pipeline"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split()
    assert "pipeline/config/presets/sample.yaml" in listed
    assert [name for name in listed if (ROOT / name).is_file()
            and not (installed / name).is_file()] == []


def test_what_pip_installs_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert "Stages of the pipeline" in alexnet(tmp_path, "--help", code=installed)
    table = json.loads(alexnet(tmp_path, "describe", "--json", code=installed))
    assert (table["width"], table["classes"]) == (0.25, 10)
    wide = json.loads(alexnet(tmp_path, "describe", "--json", "--classes", "1000", "--set",
                              "network.width=1", code=installed))
    assert wide["parameters"] == 60_965_224
    checks = json.loads(alexnet(tmp_path, "doctor", "--json", "parameters", "pillow",
                                code=installed))
    assert checks[0]["detail"] == "no params.yaml here: the sample's values are taken"
    assert {check["verdict"] for check in checks} <= {"ok", "warning"}
    assert files(tmp_path) == {}
    assert "no project here" in alexnet(tmp_path, "train", code=installed, status=1)
    assert files(tmp_path) == {}

    assert "epochs: 16 -> 60" in alexnet(tmp_path, "configure", "cifar10", code=installed)
    assert set(files(tmp_path)) == {"params.yaml"}
    assert json.loads(alexnet(tmp_path, "describe", "--json",
                              code=installed))["architecture"] == "cifar"
    alexnet(tmp_path, "configure", "sample", code=installed)
    assert files(tmp_path)["params.yaml"] == (ROOT / "params.yaml").read_bytes()
