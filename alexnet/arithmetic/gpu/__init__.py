"""Portable arithmetic on a GPU: the operators of docs/arithmetic.md as Triton kernels.

`products_triton.py` has sums and chains of products, `maps_triton.py` what follows a layer, the
inputs and the update, `loss_triton.py` what is computed in float64; `operators_triton.py` calls
them on PyTorch's tensors, `check.py` holds them against the table of digests, and `interpreter.py`
makes Triton's interpreter round as a GPU does, so that all of them can be run on a CPU. Whatever
cannot be imported without Triton has it in its name.

A contraction of a product and a sum is written `tl.fma`, and no other is made: every kernel is
compiled with `enable_fp_fusion=False`. `tl.dot(a, b, c, input_precision="ieee")` is one chain of
fused multiply-adds for each output, in the order of k, that begins with c: that is how Triton's
compiler lowers it for NVIDIA's GPUs where no tensor core takes float32. What it promises is less,
so nobody relies on it: a training on a GPU begins with the check.
"""
