"""Downloads from a server that misbehaves in every way we could think of, each by its name."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data.sources import http
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.http import download
from pipeline.data.sources.planning import RemoteFile
from pipeline.system.errors import UserError
from tests.pipeline.data.sources.misbehaving_server import Server, serving

CONTENT = random.Random(5).randbytes(100_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
PROJECT = Path(__file__).parents[4]

SURVIVED = {  # behaviour: how many requests it takes
            "honest": 1, "dropping": 3, "dropping_and_ignoring_ranges": 2, "without_validators": 2,
            "announcing_more": 1, "announcing_less_once": 2, "sending_more": 1, "chunked": 1,
            "chunked_and_cut": 2, "sending_another_part": 3, "shifting": 3,
            "changing": 2, "unsatisfiable": 3, "busy": 3, "busy_until_a_date": 2, "failing": 3,
            "sending_other_bytes_once": 2, "resetting": 2, "talking_nonsense": 2, "silent": 2}
GIVEN_UP = {
    "always_dropping_and_ignoring_ranges": r"after 50,000 of 100,000 bytes; given up after 3 tries "
                                           r"that",
    "announcing_less": r"announces 50,000 bytes, and the file has 100,000",
    "a_login_page": r"announces 26 bytes, and the file has 100,000",
    "busy_for_long": r"asks to wait 86400 s", "down": r"127\.0\.0\.1 answers 503 .*given up",
    "missing": r"answers 404 Not Found; look at the address",
    "private": r"answers 401 .*does not give",
    "sending_other_bytes": r"not the bytes of file: MD5 or size is wrong, twice; nothing is kept",
    "redirecting_in_circles": r"TooManyRedirects"}


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits; a project to be in; no credentials but the test's own."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(http, "TIMEOUT", (2, 0.3))
    monkeypatch.setattr(http, "TRIES", 3)
    monkeypatch.chdir(tmp_path)
    for name in (http.USER, http.PASSWORD, http.TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(http.HOST, "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as one:
        yield one


def remote(server: Server, behaviour: str, **changes: object) -> RemoteFile:
    usual = {"bytes": len(CONTENT), "md5": MD5}
    return RemoteFile("file", server.address(behaviour, "file"),
                  **(usual | changes))  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("work", "netrc"))


@pytest.mark.parametrize("behaviour", SURVIVED)
def test_it_arrives_whole_from_a_server_that_is(server: Server, tmp_path: Path,
                                                behaviour: str) -> None:
    assert download(remote(server, behaviour), tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == ["file"]
    assert len(server.requests) == SURVIVED[behaviour]


@pytest.mark.parametrize("behaviour", GIVEN_UP)
def test_it_is_given_up_with_the_reason_when_a_server_is(server: Server, tmp_path: Path,
                                                         behaviour: str) -> None:
    with pytest.raises(UserError, match=GIVEN_UP[behaviour]):
        download(remote(server, behaviour), tmp_path)
    assert "file" not in left(tmp_path)
    # whatever was kept does no harm
    assert download(remote(server, "honest"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["dropping", "chunked", "changing", "announcing_less_once",
                                       "sending_more"])
def test_without_a_known_size_the_servers_word_and_the_checksum_decide(
        server: Server, tmp_path: Path, behaviour: str) -> None:
    if behaviour == "sending_more":
        with pytest.raises(UserError, match="MD5 or size is wrong"):
            download(remote(server, behaviour, bytes=None), tmp_path)
    else:
        assert download(remote(server, behaviour, bytes=None), tmp_path).read_bytes() == CONTENT


def test_without_a_checksum_the_size_decides_and_without_both_it_is_refused(server: Server,
                                                                            tmp_path: Path) -> None:
    assert download(remote(server, "dropping", bytes=None, md5=None),
                   tmp_path).read_bytes() == CONTENT
    (tmp_path / "file").unlink()
    with pytest.raises(UserError, match="could not be verified"):
        download(remote(server, "chunked", bytes=None, md5=None), tmp_path)


def test_no_other_byte_ever_gets_the_right_name(server: Server, tmp_path: Path) -> None:
    """Mutations: one bit flipped, one byte less, one more, two exchanged, another half."""
    pick = random.Random(1)
    for round_ in range(12):
        place, other = pick.sample(range(len(CONTENT)), 2)
        wrong = bytearray(CONTENT)
        if round_ % 4 == 0:
            wrong[place] ^= 1 << pick.randrange(8)
        elif round_ % 4 == 1:
            del wrong[place]
        elif round_ % 4 == 2:
            wrong.insert(place, wrong[place] ^ 1)
        else:
            wrong[place], wrong[other] = wrong[other] ^ 1, wrong[place]
        server.content = bytes(wrong)
        with pytest.raises(UserError):
            download(remote(server, pick.choice(["honest", "dropping", "chunked"])), tmp_path)
        assert "file" not in left(tmp_path)
        assert (not (tmp_path / ".file.fetching").exists()
                or (tmp_path / ".file.fetching").stat().st_size < len(CONTENT))
    server.content = CONTENT
    assert download(remote(server, "honest"), tmp_path).read_bytes() == CONTENT


def test_what_is_there_already_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert download(remote(server, "honest"), tmp_path).read_bytes() == b"mine"
    assert not server.requests


def test_its_checksums_are_remembered_and_not_computed_again(server: Server,
                                                             tmp_path: Path) -> None:
    download(remote(server, "dropping"), tmp_path)
    stat = (tmp_path / "file").stat()
    (tmp_path / "file").write_bytes(bytes(len(CONTENT)))  # so that a second computation would show
    os.utime(tmp_path / "file", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    listed, = checksums(tmp_path, ["file"], ("md5", "sha256"))
    assert (listed.md5, listed.sha256) == (MD5, hashlib.sha256(CONTENT).hexdigest())


CHILD = """
import sys
from pathlib import Path
from pipeline.data.sources import http
http.download(http.RemoteFile("file", sys.argv[1], int(sys.argv[2]), sys.argv[3]), Path("."))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_it_goes_on_from_there(server: Server, tmp_path: Path,
                                                     end: signal.Signals) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD,
                              server.address("slow"), str(len(CONTENT)), MD5],
                             cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT)},
                             stderr=subprocess.DEVNULL)
    part = tmp_path / ".file.fetching"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 20_000):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(end)
    assert child.wait() != 0
    (tmp_path / "..file.fetching.json.1.part").touch()  # as a kill leaves it that hits the notes
    assert "file" not in left(tmp_path)
    arrived = part.stat().st_size
    assert 20_000 < arrived < len(CONTENT)
    assert download(RemoteFile("file", server.address("slow"), len(CONTENT), MD5),
                   tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={arrived}-"]
    assert left(tmp_path) == ["file"]


def test_bytes_kept_of_another_address_are_not_mixed_in(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".file.fetching").write_bytes(bytes(500))
    (tmp_path / ".file.fetching.json").write_text(json.dumps(
        {"address": "https://elsewhere/file", "validator": '"x"', "total": len(CONTENT)}))
    assert download(remote(server, "honest"), tmp_path).read_bytes() == CONTENT
    assert server.ranges() == [None]


@pytest.mark.parametrize("notes", ["", "[]", "{", '{"address": 1}'])
def test_broken_notes_only_cost_what_had_arrived(server: Server, tmp_path: Path,
                                                 notes: str) -> None:
    (tmp_path / ".file.fetching").write_bytes(CONTENT[:500])
    (tmp_path / ".file.fetching.json").write_text(notes)
    assert download(remote(server, "honest"), tmp_path).read_bytes() == CONTENT


def test_bytes_that_rotted_on_disk_are_found_out_and_fetched_again(server: Server,
                                                                   tmp_path: Path) -> None:
    with pytest.raises(UserError):
        download(remote(server, "always_dropping_and_ignoring_ranges"), tmp_path)
    notes = json.loads((tmp_path / ".file.fetching.json").read_text())
    (tmp_path / ".file.fetching.json").write_text(
        json.dumps(notes | {"address": server.address("honest", "file")}))
    rotten = bytearray((tmp_path / ".file.fetching").read_bytes())
    rotten[7] ^= 1
    (tmp_path / ".file.fetching").write_bytes(rotten)
    assert download(remote(server, "honest"), tmp_path).read_bytes() == CONTENT
    assert server.ranges()[-2:] == [f"bytes={len(rotten)}-", None]


def test_two_at_once_do_not_write_into_one_file(server: Server, tmp_path: Path) -> None:
    with (http._Partial(tmp_path / "file", remote(server, "honest")),
          pytest.raises(UserError, match="another `alexnet download`")):
        download(remote(server, "honest"), tmp_path)


def test_no_room_is_told_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"GB are still to come, but .* free"):
        download(remote(server, "announcing_petabytes", bytes=10**17), tmp_path)


