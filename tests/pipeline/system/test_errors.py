"""Errors that come from outside the program are one line that names the mend."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from pipeline.system.errors import REMEDIES, describe_error, without_password


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO,
                                    errno.ENOENT])
def test_the_systems_refusals_name_the_file_and_the_mend(number: int) -> None:
    line, status = describe_error(OSError(number, os.strerror(number), "models/x"))
    assert line == (f"error: models/x: {os.strerror(number)}; {REMEDIES[number]}, and give the "
                    "same command again")
    assert status == 1


def test_a_quota_is_named() -> None:
    assert "quota" in REMEDIES[errno.EDQUOT]


def test_a_lack_of_memory_is_one_whoever_notices_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    for error in (MemoryError(), caught.value):
        line, status = describe_error(error)
        assert line.startswith("error: there is not enough memory")
        assert status == 1
    assert describe_error(RuntimeError("a defect"))[1] == 70


ADDRESSES = [
    ("http://me:secret@host:5000/p", "http://host:5000/p"), ("http://secret@host/p", "http://host/p"),
    ("http://me:se@cret@host/p", "http://host/p"), ("HTTPS://:secret@HOST/p", "HTTPS://HOST/p"),
    ("http://host/p?user=me&password=secret", "http://host/p?..."),
    ("http://host/p#token=secret", "http://host/p?..."),
    ("http://me:se cret@host/p", "http://host/p"),
    ("mysql+pymysql://me:s%40secret@host/db", "mysql+pymysql://host/db"),
    ("postgresql://me:secret@[::1]:5/db?password=secret", "postgresql://[::1]:5/db?..."),
    # not well-formed: what of them is the password, no parser can tell
    ("http://me:se/cret@host/p", "http://..."), ("http://me:12/secret@host/p", "http://..."),
    ("http://me:se?cret@host/p", "http://..."), ("http://me:se#cret@host/p", "http://..."),
    ("http://host:secret/p", "http://..."), ("http://[secret/p", "http://..."),
    ("http://host/p@secret", "http://..."),
    ("sqlite:////folder/mlflow.db", "sqlite:////folder/mlflow.db"),
    ("sqlite:////ann@work/mlflow.db", "sqlite:////ann@work/mlflow.db"),
    ("http://127.0.0.1:5000", "http://127.0.0.1:5000")]


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_no_user_password_or_query_of_an_address_is_shown(
        monkeypatch: pytest.MonkeyPatch, address: str, shown: str) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    text = "the store {} cannot be used; write to ann@example.org"
    assert without_password(text.format(address)) == text.format(shown)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert without_password(text.format(address)) == text.format(shown)


def test_an_address_in_a_sentence_stays_as_it_is() -> None:
    text = "see (http://127.0.0.1:5000), 'http://host/p': http://[::1]:9: refused; http://a:80."
    assert without_password(text) == text


def test_an_address_that_a_variable_holds_is_known_to_its_end(monkeypatch: pytest.MonkeyPatch
                                                              ) -> None:
    for address in ("http://me:12 secret@host/p", "http://host/p?password=a secret"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert "secret" not in without_password(f"the store {address} cannot be used")


def test_what_an_error_repeats_of_an_address_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, text in (
            ("http://me:a secret@host", "no user a secret"),
            ("http://me:a%20secret@host", "no user a secret"),
            ("http://host/?user=me&password=secret", "url: /?user=me&password=secret/api/2.0 ()"),
            ("http://host/?password=a secret", "url: /?password=a%20secret/api/2.0 ()"),
            ("http://host/#token=a%20secret", "no token a secret")):
        assert "secret" in without_password(text)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert "secret" not in without_password(text)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_text_without_an_address_stays_as_it_is() -> None:
    text = "// a comment: of ann@example.org, 3 // 2 @ 5"
    assert without_password(text) == text
