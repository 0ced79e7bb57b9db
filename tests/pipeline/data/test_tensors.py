"""Files of arrays that say of themselves what is not so: no pickle is read, nothing is allocated by
a header's word."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.shards import mapped_array
from pipeline.data.tensors import array_of_names, digest_of, names_in, read_tensors, write_tensors
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
    for array in (VALUES, np.asfortranarray(VALUES), np.array([np.nan, -0.0], np.float32)):
        np.save(tmp_path / "a.npy", array)
        write_tensors(tmp_path / "a", {"first": array, "second": VALUES})
        for read in (mapped_array(tmp_path / "a.npy", np.float32, ""),
                     read_tensors(tmp_path / "a", "")["first"]):
            assert (read.dtype, read.shape) == (array.dtype, array.shape)
            assert read.tobytes() == array.tobytes()
    for array in (np.zeros((0, 3)), np.array(7), VALUES.astype(np.int64)):
        write_tensors(tmp_path / "a", {"first": array})
        read = read_tensors(tmp_path / "a", "")["first"]
        assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape,
                                                            array.tobytes())


def test_equal_arrays_give_equal_files_and_others_another_digest(tmp_path: Path) -> None:
    for name, arrays in (("a", {"x": VALUES, "y": VALUES}), ("b", {"y": VALUES, "x": VALUES})):
        write_tensors(tmp_path / name, arrays)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    digest = digest_of({"x": VALUES})
    flipped = VALUES.copy()
    flipped.view(np.uint32)[1, 2, 3] ^= 1
    for other in ({"y": VALUES}, {"x": VALUES.reshape(3, 2, 4)}, {"x": VALUES.view(np.int32)},
                  {"x": flipped}, {"x": VALUES, "y": VALUES}, {}):
        assert digest_of(other) != digest


@pytest.mark.parametrize("content", [
    b"", b"\x93NUMPY", b"\x93NUMPY\3\0" + npy(VALUES)[8:], npy(VALUES)[:-1], npy(VALUES) + b"x",
    npy(np.array([Evil()], object)), pickle.dumps(Evil()), npy(VALUES.astype(np.float64)),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }") + b"1234",
    header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"12345678",
    header("{'descr': 'evil', 'fortran_order': False, 'shape': (1,), }"),
    header("{'descr': '<f4', 'shape': (1,), }"), header("(" * 110), header("__import__('os')"),
    b"PK\3\4" + bytes(100),
])
def test_what_is_no_plain_array_is_refused(tmp_path: Path, content: bytes,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.npy: damaged.*; make it again"):
        mapped_array(tmp_path / "a.npy", np.float32, "make it again")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert not (tmp_path / "pwned").exists()


def test_files_of_tensors_are_held_to_their_digest(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_tensors(file, {"a": VALUES})
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        with pytest.raises(UserError, match="damaged"):
            read_tensors(file, "")
    file.write_bytes(safetensors.numpy.save({"a": VALUES}))  # names no digest
    with pytest.raises(UserError, match="does not have the digest"):
        read_tensors(file, "")
    text = json.dumps({"a": {"dtype": "F32", "shape": [1 << 50], "data_offsets": [0, 1 << 52]}})
    file.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    with pytest.raises(UserError, match="damaged"):
        read_tensors(file, "")
    with pytest.raises(UserError, match="no such file; fix it"):
        read_tensors(tmp_path / "b", "fix it")


@given(st.lists(st.text(st.characters(codec="utf-8")) | st.just("caf\udce9.jpg")))
def test_names_come_back(names: list[str]) -> None:
    assert names_in(array_of_names(names)) == names


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'["a"', b"\xff"])
def test_what_is_no_list_of_names_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"names|JSON|Expecting|delimiter|value"):
        names_in(np.frombuffer(content, np.uint8))
