"""Files of named arrays (safetensors), each of which names the digest of all that it holds.

Anybody may have written such a file: nothing is unpickled, and no more memory is taken than the
file has bytes, whatever its header says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write

Arrays = dict[str, NDArray[Any]]


def write_tensors(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a file; equal arrays give equal files."""
    contiguous = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    with atomic_write(file) as stream:
        stream.write(safetensors.numpy.save(contiguous, {"digest": digest_of(contiguous)}))


def read_tensors(file: Path, fix: str) -> Arrays:
    """Return the arrays of a file that `write_tensors` wrote, by name.

    Raises:
        UserError: the file is missing, damaged, or holds something else; the message ends in `fix`.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            digest = (opened.metadata() or {}).get("digest")
            arrays: Arrays = {name: opened.get_tensor(name)
                              for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {fix}") from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: damaged ({error}); {fix}") from None
    if digest_of(arrays) != digest:
        raise UserError(f"{file}: damaged (it does not have the digest that it names); {fix}")
    return arrays


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal, of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.require(arrays[name], requirements="C")
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def array_of_names(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return names as an array, uint8 [bytes]: a JSON list in UTF-8. A file of tensors has no
    texts of its own."""
    return np.frombuffer(json.dumps(list(names), ensure_ascii=False).encode(
        errors="surrogateescape"), np.uint8)


def names_in(array: NDArray[Any]) -> list[str]:
    """Return what `array_of_names` was given.

    Raises:
        ValueError: it is not a list of names.
    """
    names = json.loads(array.tobytes().decode(errors="surrogateescape"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("no list of names")
    return names
