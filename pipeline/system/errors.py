"""Errors as a user sees them: one line, and the traceback only where it is asked for.

`UserError` is the one exception for what a user can mend. `told` makes a line of any exception, and
keeps the traceback of one that nobody expected in work/traceback.txt, so that it is not lost with a
run of hours.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text

CODE = Path(__file__).resolve().parents[2]  # as in project, which imports this module
TRACEBACK = Path("work/traceback.txt")
# a variable of the environment, so that training processes and workers have it, too
DEBUG = "ALEXNET_DEBUG"
MENDS = {errno.ENOSPC: "make room", errno.EDQUOT: "make room in your quota",
         errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
         errno.EACCES: "give yourself the right to it",
         errno.EPERM: "give yourself the right to it",
         errno.EROFS: "work where files can be written", errno.EIO: "see to the disk",
         errno.ENOENT: "see what removed it while the command was at work",
         errno.ESTALE: "see to the file server",
         errno.ENOTDIR: "see what replaced it while the command was at work",
         errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
         errno.ENOMEM: "free some memory",
         errno.EAGAIN: "raise the limit on processes (`ulimit -u`)"}
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # in what PyTorch raises


def printable(text: object) -> str:
    """Fit for a terminal: what would move its cursor, colour it or turn the direction of writing is
    written out.

    Names of files, classes and runs are strangers' words, and they stand in messages.
    """
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1]
                   for one in str(text))


def cell(text: object, style: str = "") -> Text:
    """A cell of a table, fit for a terminal as `printable` is; nothing in it is markup."""
    from rich.text import Text

    return Text(printable(text), style=style)


def closest(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?`, for a message about a name that is none of these; empty where none is
    like it."""
    like = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(like)}?" if like else ""


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """Broken between words on a terminal, which would break within them; elsewhere as it is. For
    standard error."""
    stream = stream or sys.stderr
    if not stream.isatty():
        return text
    width = os.get_terminal_size(stream.fileno()).columns or 80  # 0 where it does not know
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
                     for line in text.split("\n"))


def without_password(text: str) -> str:
    """The text, with no user and password left in the addresses it holds: fit for a log."""
    return re.sub(r"//[^/\s]*:\S*@|//[^/@\s]*@", "//", text)


class UserError(Exception):
    """Something outside the program is wrong. The message names the file or field and the mend."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


def told(error: BaseException) -> tuple[str, int]:
    """What to say of an error that ends a command, and the exit status that goes with it.

    1 is for what a user can mend, the system's refusals (no room, no right) among it; 70 for what
    should not have happened (EX_SOFTWARE of sysexits.h), apart from the 1 and 2 that a verdict
    uses.
    """
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, UserError):
        return f"error: {error}", 1
    if isinstance(error, OSError) and error.errno in MENDS:
        place = f"{error.filename}: " if error.filename else ""
        return (f"error: {place}{error.strerror}; {MENDS[error.errno]}, and give the same command "
                "again", 1)
    if isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)):
        return ("error: there is not enough memory; set execution.workers lower (resize) or "
                "train.micro_batches higher (train), or free some memory, and give the same "
                "command again"), 1
    reason = without_password(printable(" ".join(str(error).split())))
    line = (f"error: unexpected {type(error).__name__}{': ' * bool(reason)}{reason[:200]} "
            f"({_where(error)})")
    where = f"the traceback is in {TRACEBACK}" if _kept(error) else "--debug prints the traceback"
    return (f"{line}; {where}. Please report it with that and what `alexnet doctor --json` prints",
            70)


def debugging() -> bool:
    """Whether tracebacks were asked for."""
    return bool(os.environ.get(DEBUG))


def _where(error: BaseException) -> str:
    """The last line of this project's code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE)
            and "site-packages" not in frame.filename] or frames
    if not ours:
        return "no one knows where"
    file = Path(ours[-1].filename)
    return (f"{file.relative_to(CODE) if file.is_relative_to(CODE) else file.name}, line "
            f"{ours[-1].lineno}")


def _kept(error: BaseException) -> bool:
    try:
        TRACEBACK.parent.mkdir(exist_ok=True)
        text = f"$ {' '.join(sys.argv)}\n{''.join(traceback.format_exception(error))}"
        TRACEBACK.write_text(without_password(text), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return False
    return True
