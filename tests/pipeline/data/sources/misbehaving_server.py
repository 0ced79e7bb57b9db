"""A web server that misbehaves by name: "/dropping/file" drops the connection midway, "/busy/file"
answers 429."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Serves `content`, or `files` by name; `requests` has each request's path and headers.

    `elsewhere`: where redirections lead.
    """

    daemon_threads = True
    content = b""
    elsewhere = ""
    files: dict[str, bytes] = {}  # noqa: RUF012
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.seen: Counter[str] = Counter()

    def address(self, behaviour: str, name: str = "", host: str = "127.0.0.1") -> str:
        return (
            f"{self.scheme}://{host}:{self.server_address[1]}/{behaviour}{'/' if name else ''}{name}")

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        behaviour = self.path.split("/")[1]
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.seen[behaviour] += 1
        self.close_connection = True
        getattr(self, f"be_{behaviour}")(self.server.seen[behaviour] == 1)

    def log_message(self, *_: object) -> None:
        pass

    # What each kind of server does; `first`: it is its first request.

    def be_honest(self, first: bool) -> None:
        self.serve()

    def be_dropping(self, first: bool) -> None:
        """Every connection ends after a third of the file."""
        self.serve(stop=len(self.server.content) // 3 + 1)

    def be_dropping_and_ignoring_ranges(self, first: bool) -> None:
        self.serve(stop=len(self.server.content) // 2 if first else None, ranges=False)

    def be_always_dropping_and_ignoring_ranges(self, first: bool) -> None:
        self.serve(stop=len(self.server.content) // 2, ranges=False)

    def be_without_validators(self, first: bool) -> None:
        self.serve(stop=len(self.server.content) // 2 if first else None, etag=None)

    def be_announcing_more(self, first: bool) -> None:
        self.serve(length=len(self.server.content) + 1000)

    def be_announcing_petabytes(self, first: bool) -> None:
        self.serve(length=10**17)

    def be_announcing_less_once(self, first: bool) -> None:
        self.serve(length=len(self.server.content) // 2 if first else None)

    def be_announcing_less(self, first: bool) -> None:
        self.serve(length=len(self.server.content) // 2)

    def be_sending_more(self, first: bool) -> None:
        self.serve(content=self.server.content + b"and more", length=None, chunked=True)

    def be_chunked(self, first: bool) -> None:
        self.serve(chunked=True)

    def be_chunked_and_cut(self, first: bool) -> None:
        self.serve(chunked=True, stop=len(self.server.content) // 2 if first else None)

    def be_sending_another_part(self, first: bool) -> None:
        """Answers a request for the rest with the file's beginning, as if that were the rest."""
        if first:
            self.serve(stop=len(self.server.content) // 2)
        elif "Range" in self.headers and self.server.seen["sending_another_part"] == 2:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-9/{len(self.server.content)}")
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(self.server.content[:10])
        else:
            self.serve()

    def be_shifting(self, first: bool) -> None:
        """Says that it sends the rest, and sends bytes from another place."""
        if first:
            self.serve(stop=len(self.server.content) // 2)
        elif "Range" in self.headers and self.server.seen["shifting"] == 2:
            start = int(self.headers["Range"][6:-1])
            whole = len(self.server.content)
            body = self.server.content[start - 1: -1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.serve()

    def be_changing(self, first: bool) -> None:
        """Another file takes the place of the one that was begun."""
        if first:
            self.serve(content=bytes(len(self.server.content)), stop=len(self.server.content) // 2)
        else:
            self.serve()

    def be_unsatisfiable(self, first: bool) -> None:
        if "Range" in self.headers:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.serve(stop=len(self.server.content) // 2 if first else None)

    def be_busy(self, first: bool) -> None:
        self.refuse(429, **{"Retry-After": "0"}) if self.server.seen["busy"] < 3 else self.serve()

    def be_busy_until_a_date(self, first: bool) -> None:
        (self.refuse(503, **{"Retry-After": email.utils.formatdate(time.time() - 1, usegmt=True)})
         if first else (self.serve()))

    def be_busy_for_long(self, first: bool) -> None:
        self.refuse(429, **{"Retry-After": "86400"})

    def be_failing(self, first: bool) -> None:
        self.refuse(500) if self.server.seen["failing"] < 3 else self.serve()

    def be_down(self, first: bool) -> None:
        self.refuse(503)

    def be_missing(self, first: bool) -> None:
        self.refuse(404)

    def be_private(self, first: bool) -> None:
        self.serve() if self.headers.get("Authorization") else self.refuse(401)

    def be_sending_other_bytes(self, first: bool) -> None:
        self.serve(content=self.server.content[:-1] + bytes([self.server.content[-1] ^ 1]))

    def be_sending_other_bytes_once(self, first: bool) -> None:
        self.serve(content=bytes(len(self.server.content)) if first else self.server.content)

    def be_a_login_page(self, first: bool) -> None:
        self.serve(content=b"<html>Please log in</html>")

    def be_resetting(self, first: bool) -> None:
        """Closes without an answer."""
        if not first:
            self.serve()

    def be_talking_nonsense(self, first: bool) -> None:
        if first:
            self.wfile.write(b"nonsense\r\n\r\n")
        else:
            self.serve()

    def be_silent(self, first: bool) -> None:
        """Sends half, and then nothing more, but stays connected."""
        if first:
            self.serve(stop=len(self.server.content) // 2, hang=True)
        else:
            self.serve()

    def be_redirecting(self, first: bool) -> None:
        self.refuse(302, Location=self.server.elsewhere)

    def be_redirecting_in_circles(self, first: bool) -> None:
        self.refuse(302, Location=self.path)

    def be_slow(self, first: bool) -> None:
        self.serve(pause=0.02)

    def be_an_archive(self, first: bool) -> None:
        """Several files, the first of them slowly at first."""
        self.serve(self.server.files[self.path.split("/")[-1]], pause=0.5 if first else 0)

    # ---

    def refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0", "Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()

    def serve(self, content: bytes | None = None, stop: int | None = None, ranges: bool = True,
              length: int | None = None, etag: str | None = "", chunked: bool = False,
              hang: bool = False, pause: float = 0) -> None:
        """Serve as one should, but for what the arguments say. `stop`: bytes after which the
        connection ends."""
        whole = self.server.content if content is None else content
        tag = f'"{hashlib.sha256(whole).hexdigest()[:16]}"' if etag == "" else etag
        wanted = self.headers.get("Range") if ranges else None
        if wanted and self.headers.get("If-Range") not in (None, tag):
            wanted = None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = whole[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if tag:
            self.send_header("ETag", tag)
        self.send_header(*("Transfer-Encoding", "chunked") if chunked else
                         ("Content-Length", str(len(body) if length is None else length)))
        self.end_headers()
        cut = body if stop is None else body[:stop]
        for at in range(0, len(cut), 8192):
            piece = cut[at: at + 8192]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            time.sleep(pause)
        if chunked and cut is body:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        if hang:
            time.sleep(3)


@contextlib.contextmanager
def serving(content: bytes, certificate: Path | None = None) -> Iterator[Server]:
    """A server of its own thread; over TLS with this certificate and key, if one is given."""
    server = Server()
    server.content = content
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01},
                              daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
