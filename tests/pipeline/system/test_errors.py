"""Errors that come from outside the program are one line that names the mend."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from pipeline.system.errors import REMEDIES, describe_error


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
