"""A command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def on_a_terminal(command: Sequence[str], environment: Mapping[str, str], columns: int = 80,
                  typed: tuple[str, str] | None = None) -> tuple[str, int]:
    """What it shows there, escapes included, and its exit status; the terminal has 24 lines.

    `typed` is what it waits for, as the end of what is shown, and what is then typed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stdin=theirs if typed else None, stdout=theirs, stderr=theirs, env=environment,
                          start_new_session=typed is not None) as run:
        os.close(theirs)
        shown = b""
        try:
            while some := os.read(ours, 4096):
                shown += some
                if typed and shown.endswith(typed[0].encode()):
                    os.write(ours, typed[1].encode())
                    typed = None
        except OSError:  # Linux's end of a terminal
            pass
    os.close(ours)
    return shown.decode(), run.returncode
