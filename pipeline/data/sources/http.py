"""Files fetched over HTTP, whole and verified, whatever the server does; resumed where an earlier
run stopped.

`download` leaves a file under its name only when its size and checksum are right. Until then its
bytes are in `.<name>.fetching` beside it, and what they are of (address, ETag, Last-Modified) in
`.<name>.fetching.json`. They are continued by a request for the rest, on condition that the
server's file is still the same one. Servers that drop, truncate, misstate a length, ignore the
range, or answer 429 and 5xx are asked again, ever more slowly; bytes of another file are thrown
away.
"""

from __future__ import annotations

import contextlib
import email.utils
import fcntl
import hashlib
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from pipeline.data.sources.checksums import remember
from pipeline.data.sources.planning import RemoteFile
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.terminal import progress, say

USER, PASSWORD, TOKEN = ("ALEXNET_DOWNLOAD_USER", "ALEXNET_DOWNLOAD_PASSWORD",
                         "ALEXNET_DOWNLOAD_TOKEN")
# to whom they may go: params.yaml may be a stranger's
HOST, USUAL_HOST = "ALEXNET_DOWNLOAD_HOST", "image-net.org"
CHUNK = 1 << 20
TIMEOUT = (30, 60)  # seconds to connect, and between two arrivals of bytes
TRIES = 8  # in a row without a single new byte, or that begin anew
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0  # seconds between tries, doubled each time
LONGEST_RETRY_AFTER = 3600.0  # a server that asks for more patience is given up
WRONG_FILES = 2  # whole downloads with a wrong checksum before it is given up
# statuses worth another try
PASSING = {408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529}


class _Retry(Exception):
    """A failure that is worth another try; `wait`: seconds that the server has asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def download(remote: RemoteFile, folder: Path, besides: int = 0) -> Path:
    """Fetch the file to `folder`; if it is there already it is taken as it is. So many bytes will
    be written there `besides`.

    Raises:
        UserError: refused by the server, of another checksum, still failing after many tries, or no
            room.
    """
    target = folder / remote.name
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Partial(target, remote, besides) as partial, _Session(remote) as session:
            _fill(partial, session, remote)
            partial.publish()
    except OSError as error:  # not the server's: those are _Retry by now
        raise UserError(f"{target}: {error.strerror or error}; free some room, or name another "
                        "folder as dataset.location; then give the same command again") from None
    return target


def _fill(partial: _Partial, session: _Session, remote: RemoteFile) -> None:
    """Ask until the file is whole and right."""
    failures = wrong = 0
    with contextlib.ExitStack() as stack:
        bar = _Bar(stack, remote.name)
        while True:
            before = partial.size
            try:
                if not partial.whole:
                    _ask(partial, session, remote, bar)
                if partial.is_right():
                    return
                wrong += 1
                partial.restart()
                reason = f"these are not the bytes of {remote.name}: MD5 or size is wrong"
                if wrong == WRONG_FILES:
                    raise UserError(f"{remote.address}: {reason}, twice; nothing is kept of them. "
                                    "Name another address as dataset.origin, or put the right file "
                                    "into the folder")
                raise _Retry(reason)
            except _Retry as problem:
                failures = 0 if partial.size > before else failures + 1
                if TRIES in (failures, partial.restarts):
                    raise UserError(f"{remote.address}: {problem}; given up after {TRIES} tries "
                                    f"that brought nothing new. {partial.size:,} bytes are kept: "
                                    "the same command goes on from there") from None
                wait = problem.wait
                if wait is None:
                    wait = min(FIRST_WAIT * 2 ** max(failures - 1, 0),
                               LONGEST_WAIT) * random.uniform(0.75, 1.25)
                elif wait > LONGEST_RETRY_AFTER:
                    raise UserError(f"{remote.address}: the server asks to wait {wait:.0f} s; give "
                                    "the same command again after that") from None
                say(f"{remote.name}: {problem}; again in {wait:.1f} s, from byte {partial.size:,}")
                time.sleep(wait)


def _ask(partial: _Partial, session: _Session, remote: RemoteFile, bar: _Bar) -> None:
    """Send one request, for what is lacking; raise _Retry where the answer falls short."""
    headers = {"Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    try:
        with session.get(remote.address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            _check_status(answer, remote)
            total = partial.accept(answer)
            bar.show(total, partial.size)
            with contextlib.suppress(urllib3.exceptions.IncompleteRead,
                                     urllib3.exceptions.ProtocolError):
                while (not partial.whole
                        and (chunk := answer.raw.read1(CHUNK, decode_content=False))):
                    bar.advance(partial.write(chunk))
                # now it is known
                partial.total = (partial.size if partial.total is None else partial.total)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if isinstance(error, requests.exceptions.SSLError):
            raise UserError(f"{remote.address}: its certificate cannot be verified "
                            f"({_reason(error)}); nothing was sent or taken. Correct the clock or "
                            "the certificates of this machine (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), "
                            "or name another address") from None
        raise _Retry(_reason(error)) from None
    if not partial.whole:
        of = f"{partial.total:,}" if partial.total is not None else "an unknown number of"
        raise _Retry(f"the connection ended after {partial.size:,} of {of} bytes")


def _check_status(answer: requests.Response, remote: RemoteFile) -> None:
    status, host = answer.status_code, urlsplit(answer.url).hostname
    if status in (200, 206, 416):
        return
    if status in PASSING:
        raise _Retry(f"{host} answers {status} {answer.reason}", _retry_after(answer))
    advice = "look at the address"
    if status in (401, 403, 407):
        advice = (f"it wants credentials: {USER} and {PASSWORD}, or {TOKEN}, in the environment, "
                  f"and {HOST}={host}; or a netrc file"
                  if remote.private else "it does not give this file away")
    raise UserError(f"{remote.address}: {host} answers {status} {answer.reason}; {advice}")


def _retry_after(answer: requests.Response) -> float | None:
    """Return seconds, from a number or a date; None where the server says nothing or nonsense."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _reason(error: Exception) -> str:
    """Return the innermost cause, without addresses, which may hold a signature after a
    redirection."""
    while ((inner := getattr(error, "reason", None) or (error.args[0] if error.args else None))
            and isinstance(inner, Exception)):
        error = inner
    text = getattr(error, "strerror", None) or type(error).__name__
    return f"the connection failed: {text}"


