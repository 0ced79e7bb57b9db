"""Every command, option, file, parameter and value that a document names exists, and every link and
anchor; every page is in the index."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
import yaml
from pydantic import ValidationError

from pipeline.commands.main import main
from pipeline.config.parameters import Parameters, load
from pipeline.data.sources.fetching import fetch
from pipeline.data.sources.recognition import CIFAR10
from pipeline.studies.gate.golden import of_configuration
from pipeline.system.errors import UserError
from pipeline.system.terminal import message_lines
from tests.documents import DOCUMENTS, ROOT, blocks, commands, spans

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# What the stages and commands leave, and what belongs to a user: named in documents, and not in the
# repository.
LEFT = re.compile(
    r"(data|models|plots|metrics|report|work|mlartifacts|archives|golden|experiments/results|build|record"
    r"|\.venv|\.dvc)(/|$)|mlflow\.db|dvc\.lock|train/|val/|error/|LOC_|ILSVRC|req\.in|overrides\.txt|val_annotations\.txt")
by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)


def problem_with(words: list[str], whole: bool) -> str | None:
    """What is wrong with a call of `alexnet`; `whole`: with all its arguments, as it would be
    typed."""
    command: click.Command = main
    context = click.Context(main, info_name="alexnet")
    rest = [word for word in words if word != "..."]
    while (isinstance(command, click.Group) and rest and not rest[0].startswith("-")
            and (rest[0] in command.commands
                 or not (command.invoke_without_command or command is not main))):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
        context = click.Context(command, parent=context, info_name=command.name)
    known = {name for option in command.get_params(context)
             for name in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in rest if word.startswith("-")
               and word.partition("=")[0] not in known]
    if unknown:
        return f"{command.name} has no option {unknown[0]}"
    if whole and not (isinstance(command, click.Group) and not command.invoke_without_command):
        try:
            command.make_context(command.name, rest, parent=context.parent)
        except click.exceptions.Exit:  # --help
            pass
        except click.ClickException as error:
            if not error.format_message().endswith("does not exist."):  # a reader's own folder
                return f"{command.name}: {error.format_message()}"
    return None


@by_document
def test_every_alexnet_command_and_option_exists(document: Path) -> None:
    found = [problem_with(words, whole=True) for block in blocks(document)
             for words in commands(block.text, "alexnet")]
    found += [problem_with(words, whole=False) for span in spans(document)
              for words in commands(span, "alexnet")]
    assert [problem for problem in found if problem] == []


def test_a_command_or_an_option_that_there_is_not_is_seen() -> None:
    assert problem_with(["retrain"], whole=False) == "no command retrain"
    assert problem_with(["train", "--seed", "2"], whole=False) == "train has no option --seed"
    assert problem_with(["golden", "assess"], whole=False) is None
    assert "Missing argument" in str(problem_with(["golden", "assess"], whole=True))
    assert "is not one of" in str(problem_with(["claims", "run", "x", "--scale", "huge"],
                                               whole=True))
    assert problem_with(["claims", "run", "x", "--scale", "sample", "--yes"], whole=True) is None


def problem_with_module(name: str, words: list[str]) -> str | None:
    """What is wrong with a call of `python -m NAME WORDS`, by the parser of that module."""
    file = ROOT / name.replace(".", "/")
    if not file.with_suffix(".py").exists() and not (file / "__main__.py").exists():
        return f"no module {name}"
    rest = [word for word in words if word not in ("...", ">", "|")]
    if not any(word.startswith("-") for word in rest):
        return None
    main = getattr(importlib.import_module(name if file.with_suffix(".py").exists()
                                           else f"{name}.__main__"), "main", None)
    if isinstance(main, click.Command):
        try:
            main.make_context(name, rest)
        except click.ClickException as error:
            if not error.format_message().endswith("does not exist."):  # a reader's own folder
                return f"{name}: {error.format_message()}"
        return None
    return problem_with_parser(main, rest)


def problem_with_parser(main: Any, words: list[str]) -> str | None:
    """What the parser that `main` makes by argparse says of these words; `main` goes no further."""
    parse, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def only_parse(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse(parser, words)
        sys.exit(0)

    with (mock.patch.object(argparse.ArgumentParser, "parse_args", only_parse),
          contextlib.redirect_stderr(said)):
        try:
            main()
        except SystemExit as end:
            return said.getvalue() if end.code else None
    return f"takes no options: {words}"


def problem_with_dvc(words: list[str], whole: bool = True) -> str | None:
    """What is wrong with a call of DVC, by its own parser and the stages that there are; `whole` as
    of `problem_with`."""
    from dvc.cli import DvcParserError
    from dvc.cli.parser import get_main_parser

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            options = get_main_parser().parse_args(words + ["--help"] * (not whole))
        except DvcParserError:
            return f"DVC does not take {words}"
        except SystemExit:  # --help
            return None
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    unknown = [target for target in getattr(options, "targets", None) or [] if target not in stages]
    return f"no stage {unknown[0]}" if unknown else None


def problem_with_pytest(words: list[str]) -> str | None:
    """A path or an option of a call of pytest that is not there."""
    ours = set(re.findall(r"addoption\(\"(--[a-z-]+)", (ROOT / "tests/conftest.py").read_text()))
    for word in words:
        if word.startswith("--") and word not in ours:
            return f"no option {word}"
        if word.startswith("tests/") and not (ROOT / word).exists():
            return f"no {word}"
    return None


def problem_with_torchrun(words: list[str]) -> str | None:
    """What torchrun's own parser says of a call."""
    from torch.distributed.run import get_args_parser

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            get_args_parser().parse_args([word for word in words if word != "..."])
        except SystemExit:
            return said.getvalue()
    return None


