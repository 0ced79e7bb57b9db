"""Digests of tensors: equal only for equal names, types, shapes and bits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensor_digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's type, shape and bytes, in hexadecimal."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {list(plain.shape)}\n".encode())
    digest.update(plain.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def combined(digests: Mapping[str, str]) -> str:
    """Return one digest of named digests, in the order of their names."""
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return one digest of named tensors."""
    return combined({name: tensor_digest(tensor) for name, tensor in tensors.items()})
