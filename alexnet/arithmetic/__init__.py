"""Portable arithmetic: every operation of the network as docs/arithmetic.md defines it, the same
bits on every machine.

`kernels/` has the C sources, `library.py` compiles and loads them, `operators.py` calls them on
NumPy's arrays, `portable.py` on PyTorch's tensors, `table.py` holds one digest for each
operator.
"""

NUMBER = 1  # of the definition, as in docs/arithmetic.md; raised whenever any bit changes
