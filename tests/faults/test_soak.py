"""What the soak calls flat: of processes that train, by the memory that only they can give back."""

from __future__ import annotations

from tests.faults.soak import Sample, flat, grown

MB = 1_000_000


def samples(leak: int = 0, descriptors: int = 0, reclaimed: int = 0) -> list[Sample]:
    """An hour in which a process holds 500 MB, 300 of them its own; restarted each 5 minutes, it
    loads for one."""
    return [Sample(at, at % 300 >= 60, (500 if at % 300 >= 60 else 100) * MB + (leak - reclaimed)
                   * at // 3600, (300 if at % 300 >= 60 else 50) * MB + leak * at // 3600,
                   9 + descriptors * at // 3600) for at in range(5, 3600, 5)]


def test_growth_is_seen() -> None:
    told = grown(samples())
    assert flat(told, told)
    for small in (grown(samples(leak=4 * MB)), grown(samples(reclaimed=50 * MB))):
        assert flat(small, told)
        assert flat(told, small)
    # the kernel took file pages meanwhile
    for large in (grown(samples(leak=10 * MB)), grown(samples(descriptors=3)),
                  grown(samples(leak=10 * MB, reclaimed=200 * MB))):
        assert not flat(large, told)
        assert not flat(told, large)
    told = grown(samples(leak=10 * MB))
    assert abs(told["anonymous_mb_slope_an_hour"] - 10) < 0.1
    assert told["samples"] == 4 * 12 * 12  # a process that loads is not counted