class _Session(requests.Session):
    """A session that follows redirections, but takes credentials to no other host, and nothing from
    TLS to plain HTTP."""

    def __init__(self, remote: RemoteFile) -> None:
        super().__init__()
        self.auth = _credentials(remote)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if (target and urlsplit(resp.url).scheme == "https"
                and urlsplit(urljoin(resp.url, target)).scheme != "https"):
            raise UserError(f"{urlsplit(resp.url).hostname} redirects from https to plain http, "
                            "which is not followed")
        return target

    def rebuild_auth(self, prepared_request: requests.PreparedRequest,
                     response: requests.Response) -> None:
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


def _credentials(remote: RemoteFile) -> Any:
    """Return what adds the user's credentials to a request: over TLS, or to this machine. Those of
    the environment go to the host that it names, those of netrc to the hosts that stand there: an
    address alone asks for none."""
    parts = urlsplit(remote.address)
    if not remote.private or not (parts.scheme == "https"
                                  or parts.hostname in ("localhost", "127.0.0.1", "::1")):
        return lambda request: request  # and so nothing from netrc either
    named = parts.hostname == os.environ.get(HOST, USUAL_HOST)
    if named and (token := os.environ.get(TOKEN)):
        def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request
        return bearer
    pair = ((os.environ[USER], os.environ.get(PASSWORD, "")) if named and USER in os.environ
            else None)
    pair = pair or requests.utils.get_netrc_auth(remote.address)
    return requests.auth.HTTPBasicAuth(*pair) if pair else lambda request: request


