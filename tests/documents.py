"""What the documents show: commands, files, parameters. Tests hold them against what there is.

A block of code is indented by four spaces or fenced; one below the line `<!-- run -->` is run by
the tests.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")),
             *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"))]
RUN = "<!-- run -->"
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


@dataclass(frozen=True)
class Block:
    """Lines of code without their indentation, where they stand, and whether the tests run them."""

    document: str
    line: int
    text: str
    run: bool


def blocks(document: Path) -> Iterator[Block]:
    """The blocks of code of a document."""
    lines = document.read_text(encoding="utf-8").splitlines()
    number, run = 0, False
    while number < len(lines):
        begin, line, before = number, lines[number], lines[number - 1].strip() if number else ""
        if line.lstrip().startswith("```"):
            number = next(k for k in range(begin + 1, len(lines))
                          if lines[k].lstrip().startswith("```")) + 1
            found = lines[begin + 1: number - 1]
        elif line.startswith("    ") and before in ("", RUN):
            while (number < len(lines)
                    and (lines[number].startswith("    ") or not lines[number].strip())):
                number += 1
            found = [each[4:] for each in lines[begin:number]]
        else:
            run = line.strip() == RUN or (run and not line.strip())
            number += 1
            continue
        yield Block(document.name, begin + 1, "\n".join(found).strip("\n"), run)
        run = False


def spans(document: Path) -> list[str]:
    """Code within sentences."""
    text = document.read_text(encoding="utf-8")
    for block in blocks(document):
        for line in block.text.splitlines():
            text = text.replace(line, "", 1) if line.strip() else text
    return [" ".join(found.split()) for found in SPAN.findall(text)]


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words after `program` in each command of a piece of shell, comments and redirections left
    out."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        for part in re.split(r"&&|\|\|?|;|\$\(|<\(", line):
            try:
                words = shlex.split(part.replace(")", " ") if "(" not in part else part,
                                    comments=True)
            except ValueError:  # an apostrophe: no command
                continue
            while words and (re.fullmatch(r"[A-Z_]+=.*", words[0])
                             or words[0] in ("nohup", "time", "exec", "eval")):
                words.pop(0)
            if "--no-python" in words and program in words:
                words = words[words.index(program):]
            if words and words[0] in (program, f".venv/bin/{program}"):
                yield words[1:]
