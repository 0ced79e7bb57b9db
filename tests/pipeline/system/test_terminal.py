"""Progress: a bar on a terminal, lines elsewhere; both with rate, time left and a note."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest

from pipeline.system import terminal as progress_
from pipeline.system.errors import UserError
from pipeline.system.terminal import duration, printable, progress, say
from tests.end_to_end.project import ROOT
from tests.terminal import on_a_terminal


def test_lines_tell_rate_and_time_left(monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 10.0, 20.0, 25.0, 40.0, 40.0])
    monkeypatch.setattr(progress_.time, "monotonic", lambda: next(clock))
    with progress("resize", 100, "images", done=40) as told:
        told(0)  # nothing is known yet of the time left
        told(20, "half")
        told(5)  # within ten seconds of the line before
        told(35)
    assert capsys.readouterr().err.splitlines() == [
        "resize: 40 of 100 images, 0.0 a second",
        "resize: 60 of 100 images, 1.0 a second, 40 s left; half",
        "resize: 100 of 100 images, 1.5 a second, 0 s left",
        "resize: 100 images in 40.0 s"]


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("resize", 100, "images", quiet=True) as told:
        told(100)
    assert capsys.readouterr().err == ""


def test_lines_become_rarer_in_a_long_run(monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1000.0, 1049.0, 1051.0, 86400.0, 86900.0, 87001.0, 87001.0])
    monkeypatch.setattr(progress_.time, "monotonic", lambda: next(clock))
    with progress("train", 1e6, "images") as told:
        for _ in range(6):
            told(100, "loss 2.3")
    assert [line.partition(" of ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "train: 100", "train: 400", "train: 600", "train: 600 images in 87001.0 s"]


@pytest.mark.parametrize(("seconds", "told"),
                         [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
                          (7200, "2.0 h"), (172800, "2.0 days")])
def test_a_duration_in_words(seconds: float, told: str) -> None:
    assert duration(seconds) == told


PROGRAM = """
from pipeline.system.terminal import progress, say
with progress("train", 116_586_197, "images") as told:
    told(116_000, "loss 2.302, val error 90.0 %")
    say("warning: something")
"""


def test_a_narrow_terminal_has_the_words_whole() -> None:
    last = last_line(shown_at(70, TERM="xterm"))  # it counts a million images a second
    assert re.fullmatch(r"train +0% [0-9.]+/s [-0-9:]{7} loss 2\.302, val error 90\.0 %",
                        last.strip())


@pytest.mark.parametrize(("columns", "count"), [(80, "  0% "), (120, " 116000/116586197 ")])
def test_a_bar_on_a_real_terminal_fits_it(columns: int, count: str) -> None:
    shown = shown_at(columns, TERM="xterm")
    last = last_line(shown)
    assert re.search(r"train [━╸╺].*images/s [-0-9:]{7} loss 2\.302, val error 90\.0 %", last)
    assert count in last
    assert len(last.rstrip()) <= columns - 2
    assert "warning: something\n" in shown.replace("\r", "")


def test_a_finished_bar_is_full_whatever_its_parts_add_up_to(
        monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress("checksums", 0.8, "MB") as told:
        for _ in range(8):
            told(0.1)  # 0.7999999999999999 in all
    last = last_line(terminal.getvalue())
    assert re.search("━ 100% ", last)
    assert not re.search("[╸╺]", last)
    assert len(last.rstrip()) <= 78  # what a terminal shows for Ctrl-C stays in the line


def test_a_dumb_terminal_has_lines() -> None:
    assert shown_at(80, TERM="dumb").splitlines()[-1].startswith("train: 116000 images in ")


def last_line(shown: str) -> str:
    """What stands there in the end, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "\n", text).strip().splitlines()[-1]


def shown_at(columns: int, **variables: str) -> str:
    """What the program shows on a terminal of this width."""
    kept = {name: value
            for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return on_a_terminal([sys.executable, "-c", PROGRAM],
                         kept | {"PYTHONPATH": str(ROOT)} | variables, columns)[0]


def test_no_name_of_a_file_reaches_the_terminal_as_a_command(
        capsys: pytest.CaptureFixture[str]) -> None:
    """Of a terminal (title, colour, cursor, direction of writing), nor of rich's markup."""
    evil = "\x1b]0;title\x07\x1b[2J\u202e[red]\udcff\r.jpg"
    say(evil)
    with pytest.raises(UserError) as told:
        raise UserError(evil)
    shown = r"\x1b]0;title\x07\x1b[2J\u202e[red]\udcff\r.jpg"
    assert capsys.readouterr().err == shown + "\n"
    assert str(told.value) == str(UserError(told.value)) == shown
    assert printable("Größe 3×4 µm\n\t日本") == r"Größe 3×4 µm\n\t日本"
    assert printable("Größe 3×4 µm\n\t日本", keep="\n\t") == "Größe 3×4 µm\n\t日本"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_name_begins_a_line_of_its_own(capsys: pytest.CaptureFixture[str], end: str) -> None:
    name = f"1.jpg{end}error: forged"
    say(f"resize: quarantined {name}")
    say(f"error: {UserError(f'{name}: no picture')}")
    said = capsys.readouterr().err
    assert said.count("forged") == 2
    assert [line for line in said.splitlines() if line.startswith("error: forged")] == []
    assert "forged" in printable(name)
    assert printable(name).splitlines() == [printable(name)]


def test_a_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress("[red]a\x1b[2J", 2, "images") as told:
        told(1, "[bold]\x07b")
        told(1, "[bold]\x07b")
    assert r"[red]a\x1b[2J" in terminal.getvalue()
    assert r"[bold]\x07b" in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()