class _Partial:
    """The bytes that have arrived so far, on disk, with all that is needed to go on after a
    kill."""

    def __init__(self, target: Path, remote: RemoteFile, besides: int = 0) -> None:
        self.target, self.remote, self.besides = target, remote, besides
        self.file = target.with_name(f".{target.name}.fetching")
        self.state = target.with_name(f".{target.name}.fetching.json")
        self.total = remote.bytes
        self.size = 0
        self.restarts = 0
        self.validator = ""

    def __enter__(self) -> _Partial:
        self.stream: IO[bytes] = self.file.open("ab", buffering=0)
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.stream.close()
            raise UserError(f"{self.file}: another `alexnet download` is fetching this; wait for "
                            "it or stop it") from None
        state = self._read_state()
        self.validator = str(state.get("validator", ""))
        self.size = self.file.stat().st_size
        if state.get("address") != self.remote.address or not (self.validator or self.remote.md5):
            self.restart()
        elif self.total is None:
            self.total = state.get("total")
        self._hash_what_is_there()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def _read_state(self) -> dict[str, Any]:
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _hash_what_is_there(self) -> None:
        self.md5, self.sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        with self.file.open("rb", buffering=0) as stream:
            while chunk := stream.read(8 * CHUNK):
                self.md5.update(chunk)
                self.sha256.update(chunk)

    def restart(self) -> None:
        """Throw everything away."""
        self.stream.truncate(0)
        self.restarts += self.size > 0
        self.size, self.total, self.validator = 0, self.remote.bytes, ""
        self.md5, self.sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    @property
    def whole(self) -> bool:
        return self.total is not None and self.size >= self.total

    def accept(self, answer: requests.Response) -> int | None:
        """Look where this answer's bytes belong; from the start unless it is surely the rest of the
        same file.

        Returns:
            The size of the whole file, as far as it is known.
        """
        validator = answer.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):  # a weak one promises no equal bytes
            validator = answer.headers.get("Last-Modified", "")
        length = answer.headers.get("Content-Length", "")
        announced = int(length) if length.isdecimal() else None
        if answer.status_code != 200:  # 206 or 416
            start, announced = _content_range(answer.headers.get("Content-Range", ""))
            changed = self.validator and validator and validator != self.validator
            if (answer.status_code == 416 or start != self.size or changed
                    or announced not in (None, self.total)):
                self.restart()
                raise _Retry("the server no longer has the file that was begun, or sends another "
                             "part of it")
        elif announced is not None and announced < (self.remote.bytes or 0):
            raise _Retry(f"the server announces {announced:,} bytes, and the file has "
                         f"{self.remote.bytes:,}")
        elif self.size:
            self.restart()
        if self.total is None:
            self.total = announced
        if self.total is None and self.remote.md5 is None:
            raise UserError(f"{self.remote.address}: the server does not say how large the file "
                            "is, and no checksum of it is known: a download could not be verified; "
                            "fetch it by other means")
        self.validator = validator
        left = (self.total or 0) - self.size + self.besides
        if left > (free := shutil.disk_usage(self.file.parent).free):
            raise UserError(f"{self.target}: {left / 1e9:.1f} GB are still to come, but "
                            f"{free / 1e9:.1f} GB are free; free some room, or name another folder "
                            "as dataset.location")
        write_json(self.state,
                   {"address": self.remote.address, "validator": validator, "total": self.total})
        return self.total

    def write(self, chunk: bytes) -> int:
        """Append, but never beyond the file's size; returns how many bytes were taken."""
        if self.total is not None:
            chunk = chunk[: self.total - self.size]
        self.stream.write(chunk)
        self.md5.update(chunk)
        self.sha256.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    def is_right(self) -> bool:
        return self.size == self.total and self.remote.md5 in (None, self.md5.hexdigest())

    def publish(self) -> None:
        """Give the file its name; its checksums need not be computed again."""
        os.fsync(self.stream.fileno())
        os.replace(self.file, self.target)
        # of runs that were killed
        for file in (self.state, *self.target.parent.glob(f".{self.state.name}.*.part")):
            file.unlink(missing_ok=True)
        remember(self.target, {"md5": self.md5.hexdigest(), "sha256": self.sha256.hexdigest()})


def _content_range(text: str) -> tuple[int | None, int | None]:
    """Return start and total of "bytes 5-9/10"; None for what is missing or nonsense."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return int(start) if start.isdecimal() else None, int(total) if total.isdecimal() else None


class _Bar:
    """Progress of one file over all its requests."""

    def __init__(self, stack: contextlib.ExitStack, name: str) -> None:
        self._stack, self._name = stack, name
        self._advance: Any = None
        self._shown = 0

    def show(self, total: int | None, done: int) -> None:
        """Show that so many bytes are there now: perhaps fewer than before, where some had to be
        thrown away."""
        if self._advance is None:
            self._advance = self._stack.enter_context(progress(
                f"fetching {self._name}", round((total or 0) / 1e6, 1), "MB", round(done / 1e6, 1)))
            self._shown = done
        elif done != self._shown:
            self.advance(done - self._shown)

    def advance(self, count: int) -> None:
        self._shown += count
        self._advance(count / 1e6)