def extras_not_there(text: str) -> set[str]:
    """Extras in `pip install -e .[EXTRA]` that the project does not have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(re.findall(r"pip install -e \.\[(\w+)\]", text)) - {
        *project["optional-dependencies"]}


@by_document
def test_every_other_program_takes_what_it_is_given(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"),
                             re.MULTILINE))
    in_sentences = spans(document)
    problems: list[str | None] = []
    for text in [*(block.text for block in blocks(document)), *in_sentences]:
        for words in commands(text, "make"):
            problems += [f"no target {word}" for word in words
                         if "=" not in word and word.isalpha() and word not in targets]
        for words in commands(text, "python"):
            if (words[:1] == ["-m"] and words[1] != "benchmarks.NAME"
                    and words[1].split(".")[0] in ("alexnet", "pipeline", "benchmarks", "tests")):
                problems.append(problem_with_module(words[1], words[2:]))
        problems += [problem_with_dvc(words, whole=text not in in_sentences)
                     for words in commands(text, "dvc")]
        problems += [problem_with_pytest(words) for words in commands(text, "pytest")]
        problems += [problem_with_torchrun(words) for words in commands(text, "torchrun")
                     if "--no-python" in words]
        problems += [f"no extra {extra}" for extra in extras_not_there(text)]
    assert [problem for problem in problems if problem] == []


def test_what_other_programs_do_not_take_is_seen() -> None:
    assert problem_with_module("benchmarks.gone", []) == "no module benchmarks.gone"
    assert "No such option" in str(problem_with_module("benchmarks.step", ["--speed"]))
    assert "unrecognized arguments" in str(problem_with_module("tests.fuzz", ["--size=1"]))
    assert problem_with_module("tests.fuzz", ["--inputs", "10"]) is None
    assert problem_with_dvc(["repro", "retrain"]) == "no stage retrain"
    assert "does not take" in str(problem_with_dvc(["exp", "run", "--somewhere"]))
    assert "does not take" in str(problem_with_dvc(["exp", "walk"], whole=False))
    assert problem_with_dvc(["exp", "apply"], whole=False) is None
    assert problem_with_dvc(["exp", "run", "--temp", "-S", "train.seed=2"]) is None
    assert "unrecognized" in str(problem_with_torchrun(["--no-pythons", "alexnet", "train"]))
    assert problem_with_torchrun(["--nnodes", "2", "--no-python", "alexnet", "train"]) is None
    assert extras_not_there("pip install -e .[kaggle] and pip install -e .[gone]") == {"gone"}
    assert problem_with_pytest(["tests/gone"]) == "no tests/gone"
    assert problem_with_pytest(["tests/faults", "--longer"]) == "no option --longer"


def problem_with_link(document: Path, target: str) -> str | None:
    """What is wrong with a link of a document: no such file, or no such heading in it."""
    name, _, anchor = target.partition("#")
    file = document.parent / name if name else document
    if "://" in target:
        return None
    if not file.exists():
        return f"no {target}"
    headings = re.findall(r"^#+ (.+)", file.read_text(encoding="utf-8"), re.M) if anchor else []
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return None if not anchor or anchor in anchors else f"no heading for {target}"


@by_document
def test_every_file_and_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [problem for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
            if (problem := problem_with_link(document, target[0] or target[1]))] == []
    for span in spans(document):
        if re.fullmatch(
                r"[\w.-]+(/[\w.-]+)*\.(py|md|yaml|toml|txt|lock|sh|css|j2)|[\w.-]+(/[\w.-]+)*/",
                span) and not LEFT.match(span):
            places = (ROOT, document.parent, ROOT / "pipeline", ROOT / "alexnet")
            assert any((place / span).exists() for place in places), span


def problem_with_setting(setting: str) -> str | None:
    """What is wrong with `section.key: value`, or `=`, whatever the other keys have."""
    section, key, value = re.split(r"\.|: |=", setting, maxsplit=2)
    try:
        Parameters.model_validate(
            PARAMS | {section: PARAMS[section] | {key: yaml.safe_load(value)}})
    except ValidationError as error:
        return str(error)
    return None


@by_document
def test_every_parameter_exists_and_takes_its_value(document: Path) -> None:
    texts = [block.text for block in blocks(document)] + spans(document)
    for section, key in re.findall(rf"\b({'|'.join(PARAMS)})\.([a-z_0-9]+)", "\n".join(texts)):
        if key not in ("py", "json", "pixels_digest"):  # files, and a tag of a record
            assert key in PARAMS[section], f"{section}.{key}"
    key = rf"(?:{'|'.join(PARAMS)})\.[a-z_]+"
    settings = re.findall(rf"(?:-S|--set) ({key}=[^\s`]+)", "\n".join(texts))
    settings += [span for span in spans(document) if re.fullmatch(rf"{key}: [^.]+", span)]
    assert [problem for setting in settings if not setting.endswith("=N")
            and (problem := problem_with_setting(setting))] == []


def test_links_and_settings_that_are_wrong_are_seen() -> None:
    readme = ROOT / "README.md"
    assert problem_with_link(readme, "docs/gone.md") == "no docs/gone.md"
    assert problem_with_link(readme, "docs/deviations.md#lrn_z") == (
        "no heading for docs/deviations.md#lrn_z")
    assert problem_with_link(readme, "docs/deviations.md#lrn_k") is None
    assert "recipe.colour_noise" in str(problem_with_setting("recipe.colour_noise: loud"))
    assert "train.epoch" in str(problem_with_setting("train.epoch=2"))
    assert problem_with_setting("train.precision: fp64")
    assert problem_with_setting("train.precision: bf16") is None


@by_document
def test_prose_and_code_have_lines_of_at_most_100_columns(document: Path) -> None:
    assert long_lines(document.read_text(encoding="utf-8")) == []


def long_lines(text: str) -> list[str]:
    """Those of more than 100 columns; rows of tables and tags of HTML cannot be wrapped."""
    return [line for line in text.splitlines()
            if len(line) > 100 and not line.startswith(("|", "<"))]


def test_a_long_line_is_seen() -> None:
    assert long_lines(f"{'a' * 100}\n{'b' * 101}\n|{'c' * 101}") == ["b" * 101]


def missing_places(layout: str) -> list[str]:
    """Names in the layout of README that are not there: a line has one and what it is, the last
    line several; indented ones lie in `pipeline/`."""
    *lines, files = layout.splitlines()
    names = [f"pipeline/{line.split()[0]}" if line.startswith(" ") else line.split()[0]
             for line in lines]
    return [name for name in (*names, *files.split()) if not (ROOT / name).exists()]


def test_the_layout_in_readme_is_that_of_the_repository() -> None:
    [layout] = [block.text for block in blocks(ROOT / "README.md")
                if block.text.startswith("alexnet/ ")]
    assert missing_places(layout) == []
    rooms = {file.parent.name for file in (ROOT / "pipeline").glob("*/__init__.py")}
    assert set(re.findall(r"^ +(\w+)/", layout, re.MULTILINE)) == rooms
    assert missing_places("alexnet/  x\n  hall/  y\nMakefile gone") == ["pipeline/hall/", "gone"]


def commands_with_json(group: click.Group = main, before: str = "") -> set[str]:
    """The names of all commands that have `--json`."""
    names = set()
    for name, command in group.commands.items():
        if any("--json" in option.opts for option in command.params):
            names.add(f"{before}{name}")
        if isinstance(command, click.Group):
            names |= commands_with_json(command, f"{before}{name} ")
    return names


def test_the_commands_that_print_json_are_listed() -> None:
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    listed = re.search(r"These commands have it: (.*?)\.", page, re.DOTALL)
    assert listed
    assert ({" ".join(name.split()).removesuffix(" --dry-run")
             for name in re.findall(r"`([^`]+)`", listed[1])} == commands_with_json())


def test_the_variables_that_the_code_reads_are_listed() -> None:
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for package in ("alexnet", "pipeline")
                   for file in (ROOT / package).rglob("*.py"))
    read = set(re.findall(r"[\"'](ALEXNET_[A-Z_]+)[\"']", code))
    assert "ALEXNET_ISA" in read
    assert {name for name in read if f"`{name}`" not in page} == set()


def test_the_refusal_that_is_shown_is_the_one_that_is_given(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/data.md, numbers apart: of a folder whose validation pictures are in `test`."""
    [shown] = [block.text for block in blocks(ROOT / "docs/data.md")
               if block.text.startswith("error: dataset.location")]
    monkeypatch.chdir(tmp_path)
    for name in CIFAR10:
        for split in ("train", "test"):
            (Path("cifar") / split / name).mkdir(parents=True)
            (Path("cifar") / split / name / "1.png").write_bytes(b"")
    parameters = load(ROOT / "params.yaml", ["dataset.source=cifar10", "dataset.location=cifar"])
    with pytest.raises(UserError) as refusal:
        fetch(parameters.dataset)
    said = message_lines(f"error: {refusal.value}")
    assert re.sub(r"[\d,]+", "N", said) == re.sub(r"[\d,]+", "N", shown)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for page in DOCUMENTS[1:]:
        if page.parent != ROOT:
            assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_blocks_and_spans_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text `a b`\nand `c\nd`.\n\n    one   # x\n\n    two\n\n<!-- run -->\n\n    "
                    "three\n\n```sh\n"
                    "four\n\nfive\n```\n\n- a list\n  goes on\n    not code\n\n<!-- run "
                    "-->\n```\nsix\n```\n")
    assert [(block.text, block.run) for block in blocks(page)] == [
        ("one   # x\n\ntwo", False), ("three", True), ("four\n\nfive", False), ("six", True)]
    assert spans(page) == ["a b", "c d"]
    assert list(commands("A=1 alexnet x --y  # z\nalexnet a | tail && alexnet 'b c' \\\n  d",
                         "alexnet")) == [["x", "--y"], ["a"], ["b c", "d"]]


def test_the_citation_is_valid_and_of_this_version() -> None:
    """By the fields that version 1.2.0 of the format requires."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").split()[:2] == ["Apache", "License"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_digest_that_readme_promises_is_the_goldens() -> None:
    promised = re.search(r"golden sample, seed 1: weights ([0-9a-f]{16})\.\.\.",
                         (ROOT / "README.md").read_text(encoding="utf-8"))
    assert promised
    [golden] = of_configuration(load(ROOT / "params.yaml"), ROOT / "golden")
    stored = golden.run_of(1)
    assert stored
    assert stored.metrics["train"]["weights_digest"].startswith(promised[1])
