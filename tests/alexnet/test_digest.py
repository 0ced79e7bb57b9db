"""Digests are equal only for equal names, types, shapes and bits."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alexnet.digest import combined, digest_of, tensor_digest

TENSOR = torch.arange(24, dtype=torch.float32).view(2, 3, 4) / 7


def flipped(tensor: Tensor, bit: int) -> Tensor:
    """The same tensor with one bit of its memory turned over."""
    changed = tensor.clone()
    changed.view(-1).view(torch.uint8)[bit // 8] ^= 1 << bit % 8
    return changed


def test_the_digest_is_sha256_of_type_shape_and_bytes() -> None:
    content = b"torch.float32 [2, 3, 4]\n" + TENSOR.numpy().tobytes()
    assert tensor_digest(TENSOR) == hashlib.sha256(content).hexdigest()
    assert tensor_digest(TENSOR.clone()) == tensor_digest(TENSOR)
    assert digest_of({"b": TENSOR, "a": TENSOR}) == digest_of({"a": TENSOR, "b": TENSOR})


@settings(max_examples=60)
@given(st.integers(0, 24 * 32 - 1))
def test_one_flipped_bit(bit: int) -> None:
    assert tensor_digest(flipped(TENSOR, bit)) != tensor_digest(TENSOR)
    same, changed = {"a": TENSOR, "b": TENSOR}, {"a": TENSOR, "b": flipped(TENSOR, bit)}
    assert digest_of(changed) != digest_of(same)


@pytest.mark.parametrize("other", [
    TENSOR.view(torch.int32), TENSOR.view(6, 4), TENSOR.view(1, 2, 3, 4), TENSOR.transpose(0, 1),
    TENSOR.double(),
    TENSOR[:1], TENSOR.flatten()], ids=lambda t: f"{t.dtype} {list(t.shape)}")
def test_another_type_or_shape(other: Tensor) -> None:
    assert tensor_digest(other) != tensor_digest(TENSOR)


def test_negative_zero_is_not_zero() -> None:
    assert tensor_digest(torch.tensor([0.0])) != tensor_digest(torch.tensor([-0.0]))


def test_empty_tensors_and_single_numbers() -> None:
    few = [torch.zeros(()), torch.zeros(1), torch.zeros(0), torch.zeros(0, 3),
           torch.zeros(0, dtype=torch.int64)]
    assert len({tensor_digest(tensor) for tensor in few}) == len(few)


def test_memory_layout_and_gradients_do_not_count() -> None:
    strided = TENSOR.transpose(0, 2).contiguous().transpose(0, 2)
    assert tensor_digest(strided) == tensor_digest(TENSOR)
    assert tensor_digest(torch.nn.Parameter(TENSOR.clone())) == tensor_digest(TENSOR)


def test_names_count() -> None:
    tensors = {"a": TENSOR, "b": TENSOR + 1}
    for other in ({"a": TENSOR, "c": TENSOR + 1}, {"a": TENSOR + 1, "b": TENSOR}, {"a": TENSOR},
                  tensors | {"c": TENSOR}, {}):
        assert digest_of(other) != digest_of(tensors)
    digests = {name: tensor_digest(tensor) for name, tensor in tensors.items()}
    assert combined(digests) == digest_of(tensors)