# Credentials: to the host they are for, over TLS or to this machine, and nowhere else.

def test_credentials_of_the_environment_go_to_private_addresses_only(
        server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(http.TOKEN, "secret")
    download(remote(server, "private", private=True), tmp_path)
    assert server.requests[-1][1]["Authorization"] == "Bearer secret"
    assert not [file for file in tmp_path.rglob("*") if file.is_file()
                and b"secret" in file.read_bytes()]
    (tmp_path / "file").unlink()
    download(remote(server, "honest"), tmp_path)
    assert "Authorization" not in server.requests[-1][1]
    monkeypatch.delenv(http.TOKEN)
    (tmp_path / "file").unlink()
    with pytest.raises(UserError, match=f"wants credentials: {http.USER}"):
        download(remote(server, "private", private=True), tmp_path)


def test_user_and_password_or_netrc(server: Server, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    download(remote(server, "private", private=True), tmp_path)
    assert server.requests[-1][1]["Authorization"] == "Basic YW5uOnNlY3JldA=="
    (tmp_path / "file").unlink()
    download(remote(server, "honest"), tmp_path)
    assert "Authorization" not in server.requests[-1][1]
    (tmp_path / "file").unlink()
    monkeypatch.setenv(http.USER, "bob")
    monkeypatch.setenv(http.PASSWORD, "x")
    download(remote(server, "private", private=True), tmp_path)
    assert server.requests[-1][1]["Authorization"] == "Basic Ym9iOng="


def test_a_redirection_takes_no_credentials_to_another_host(
        server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(http.TOKEN, "secret")
    (tmp_path / "netrc").write_text("default login ann password secret\n")
    server.elsewhere = server.address("dropping", "file", host="localhost")
    assert download(remote(server, "redirecting", private=True), tmp_path).read_bytes() == CONTENT
    asked = {path.split("/")[1]: headers.get("Authorization") for path, headers in server.requests}
    assert asked == {"redirecting": "Bearer secret", "dropping": None}
    assert len(server.requests) == 6  # each part through the address that was given
    server.elsewhere = server.address("private", "file", host="localhost")
    (tmp_path / "file").unlink()
    with pytest.raises(UserError) as refused:
        download(remote(server, "redirecting", private=True), tmp_path)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("host", "address", "sent"), [
    ("example.org", "http://example.org/file", False),
    ("example.org", "https://example.org/file", True), ("localhost", "http://localhost/file", True),
    ("example.org", "https://evil.example/example.org", False),
    ("example.org", "https://example.org.evil.example/file", False),
    (None, "https://example.org/file", False), (None, "https://image-net.org/file", True)])
def test_credentials_go_over_tls_and_to_the_host_that_the_user_names(
        monkeypatch: pytest.MonkeyPatch, host: str | None, address: str, sent: bool) -> None:
    monkeypatch.delenv(http.HOST)
    if host:
        monkeypatch.setenv(http.HOST, host)
    for variables in ({http.TOKEN: "secret"}, {http.USER: "ann", http.PASSWORD: "secret"}):
        for name in (http.USER, http.TOKEN):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        session = http._Session(RemoteFile("file", address, private=True))
        request = http.requests.Request("GET", address)
        assert ("Authorization" in session.prepare_request(request).headers) == sent, address


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for 127.0.0.1, with its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(
        key.public_key()).serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1)).add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                False).add_extension(x509.BasicConstraints(True, None),
                                     True).sign(key, hashes.SHA256()))
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return file


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, certificate: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(http.TOKEN, "secret")
    with serving(CONTENT, certificate) as server:
        with pytest.raises(UserError, match="certificate cannot be verified"):
            download(remote(server, "honest", private=True), tmp_path)
        assert not server.requests
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert download(remote(server, "honest", private=True), tmp_path).read_bytes() == CONTENT


def test_no_redirection_from_tls_to_plain_http(server: Server, tmp_path: Path, certificate: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(CONTENT, certificate) as secure:
        secure.elsewhere = server.address("honest", "file")
        with pytest.raises(UserError, match="from https to plain http"):
            download(remote(secure, "redirecting"), tmp_path)
    assert not server.requests


def test_progress_tells_rate_and_time_left(server: Server, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.system import terminal

    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    download(remote(server, "dropping"), tmp_path)
    told = capsys.readouterr().err
    assert "fetching file: " in told
    assert "a second, " in told
    assert " s left" in told
    assert "file: the connection ended after 33,334 of 100,000 bytes; again in" in told
