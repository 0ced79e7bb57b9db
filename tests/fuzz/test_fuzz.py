"""A little of the fuzzing each time: the corpus, and as many damaged inputs as fit into a second
(--fuzz-seconds)."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import harness, readers
from tests.fuzz.harness import Failure, input_number, run, tried, whole_corpus
from tests.fuzz.mutations import mutated


@pytest.mark.parametrize("reader", readers.READERS)
def test_of_damaged_input_nothing_but_a_refusal_or_the_right_thing(
        reader: str, pytestconfig: pytest.Config) -> None:
    counts = whole_corpus(reader)
    assert counts[readers.SAME], "no seed is read as it is"
    seconds = pytestconfig.getoption("--fuzz-seconds")
    # children and the disk take time, too
    end, latest = time.process_time() + seconds, time.monotonic() + 3 * seconds
    numbers = itertools.takewhile(lambda number: number < 30
                                  or (time.process_time() < end and time.monotonic() < latest),
                                  itertools.count())
    counts = run(reader, pytestconfig.getoption("--fuzz-seed"), numbers)
    assert counts[readers.REFUSED], "not one was refused: the damage does nothing"


def test_inputs_follow_from_seed_and_number() -> None:
    assert input_number("tar", 1, 7) == input_number("tar", 1, 7) != input_number("tar", 2, 7)
    content = bytes(range(256))
    assert len({mutated(content, [content], random.Random(number)) for number in range(100)}) > 90


@pytest.mark.parametrize(("what", "told"), [
    (lambda: 1 / 0, "ZeroDivisionError"), (lambda: json.loads("[" * 100_000), "RecursionError"),
    (lambda: sum(range(10**7)), r"took [\d.]+ s"), (lambda: len(b"x" * (1 << 28)), r"took \d+ MB")])
def test_a_reader_that_fails_is_found_out(monkeypatch: pytest.MonkeyPatch,
                                          what: Callable[[], object], told: str) -> None:
    def judge(content: bytes, name: str, folder: Path) -> str:
        what()
        return readers.SAME

    monkeypatch.setitem(readers.READERS, "tar", judge)
    monkeypatch.setattr(harness, "SECONDS", 9.0 if "MB" in told else 0.05)
    monkeypatch.setattr(harness, "MEGABYTES_ELSE", 100)
    with pytest.raises(Failure, match=f"tar: made from flat.tar, 3 bytes: {told}"):
        tried("tar", "flat.tar", b"abc")
