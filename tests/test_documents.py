"""Every command, option, file and parameter that a document names exists; every page is in the
index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from pipeline.commands.main import main
from pipeline.config.parameters import load
from pipeline.studies.gate.golden import of_configuration
from tests.documents import DOCUMENTS, ROOT, blocks, commands, spans

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# What the stages and commands leave, and what belongs to a user: named in documents, and not in the
# repository.
LEFT = re.compile(
    r"(data|models|plots|metrics|report|work|mlartifacts|archives|golden|experiments/results|build|record"
    r"|\.venv|\.dvc)(/|$)|mlflow\.db|dvc\.lock|train/|val/|LOC_|ILSVRC|req\.in|overrides\.txt|val_annotations\.txt")
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


@by_document
def test_every_other_program_of_ours_exists(document: Path) -> None:
    texts = [block.text for block in blocks(document)] + spans(document)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"),
                             re.MULTILINE))
    for text in texts:
        for words in commands(text, "make"):
            assert {word for word in words if "=" not in word and word.isalpha()} <= targets, text
        for words in commands(text, "python"):
            if (words[:1] == ["-m"]
                    and words[1].split(".")[0] in ("alexnet", "pipeline", "benchmarks", "tests")):
                name = ROOT / words[1].replace(".", "/")
                assert name.with_suffix(".py").exists() or (name / "__main__.py").exists(), text


@by_document
def test_every_file_and_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", text):
        target = link[0] or link[1]
        if "://" not in target:
            assert (document.parent / target).exists(), target
    for span in spans(document):
        if re.fullmatch(
                r"[\w.-]+(/[\w.-]+)*\.(py|md|yaml|toml|txt|lock|sh|css|j2)|[\w.-]+(/[\w.-]+)*/",
                span) and not LEFT.match(span):
            places = (ROOT, document.parent, ROOT / "pipeline", ROOT / "alexnet")
            assert any((place / span).exists() for place in places), span


@by_document
def test_every_parameter_exists(document: Path) -> None:
    texts = [block.text for block in blocks(document)] + spans(document)
    for section, key in re.findall(rf"\b({'|'.join(PARAMS)})\.([a-z_0-9]+)", "\n".join(texts)):
        if key not in ("py", "json", "pixels_digest"):  # files, and a tag of a record
            assert key in PARAMS[section], f"{section}.{key}"


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
