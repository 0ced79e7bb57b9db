"""Errors as a user sees them: one line, and the traceback only where it is asked for.

`UserError` is the one exception for what a user can fix. `describe_error` makes a line of any
exception, and keeps the traceback of an unexpected one in work/traceback.txt, so that it is not
lost with a run of hours.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipeline.system.terminal import printable

CODE = Path(__file__).resolve().parents[2]  # as in project, which imports this module
TRACEBACK = Path("work/traceback.txt")
# a variable of the environment, so that training processes and workers have it, too
DEBUG = "ALEXNET_DEBUG"
REMEDIES = {errno.ENOSPC: "make room", errno.EDQUOT: "make room in your quota",
            errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
            errno.EACCES: "give yourself the right to it",
            errno.EPERM: "give yourself the right to it",
            errno.EROFS: "work where files can be written", errno.EIO: "check the disk",
            errno.ENOENT: "find out what removed it while the command was running",
            errno.ESTALE: "check the file server",
            errno.ENOTDIR: "find out what replaced it while the command was running",
            errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
            errno.ENOMEM: "free some memory",
            errno.EAGAIN: "raise the limit on processes (`ulimit -u`)"}
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # in what PyTorch raises
ADDRESSES = ("MLFLOW_TRACKING_URI", *(variable for name in ("HTTP", "HTTPS", "ALL")
                                      for variable in (f"{name}_PROXY", f"{name.lower()}_proxy")))
AFTER_ADDRESS = ").,:;'\"`>"  # in a sentence
SHORTEST = 4  # characters of a password that is looked for by itself
LONGEST_REASON = 200  # characters of an unexpected error's own message


class UserError(Exception):
    """Something outside the program is wrong. The message names the file or field and the fix."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message, keep="\n\t"))


def closest(name: str, names: Iterable[str], most: int = 3) -> str:
    """Return `; did you mean ...?` for a message about an unknown name; "" if none is like it."""
    like = difflib.get_close_matches(name, list(names), n=most)
    return f"; did you mean {' or '.join(like)}?" if like else ""


def without_password(text: str) -> str:
    """Return the text without users, passwords and queries in its addresses: fit for a log.

    An address is known to its end, blanks in it included, where a variable of ADDRESSES holds it;
    then its query and password are left out wherever else they stand, too. Elsewhere in the text it
    ends at the first blank, or at the last `@` where that leaves no port.
    """
    for name in ADDRESSES:
        if "://" in (address := os.environ.get(name, "")):
            text = text.replace(address, _bare_address(address))
            for secret in _secrets(address):
                for form in (secret, quote(secret), unquote(secret)):
                    text = text.replace(form, "...")
    return re.sub(r"[A-Za-z][\w+.-]*://(?:[^\s/@]*:(?!\d+[\s/?#]|\d+$)[^\n@/]*@)?\S*",
                  lambda match: _shown(match[0]), text)


def _shown(address: str) -> str:
    """Return the bare form of an address in a text, which may end with marks of the sentence."""
    end = len(address.rstrip(AFTER_ADDRESS))
    if address[:end].endswith(("?", "://")):  # bare already
        return address
    return _bare_address(address[:end]) + address[end:]


def _secrets(address: str) -> list[str]:
    """Return query, fragment and password of an address, and the values in them, the longest
    first."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return [address.partition("://")[2]]
    login = address.partition("://")[2].rpartition("@")[0] if parts.netloc else ""
    values = [value for query in (parts.query, parts.fragment) for _, value in parse_qsl(query)]
    secrets = {parts.password or "", login.partition(":")[2], parts.query, parts.fragment, *values}
    return sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)


def _bare_address(address: str) -> str:
    """Return scheme, host, port and path; `?...` where there were a query or a fragment.

    Of an address that is not well-formed, as one with a `/` or `#` in its password, nothing but the
    scheme is known to be no secret.
    """
    scheme = address.partition("://")[0]
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  # raises where this is no number
    except ValueError:
        return f"{scheme}://..."
    if parts.netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return f"{scheme}://..."
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{host}{parts.path}{'?...' * bool(parts.query or parts.fragment)}"


def describe_error(error: BaseException) -> tuple[str, int]:
    """Return the line that describes an error which ends a command, and its exit status.

    The status is 1 for what a user can fix, refusals of the system (no room, no right) included;
    and 70 for what should not have happened (EX_SOFTWARE of sysexits.h), which a verdict's 1 and 2
    cannot be taken for.
    """
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, UserError):
        return f"error: {error}", 1
    if isinstance(error, OSError) and error.errno in REMEDIES:
        place = f"{error.filename}: " if error.filename else ""
        return (f"error: {place}{error.strerror}; {REMEDIES[error.errno]}, and give the same "
                "command again"), 1
    if isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)):
        return ("error: there is not enough memory; set execution.workers lower (resize) or "
                "train.micro_batches higher (train), or free some memory, and give the same "
                "command again"), 1
    reason = without_password(printable(" ".join(str(error).split())))
    line = (f"error: unexpected {type(error).__name__}{': ' * bool(reason)}"
            f"{reason[:LONGEST_REASON]} ({_location(error)})")
    where = (f"the traceback is in {TRACEBACK}" if _keep_traceback(error)
             else "--debug prints the traceback")
    return (f"{line}; {where}. Please report it with that and what `alexnet doctor --json` prints",
            70)


def debugging() -> bool:
    """Return whether tracebacks were asked for."""
    return bool(os.environ.get(DEBUG))


def _location(error: BaseException) -> str:
    """Return the last line of this project's code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(CODE)
            and "site-packages" not in frame.filename] or frames
    if not ours:
        return "at an unknown place"
    file = Path(ours[-1].filename)
    return (f"{file.relative_to(CODE) if file.is_relative_to(CODE) else file.name}, line "
            f"{ours[-1].lineno}")


def _keep_traceback(error: BaseException) -> bool:
    try:
        TRACEBACK.parent.mkdir(exist_ok=True)
        text = f"$ {' '.join(sys.argv)}\n{''.join(traceback.format_exception(error))}"
        TRACEBACK.write_text(without_password(text), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return False
    return True
