"""What SIGINT and SIGTERM do."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from pipeline.system import signals

BOTH = pytest.mark.parametrize("number", signals.SIGNALS)


@BOTH
def test_a_signal_is_raised(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught, signals.raise_on_signal():
        os.kill(os.getpid(), number)
    assert caught.value.status == 128 + number  # type: ignore[attr-defined]
    assert signal.getsignal(number) is before


@BOTH
def test_the_first_is_noted_and_the_second_raised(number: signal.Signals,
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    with signals.raise_on_signal(), signals.defer_signals("stopping") as heard:
        assert heard() == 0
        os.kill(os.getpid(), number)
        assert heard() == number
        assert capfd.readouterr().err == "stopping\n"
        with pytest.raises(signals.Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_second_is_ignored_where_a_launcher_sends_one_too() -> None:
    with signals.raise_on_signal(), signals.defer_signals("stopping", again=False) as heard:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard() == signal.SIGINT


def test_one_that_was_swallowed_is_not_lost() -> None:
    with signals.raise_on_signal():
        with contextlib.suppress(KeyboardInterrupt):  # as a library may do
            os.kill(os.getpid(), signal.SIGTERM)
        with signals.defer_signals("stopping") as heard:
            assert heard() == signal.SIGTERM
    with signals.raise_on_signal(), signals.defer_signals("stopping") as heard:
        assert heard() == 0


def test_an_ignored_one_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.raise_on_signal():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
