"""Files of arrays that say of themselves what is not so: no pickle is read, nothing is allocated by
a header's word."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.arrays import array_in, arrays_in
from pipeline.system.errors import UserError

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def npy(array: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def header(text: str) -> bytes:
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(line).to_bytes(2, "little") + line


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("pwned",)  # what reading it would do


def test_what_numpy_writes_is_read_with_all_its_bits(tmp_path: Path) -> None:
    for array in (VALUES, np.asfortranarray(VALUES), np.zeros((0, 3)), np.array(7),
                  np.array([np.nan, -0.0])):
        np.save(tmp_path / "a.npy", array)
        np.savez(tmp_path / "a.npz", first=array, second=VALUES)
        for found in (array_in(tmp_path / "a.npy", ""), arrays_in(tmp_path / "a.npz", "")["first"]):
            assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape,
                                                                   array.tobytes())


LIES = {"nothing": b"", "text": b"<html>404</html>",
        "a pickle": pickle.dumps(Evil()), "objects": npy(np.array([Evil()])),
        "terabytes": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), "
                            "}") + bytes(64), "less than there is":
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }") + bytes(16),
        "negative sizes": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }")
        + bytes(16), "more sizes than fit": header("{'descr': '<f4', 'fortran_order': False, "
                                                   "'shape': (4294967296, 4294967296), }"),
        "an expression": header("{'descr': open('pwned', 'w'), 'fortran_order': False, 'shape': "
                                "(), }"), "brackets": header("(" * 110),
        "another version": b"\x93NUMPY\x09\0" + npy(VALUES)[8:], "cut": npy(VALUES)[:-1],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_in_little_memory(tmp_path: Path, lie: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(LIES[lie])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", LIES[lie])
    tracemalloc.start()
    try:
        for read, name in ((array_in, "a.npy"), (arrays_in, "a.npz")):
            with pytest.raises(UserError, match=rf"{name}: damaged \(.*\); make it again"):
                read(tmp_path / name, "make it again")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "pwned").exists()


def test_a_zip_that_is_a_bomb_or_has_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    with pytest.raises(UserError, match="is compressed, or larger"):
        arrays_in(tmp_path / "a.npz", "")
    np.savez(tmp_path / "a.npz", a=VALUES)
    whole = (tmp_path / "a.npz").read_bytes()
    for at in range(whole.index(VALUES.tobytes()), whole.index(VALUES.tobytes()) + VALUES.nbytes,
                    5):
        (tmp_path / "a.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        with pytest.raises(UserError, match="Bad CRC-32"):
            arrays_in(tmp_path / "a.npz", "")
    with pytest.raises(UserError, match="no such file; mend"):
        arrays_in(tmp_path / "b.npz", "mend it")
