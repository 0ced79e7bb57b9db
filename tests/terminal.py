"""A command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

CTRL_C = "\x03"


def on_a_terminal(command: Sequence[str], environment: Mapping[str, str], columns: int = 80,
                  typed: tuple[str, str] | None = None) -> tuple[str, int]:
    """What it shows there, escapes included, and its exit status; the terminal has 24 lines.

    `typed` is what it waits for, as the end of what is shown, and what is then typed. Ctrl-C is
    typed once a second until it ends: one that comes between a question and Python's wait for the
    answer is seen with the next key only.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stdin=theirs if typed else None, stdout=theirs, stderr=theirs,
                          env=environment, start_new_session=typed is not None) as run:
        os.close(theirs)
        shown = b""
        try:
            asked = False
            while True:
                if (typed and asked and typed[1] == CTRL_C
                        and not select.select([ours], [], [], 1.0)[0]):
                    os.write(ours, CTRL_C.encode())
                    continue
                if not (some := os.read(ours, 4096)):
                    break
                shown += some
                if typed and not asked and shown.endswith(typed[0].encode()):
                    os.write(ours, typed[1].encode())
                    asked = True
        except OSError:  # Linux's end of a terminal
            pass
    os.close(ours)
    return shown.decode(), run.returncode
