"""The digest of what PyTorch's own kernels compute: of the machine, not of the moment."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from alexnet.arithmetic.probe import native_digest

OLD = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
ASK = ("import sys; from alexnet.arithmetic.probe import native_digest; print(native_digest()); "
       "print(*{'torch', 'sympy'} & sys.modules.keys())")


def asked(**variables: str) -> str:
    done = subprocess.run([sys.executable, "-c", ASK], env=os.environ | variables, check=True,
                          capture_output=True, text=True)
    digest, *modules = done.stdout.split()
    assert modules == ["torch"]  # each start pays for what is imported here
    return digest


def test_it_is_the_same_again_in_another_process_and_with_other_threads() -> None:
    first, threads = native_digest(), torch.get_num_threads()
    assert len(first) == 16
    try:
        torch.set_num_threads(3)
        assert native_digest() == first
        assert torch.get_num_threads() == 3  # put back
    finally:
        torch.set_num_threads(threads)
    assert asked() == first


def test_the_instructions_of_an_older_processor_are_seen() -> None:
    assert asked(**OLD) != asked()
